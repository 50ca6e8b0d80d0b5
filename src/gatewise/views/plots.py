"""Pictures of a run, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatewise.runs.files import write_picture
from gatewise.runs.summary import best_row

TRAIN, VALIDATION, TRUTH, MODEL = "#7f7f7f", "#1f77b4", "#333333", "#d95f02"


def learning_curves(
    rows: Sequence[dict[str, float]],
    path: Path,
    monitor: str,
    mode: str,
    title: str,
    within: Sequence[dict[str, float]] = (),
) -> bool:
    """Draw each metric of ``metrics.csv`` over the epochs, training and validation in one panel.

    An epoch with rows of ``validations.csv`` (``within``) is drawn from those.
    Returns whether there was anything to draw.
    """
    names = sorted(
        {n.split("/", 1)[1] for row in (*rows, *within) for n in row if n.startswith(("train/", "val/"))}
    )
    if not names:
        return False
    # The monitored metric first.
    names.sort(key=lambda name: (f"val/{name}" != monitor, name != "loss", name))
    figure = _figure(len(names), title)
    best = best_row(list(rows), monitor, mode)
    explained: set[str] = set()  # a legend takes as long as its panel
    for axes, name in zip(figure.axes, names, strict=True):
        for split, color, label in (("train", TRAIN, "training"), ("val", VALIDATION, "validation")):
            points = _points(rows, within, f"{split}/{name}")
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), color=color, label=label, marker=marker)
        if f"val/{name}" == monitor and best:
            axes.plot(best["epoch"] + 1, best[monitor], "*", color=MODEL, markersize=12, label="best")
            place = best["epoch"] + 1, best[monitor]
            axes.annotate(f"{best[monitor]:.4g}", place, (0, 9), textcoords="offset points", ha="center")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=not within or within[-1]["epochs"] >= 3))
        axes.margins(y=0.12)
        labels = {str(line.get_label()) for line in axes.lines}
        if not labels <= explained:
            axes.legend(frameon=False, fontsize=8)
            explained |= labels
    write_picture(path, figure)
    return True


def _points(
    rows: Sequence[dict[str, float]], within: Sequence[dict[str, float]], key: str
) -> list[tuple[float, float]]:
    """(epochs passed, value) of a metric."""
    points = [(row["epochs"], row[key]) for row in within if key in row]
    drawn = {math.ceil(passed) for passed, _ in points}
    ends = [(row["epoch"] + 1, row[key]) for row in rows if key in row]
    return sorted([*points, *(end for end in ends if end[0] not in drawn)], key=lambda point: point[0])


def test_pictures(report: dict[str, Any], folder: Path, title: str) -> list[Path]:
    """Draw what a task's test report holds; returns the files."""
    paths = []
    if "confusion" in report:
        paths.append(folder / "confusion_matrix.png")
        confusion_matrix(np.array(report["confusion"]), report["classes"], paths[-1], title)
    if "windows" in report:
        paths.append(folder / "forecasts.png")
        forecasts(report["windows"], report["targets"], paths[-1], title)
    return paths


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: Path, title: str) -> None:
    """Draw test examples [true class, predicted class], with numbers where they fit."""
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
    right = np.trace(counts)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\n{right} of {counts.sum()} test sequences right", fontsize=10)
    write_picture(path, figure)


def forecasts(windows: Sequence[dict[str, Any]], targets: Sequence[str], path: Path, title: str) -> None:
    """Draw the first target column of a few test windows: what was seen, what came, what was forecast."""
    what = "a test window" if len(windows) == 1 else f"{len(windows)} test windows"
    figure = _figure(len(windows), f"{title}: {targets[0]} in {what}", columns=2)
    for axes, window in zip(figure.axes, windows, strict=True):
        seen, truth, forecast = (np.array(window[k])[:, 0] for k in ("seen", "truth", "forecast"))
        # More of the past than a few horizons would squeeze the forecast to nothing.
        seen = seen[-max(4 * len(truth), 24) :]
        past, future = np.arange(1 - len(seen), 1), np.arange(1, len(truth) + 1)
        axes.plot(past, seen, color=TRAIN, label="seen")
        axes.plot(np.r_[0, future], np.r_[seen[-1], truth], color=TRUTH, label="truth")
        axes.plot(np.r_[0, future], np.r_[seen[-1], forecast], "--", color=MODEL, label="forecast")
        axes.axvline(0, color="0.85", linewidth=1, zorder=0)
        axes.set(xlabel="steps from the forecast's start", ylabel=targets[0])
    figure.axes[0].legend(frameon=False, fontsize=8)
    write_picture(path, figure)


def _figure(panels: int, title: str, columns: int = 3) -> Figure:
    """Panels with room for tick labels of eight characters: to measure them takes as long as to draw them."""
    columns = min(panels, columns)
    rows = -(-panels // columns)
    width, height = 4.2 * columns, 3.2 * rows  # inches
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.85 / width,
        right=1 - 0.15 / width,
        bottom=0.55 / height,
        top=1 - 0.45 / height,
        wspace=columns / (width - columns),
        hspace=0.7 * rows / (height - 1.0 - 0.7 * (rows - 1)),
    )
    for index in range(panels):
        axes: Axes = figure.add_subplot(rows, columns, index + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    figure.suptitle(title, fontsize=11, y=1 - 0.12 / height, va="top")
    return figure
