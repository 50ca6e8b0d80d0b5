"""Precision, recall and F1 of every class of spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import write_picture

DRAWN = 40
"""Classes at most, those with the most spans."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Write three bars for each class, with the number of its spans in its name."""
    rows = sorted(data, key=lambda row: -int(row["true"]))[:DRAWN]
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for index, what in enumerate(("precision", "recall", "f1")):
        places = [place + 0.27 * (index - 1) for place in range(len(rows))]
        axes.barh(places, [float(row[what]) for row in rows], height=0.25, label=what)
    names = [f"{one_line(str(row['class']))[:40]} ({int(row['true'])})" for row in rows]
    # Not as mathematics, which a name with dollar signs would be.
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("score on the test (number of true spans behind the name)")
    axes.legend(loc="lower right")
    axes.set_title(title, fontsize=10)
    write_picture(path, figure)
