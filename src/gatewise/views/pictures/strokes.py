"""What a pen wrote, with the answer to each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import write_picture

COLUMNS, ROWS = 8, 6
"""Most that are drawn."""
SIDE = 1.5
"""Inches of a panel."""
LONGEST_ANSWER = 40
WIDE = 2.5
"""Wider than high by so much: a line of its own."""


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the strokes of each drawing, the first points marked, with its answer above; y grows upwards."""
    drawings = [[np.asarray(stroke) for stroke in strokes] for strokes in data["strokes"]]
    answers = list(data.get("answers", ()))
    sides = [np.ptp(np.concatenate(strokes), axis=0) for strokes in drawings]
    wide = float(np.median([side[0] / max(side[1], 1e-9) for side in sides])) > WIDE
    columns = min(len(drawings), 1 if wide else COLUMNS)
    drawings = drawings[: columns * ROWS]
    rows = -(-len(drawings) // columns)
    width, height = (6.0 if wide else SIDE * max(columns, 3)), SIDE * rows + 0.5
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(one_line(title), fontsize=10)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for index, strokes in enumerate(drawings):
        axes = panels[index]
        for stroke in strokes:
            axes.plot(*stroke.T, color="#333333", linewidth=1.6, solid_capstyle="round", zorder=2)
            axes.plot(*stroke[0], ".", color="#d95f02", markersize=5, zorder=3)
        for before, after in pairwise(strokes):
            axes.plot(*np.stack([before[-1], after[0]]).T, ":", color="#9a9a9a", linewidth=1, zorder=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.12)
        if index < len(answers):
            axes.set_title(one_line(str(answers[index]))[:LONGEST_ANSWER], fontsize=9)
    write_picture(path, figure)
