"""Forecasts next to the true values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.views.pictures.figure import MODEL, TRAIN, TRUTH, panels, write_picture


def draw(data: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the first target column of a few test windows: values seen, true values and forecast."""
    windows, targets = data["windows"], data["targets"]
    what = "a test window" if len(windows) == 1 else f"{len(windows)} test windows"
    figure = panels(len(windows), f"{title}: {targets[0]} in {what}", columns=2)
    for axes, window in zip(figure.axes, windows, strict=True):
        seen, truth, forecast = (np.array(window[k])[:, 0] for k in ("seen", "truth", "forecast"))
        # More than a few horizons of the past would leave no room for the forecast.
        seen = seen[-max(4 * len(truth), 24) :]
        past, future = np.arange(1 - len(seen), 1), np.arange(1, len(truth) + 1)
        axes.plot(past, seen, color=TRAIN, label="seen")
        axes.plot(np.r_[0, future], np.r_[seen[-1], truth], color=TRUTH, label="truth")
        axes.plot(np.r_[0, future], np.r_[seen[-1], forecast], "--", color=MODEL, label="forecast")
        axes.axvline(0, color="0.85", linewidth=1, zorder=0)
        axes.set(xlabel="steps from the forecast's start", ylabel=targets[0])
    figure.axes[0].legend(frameon=False, fontsize=8)
    write_picture(path, figure)
