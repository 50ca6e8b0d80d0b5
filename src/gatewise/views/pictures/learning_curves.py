"""The learning curves of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from gatewise.runs.summary import best_row
from gatewise.views.pictures.figure import MODEL, TRAIN, VALIDATION, panels, write_picture


def learning_curves(
    rows: Sequence[dict[str, float]],
    path: Path,
    monitor: str,
    mode: str,
    title: str,
    within: Sequence[dict[str, float]] = (),
) -> bool:
    """Draw each metric of ``metrics.csv`` over the epochs, training and validation in one panel.

    An epoch with rows in ``validations.csv`` (``within``) is drawn from those. Returns whether there was
    anything to draw.
    """
    names = sorted(
        {n.split("/", 1)[1] for row in (*rows, *within) for n in row if n.startswith(("train/", "val/"))}
    )
    if not names:
        return False
    # The monitored metric first.
    names.sort(key=lambda name: (f"val/{name}" != monitor, name != "loss", name))
    figure = panels(len(names), title)
    best = best_row(list(rows), monitor, mode)
    explained: set[str] = set()  # drawing a legend takes as long as its panel, so none is repeated
    for axes, name in zip(figure.axes, names, strict=True):
        drawn: list[float] = []
        for split, color, label in (("train", TRAIN, "training"), ("val", VALIDATION, "validation")):
            points = _points(rows, within, f"{split}/{name}")
            if points:
                drawn += [value for _, value in points]
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), color=color, label=label, marker=marker)
        if f"val/{name}" == monitor and best:
            axes.plot(best["epoch"], best[monitor], "*", color=MODEL, markersize=12, label="best")
            place = best["epoch"], best[monitor]
            axes.annotate(f"{best[monitor]:.4g}", place, (0, 9), textcoords="offset points", ha="center")
        axes.set(xlabel="epoch", ylabel=name)
        if _needs_log(drawn):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=not within or within[-1]["epochs"] >= 3))
        axes.margins(y=0.12)
        labels = {str(line.get_label()) for line in axes.lines}
        if not labels <= explained:
            axes.legend(frameon=False, fontsize=8)
            explained |= labels
    write_picture(path, figure)
    return True


def _needs_log(values: Sequence[float]) -> bool:
    """Whether a linear axis would press most of these values flat: nine in ten in a twentieth of it."""
    ordered = sorted(values)
    if len(ordered) < 10 or ordered[0] <= 0:
        return False
    nearly_all = ordered[: math.ceil(0.9 * len(ordered))]
    return ordered[-1] - ordered[0] > 20 * (nearly_all[-1] - nearly_all[0]) > 0


def _points(
    rows: Sequence[dict[str, float]], within: Sequence[dict[str, float]], key: str
) -> list[tuple[float, float]]:
    """The points (epochs completed, value) of a metric."""
    points = [(row["epochs"], row[key]) for row in within if key in row]
    drawn = {math.ceil(passed) for passed, _ in points}
    ends = [(row["epoch"], row[key]) for row in rows if key in row]
    return sorted([*points, *(end for end in ends if end[0] not in drawn)], key=lambda point: point[0])
