"""The confusion matrix of a classification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatewise.views.pictures.figure import write_picture


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the counts [true class, predicted class] of the test examples, with numbers if they fit."""
    counts, classes = np.array(data["counts"]), data["classes"]
    long = max(map(len, classes)) > 4
    figure = Figure(figsize=(5.6, 5.2), layout="constrained" if long else None)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
        axes.set_xticks(range(len(classes)), classes, rotation=90 if long else 0, fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
    correct = np.trace(counts)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\n{correct} of {counts.sum()} test sequences correct", fontsize=10)
    write_picture(path, figure)
