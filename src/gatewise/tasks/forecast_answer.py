"""A forecast as a table: a row for each step and series, columns for each target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts
from gatewise.tasks.answer import Answer, table_of
from gatewise.tasks.forecast import Forecast

SHOWN = 0.8
"""Share of the values that the interval on the screen is meant to hold; the nearest to it is shown."""


def answer_of(forecast: Forecast, given: Input, facts: SeriesFacts) -> Answer:
    """The forecast in the units of the file, with intervals where it has quantiles.

    ``load_lo80`` and ``load_hi80`` are those between which 80 % of the values should be. Where the input has
    the truth, as for an in-sample fit, it is beside the forecast, and what lies outside of the widest
    interval is an anomaly.
    """
    scales = given.batch.scales
    point = facts.unscaled(_numbers(forecast.point), scales)
    quantiles: dict[float, NDArray[np.float64]] = {}
    if forecast.quantiles is not None:
        values = _numbers(forecast.quantiles)
        quantiles = {
            level: facts.unscaled(values[..., place], scales) for place, level in enumerate(forecast.levels)
        }
    truth = facts.unscaled(_numbers(given.batch.targets), scales)
    has_truth = not np.isnan(truth).all()
    columns: dict[str, Any] = dict(given.columns)
    formats: dict[str, str] = {}
    file_only: list[str] = []
    names = column_names(quantiles)
    nearest = min((abs(abs(1 - 2 * level) - SHOWN) for level in quantiles), default=0.0)
    for place, target in enumerate(facts.targets):
        own: dict[str, Any] = {target: point[..., place].ravel()}
        for level, values in quantiles.items():
            if level == 0.5:
                continue  # as good as the point itself
            own[f"{target}_{names[level]}"] = values[..., place].ravel()
            if abs(abs(1 - 2 * level) - SHOWN) > nearest + 1e-9:
                file_only.append(f"{target}_{names[level]}")
        if has_truth:
            own[f"{target}_actual"] = truth[..., place].ravel()
        style = number_format(own[target], facts.target_std[place])
        formats |= dict.fromkeys(own, style)
        if has_truth and quantiles:
            low, high = (quantiles[level][..., place].ravel() for level in (min(quantiles), max(quantiles)))
            actual = own[f"{target}_actual"]
            own[f"{target}_anomaly"] = (actual < low) | (actual > high)
        columns |= own
    steps = point.shape[1]
    return Answer(
        table_of(columns),
        f"the {steps} steps after {given.name}",
        formats,
        file_only=tuple(file_only),
        given=tuple(f"{target}_actual" for target in facts.targets),
    )


def column_names(levels: Mapping[float, Any]) -> dict[float, str]:
    """``lo80`` and ``hi80`` for the levels of an interval that has both ends, else ``q30``."""
    names = {}
    for level in levels:
        both = any(abs(level + other - 1) < 1e-9 and other != level for other in levels)
        if both:
            names[level] = f"{'lo' if level < 0.5 else 'hi'}{100 * abs(1 - 2 * level):.4g}"
        else:
            names[level] = f"q{100 * level:.4g}"
    return names


def _numbers(values: Any) -> NDArray[np.float64]:
    """A tensor as numpy has it, which has no bfloat16."""
    numbers: NDArray[np.float64] = values.detach().cpu().double().numpy()
    return numbers


def number_format(values: NDArray[np.float64], spread: float) -> str:
    """A format in which the values differ visibly: down to a thousandth of ``spread``, their usual range."""
    smallest = math.floor(math.log10(spread)) - 3
    largest = max((math.floor(math.log10(abs(v))) for v in values if v), default=smallest)
    if max(largest, 0) <= 15 and smallest >= -12:
        return f"{{:.{max(0, -smallest)}f}}"
    return f"{{:.{min(17, max(4, largest - smallest + 1))}g}}"
