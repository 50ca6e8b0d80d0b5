"""How often the truth lies below each quantile, and in each interval, beside how often it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.views.pictures.figure import MODEL, heading, panels, write_picture


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw observed shares over nominal ones: ``below`` of ``levels``, and of ``intervals`` by percentage."""
    intervals = {int(percent) / 100: share for percent, share in data["intervals"].items()}
    pairs = [("values below a quantile", data["levels"], data["below"])]
    if intervals:
        pairs.append(("values in an interval", list(intervals), list(intervals.values())))
    figure = panels(len(pairs), heading(title, "calibration", len(pairs)), columns=2)
    for axes, (what, nominal, observed) in zip(figure.axes, pairs, strict=True):
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
        observed = np.array(observed, dtype=float)
        axes.plot(nominal, observed, "o-", color=MODEL, markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal", ylabel="observed")
        axes.set_title(what, fontsize=9, pad=2)
    if intervals:
        for nominal, share in intervals.items():
            axes = figure.axes[1]
            above = share > nominal
            axes.annotate(
                f"{100 * share:.0f} %",
                (nominal, share),
                textcoords="offset points",
                xytext=(0, 5) if above else (0, -5),
                ha="center",
                va="bottom" if above else "top",
                fontsize=7,
            )
    write_picture(path, figure)
