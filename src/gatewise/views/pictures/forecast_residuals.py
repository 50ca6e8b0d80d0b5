"""The autocorrelation of the errors of a forecast's first step, beside what chance allows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from gatewise.settings import one_line
from gatewise.views.pictures.figure import MODEL, heading, panels, write_picture


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw ``autocorrelation`` [lag] of each target, and the ``band`` that 95 % of white noise is within."""
    targets = data["autocorrelation"]
    head = heading(title, "autocorrelation of one-step errors", min(3, len(targets)))
    figure = panels(len(targets), head, columns=3)
    highest = max((abs(v) for values in targets.values() for v in values if v is not None), default=0.0)
    most = min(1.0, 1.15 * max(highest, data["band"]))
    for axes, (target, values) in zip(figure.axes, targets.items(), strict=True):
        lags = np.arange(1, len(values) + 1)
        axes.axhspan(-data["band"], data["band"], color="0.9", zorder=0, label="95 % of white noise")
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.vlines(lags, 0, np.array(values, dtype=float), color=MODEL, linewidth=2)
        lag = "lag" if data["stride"] == 1 else f"lag, in windows {data['stride']} steps apart"
        axes.set(xlabel=lag, ylabel=one_line(target), ylim=(-most, most), xlim=(0.3, len(values) + 0.7))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    figure.axes[0].legend(frameon=False, fontsize=7, loc="upper right")
    write_picture(path, figure)
