"""What a recognition read in which frames: the probability of each label over the features."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import MODEL, write_picture

LONGEST_LABEL = 16
WIDTH = 10.0
"""Inches."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw some sequences below each other: their features, and below them the labels that were read."""
    heights = [_height(sequence) for sequence in data] or [1.0]
    figure = Figure(figsize=(WIDTH, 0.5 + sum(heights)))
    whole = figure.get_figheight()
    what = f"{title}: probability of each label (rows) over the frames"
    figure.suptitle(textwrap.shorten(one_line(what), 110, placeholder=" …"), fontsize=10, y=1 - 0.1 / whole)
    top = 0.5
    for sequence, height in zip(data, heights, strict=False):
        _Drawn(figure, sequence, top, height)
        top += height
    write_picture(path, figure)


def _height(sequence: Mapping[str, Any]) -> float:
    """Inches of a sequence: its texts, features, labels and axis."""
    return 0.75 + 1.5 + max(0.16 * len(sequence["labels"]), 0.6) + 0.7


class _Drawn:
    """The two panels of a sequence, ``top`` inches below the figure's upper edge."""

    def __init__(self, figure: Figure, sequence: Mapping[str, Any], top: float, height: float) -> None:
        self.figure, self.sequence = figure, sequence
        frames = np.array(sequence["frames"], dtype=float)
        probabilities = np.array(sequence["probabilities"], dtype=float)
        self.labels = [_name(label) for label in sequence["labels"]]
        self.stack = int(sequence["stack"])
        seconds = sequence["seconds"]
        self.unit = 1.0 if seconds is None else float(seconds)
        end = len(frames) * self.unit
        texts = [f"{name}: {one_line(str(sequence[name]))}" for name in ("name", "reference", "transcript")]
        shown = [textwrap.shorten(text, 150, placeholder=" …") for text in texts if not text.endswith(": ")]
        whole = figure.get_figheight()
        figure.text(0.1, 1 - (top + 0.5) / whole, "\n".join(shown), fontsize=8, va="bottom", parse_math=False)
        above = self._panel(top + 0.75, 1.5)
        above.imshow(
            frames.T,
            aspect="auto",
            origin="lower",
            cmap="magma",
            extent=(0, end, 0, frames.shape[1]),
            interpolation="nearest",
        )
        above.set_ylabel("feature", fontsize=8)
        above.tick_params(labelbottom=False, labelsize=7)
        below = self._panel(top + 2.3, height - 3.0)
        below.imshow(
            probabilities.T,
            aspect="auto",
            cmap="Blues",
            vmin=0,
            vmax=1,
            extent=(0, len(probabilities) * self.stack * self.unit, len(self.labels), 0),
            interpolation="nearest",
        )
        below.set_yticks(np.arange(len(self.labels)) + 0.5, self.labels, fontsize=7)
        below.set_xlabel("frame" if seconds is None else "seconds", fontsize=8)
        below.tick_params(labelsize=7)
        for axes in (above, below):
            axes.set_xlim(0, end)
        self._mark(above, frames.shape[1])

    def _panel(self, top: float, height: float) -> Axes:
        whole = self.figure.get_figheight()
        return self.figure.add_axes((0.1, 1 - (top + height) / whole, 0.87, height / whole))

    def _mark(self, axes: Axes, top: float) -> None:
        """A line in the features where each unit was first read, with its name."""
        for label, step in self.sequence["read"]:
            place = (step + 0.5) * self.stack * self.unit
            axes.axvline(place, color=MODEL, linewidth=0.8)
            axes.text(place, top, _name(label), fontsize=7, color=MODEL, ha="center", va="bottom")


def _name(label: Any) -> str:
    """A label in one line, and cut if it is long; a space can be seen."""
    name = one_line(str(label)).strip() or "␣"
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"
