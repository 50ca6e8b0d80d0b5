"""The error of forecasts at each step of the horizon, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from gatewise.settings import one_line
from gatewise.views.pictures.figure import MODEL, panels, write_picture

COLORS = ("#7f7f7f", "#1f77b4", "#2ca02c", "#9467bd", "#17becf", "#bcbd22")
"""Of the baselines, in their order."""
_NAMES = {"mse": "mean squared error", "mae": "mean absolute error"}


def draw(data: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw errors by step: ``data[metric][forecast]`` has one for each; the first forecast is the model's."""
    figure = panels(len(data), f"{title}: error by step of the forecast, scaled", columns=2)
    for axes, (metric, forecasts) in zip(figure.axes, data.items(), strict=True):
        for place, (name, errors) in enumerate(forecasts.items()):
            steps = np.arange(1, len(errors) + 1)
            own = {"color": MODEL, "linewidth": 2.2, "zorder": 3}
            simple = {"color": COLORS[(place - 1) % len(COLORS)], "linewidth": 1.1}
            marker = "o" if len(steps) <= 24 else None
            style: dict[str, Any] = own if place == 0 else simple
            axes.plot(
                steps,
                np.array(errors, dtype=float),
                label=one_line(name),
                marker=marker,
                markersize=3,
                **style,
            )
        axes.set(xlabel="step", ylabel=_NAMES.get(metric, metric))
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _keep_model_visible(axes, forecasts)
    # Errors begin at 0, where there is room.
    figure.axes[-1].legend(fontsize=7, loc="lower right", ncols=2, edgecolor="none", framealpha=0.8)
    write_picture(path, figure)


def _keep_model_visible(axes: Any, forecasts: Mapping[str, Any]) -> None:
    """Cut off a baseline that is far worse than all others, which would press them flat."""
    highest = [np.nanmax(np.array(errors, dtype=float)) for errors in forecasts.values() if errors]
    if len(highest) > 2:
        usual = 2.5 * float(np.median(highest))
        if max(highest) > usual:
            axes.set_ylim(top=max(usual, 1.1 * highest[0]))
