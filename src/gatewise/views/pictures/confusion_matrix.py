"""The confusion matrix of a classification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import write_picture

NUMBERED = 30
"""Most classes whose counts are written into the squares."""
INCHES = 0.16
"""Least side of a square, so that the names of the classes do not run into each other."""
LETTER = 0.0095
"""Width in inches of a letter or digit for each point of its size."""
LONGEST_NAME = 24


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the counts [true class, predicted class] of the test examples, with numbers if they fit."""
    classes = [_short(name) for name in data["classes"]]
    counts = np.array(data["counts"]).reshape(len(classes), len(classes))
    longest = max(map(len, classes))
    long = longest > 4 or len(classes) > NUMBERED
    size = 8 if len(classes) <= NUMBERED else 6
    numbers = 8 if len(classes) <= 12 else 7
    square = INCHES
    if len(classes) <= NUMBERED:
        square = max(square, 0.06 + LETTER * numbers * len(str(counts.max(initial=0))))
    # A picture of its usual size where names and counts fit; else it grows with the number of classes.
    side = max(0.0, square * len(classes) + (LETTER * size * longest if long else 0) - 4.2)
    figure = Figure(figsize=(5.6 + side, 5.2 + side), layout="constrained" if long else None)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=numbers)
    axes.set_xticks(range(len(classes)), classes, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(range(len(classes)), classes, fontsize=size)
    correct = np.trace(counts)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\n{correct} of {counts.sum()} test sequences correct", fontsize=10)
    write_picture(path, figure)


def _short(name: str) -> str:
    """A class name in one line, and cut if it is long."""
    name = one_line(str(name))
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
