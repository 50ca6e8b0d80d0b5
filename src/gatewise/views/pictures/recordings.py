"""Recordings of sound: the waveform of each, and its features below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.settings import one_line
from gatewise.views.pictures.figure import MODEL, panels, write_picture

_MOST_POINTS = 4000
"""Points of a waveform; of more samples the lowest and highest of so many stretches are drawn."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw some recordings, each a column: ``name``, ``seconds``, ``samples`` [N], ``frames`` [T, F]."""
    figure = panels(2 * len(data), title, columns=len(data))
    for column, recording in enumerate(data):
        seconds = float(recording["seconds"])
        above, below = figure.axes[column], figure.axes[len(data) + column]
        samples = _outline(np.asarray(recording["samples"]))
        above.plot(np.linspace(0, seconds, len(samples)), samples, color=MODEL, linewidth=0.6)
        above.set_title(one_line(str(recording["name"])), fontsize=9)
        below.imshow(
            np.asarray(recording["frames"]).T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0.0, seconds, 0.5, np.shape(recording["frames"])[1] + 0.5),
        )
        below.set_xlabel("seconds", fontsize=9)
        for axes in (above, below):
            axes.set_xlim(0, seconds)
    figure.axes[0].set_ylabel("waveform", fontsize=9)
    figure.axes[len(data)].set_ylabel("mel band", fontsize=9)
    write_picture(path, figure)


def _outline(samples: Any) -> Any:
    """Samples [N], or the lowest and highest of each stretch of them where they are many."""
    if len(samples) <= _MOST_POINTS:
        return samples
    stretches = np.array_split(samples, _MOST_POINTS // 2)
    return np.array([extreme for part in stretches for extreme in (part.min(), part.max())])
