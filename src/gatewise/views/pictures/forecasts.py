"""Forecasts next to the true values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatewise.settings import one_line
from gatewise.views.pictures.figure import MODEL, TRAIN, TRUTH, heading, panels, write_picture


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw target columns of a few test windows: values seen, true values and forecast, over their times.

    ``data["pictured"]`` names the targets, a row of panels each; without it, the first is drawn. A window may
    say which it is (``name``, ``series``) and have an interval from ``lower`` to ``upper``.
    """
    windows, targets = data["windows"], data["targets"]
    pictured = data.get("pictured") or targets[:1]
    what = "a test window" if len(windows) == 1 else f"{len(windows)} test windows"
    are_named = any("name" in window for window in windows)
    columns = min(2, len(windows)) if len(pictured) == 1 and not are_named else len(windows)
    head = heading(title, f"{one_line(', '.join(pictured))} in {what}", columns)
    figure = panels(len(windows) * len(pictured), head, columns=columns)
    shown = [(target, window) for target in pictured for window in windows]
    for axes, (target, window) in zip(figure.axes, shown, strict=True):
        column = targets.index(target)
        seen, truth, forecast = (
            np.array(window[k], dtype=float)[:, column] for k in ("seen", "truth", "forecast")
        )
        # More than a few horizons of the past would leave no room for the forecast.
        seen = seen[-max(4 * len(truth), 24) :]
        past, future = np.arange(1 - len(seen), 1), np.arange(1, len(truth) + 1)
        axes.plot(past, seen, color=TRAIN, label="seen")
        axes.plot(np.r_[0, future], np.r_[seen[-1], truth], color=TRUTH, label="truth")
        axes.plot(np.r_[0, future], np.r_[seen[-1], forecast], "--", color=MODEL, label="forecast")
        if "lower" in window:
            lower, upper = (np.array(window[k], dtype=float)[:, column] for k in ("lower", "upper"))
            label = f"{window['interval']} % interval"
            axes.fill_between(future, lower, upper, color=MODEL, alpha=0.2, linewidth=0, label=label)
        axes.axvline(0, color="0.85", linewidth=1, zorder=0)
        if "name" in window and len(windows) > 1:
            of = f", {one_line(str(window['series']))[:24]}" if window.get("series") else ""
            axes.set_title(f"{window['name']} window{of}", fontsize=9, pad=2)
        axes.set(xlabel="steps from the forecast's start", ylabel=one_line(target))
        if window.get("times"):
            _label(axes, window["times"][-len(seen) - len(truth) :], 1 - len(seen))
    figure.axes[0].legend(frameon=False, fontsize=8)
    write_picture(path, figure)


def _label(axes: Axes, times: Sequence[str], first: int) -> None:
    """Write a few of the times below a panel, as many as there is room for; the first is at ``first``.

    About forty characters of the usual size fit, with gaps between the times.
    """
    length = max(map(len, times))
    count = max(2, min(4, 42 // (length + 3)))
    places = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
    size = 9 if len(places) * length <= 40 else 7
    axes.set_xticks(places + first, [times[place] for place in places], fontsize=size)
    axes.set_xlabel("")
    labels = axes.get_xticklabels()
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
