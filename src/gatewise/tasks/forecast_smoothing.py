"""Exponential smoothing: fitted by statsmodels, run over all windows at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory

MOST_FITS = 400
"""Series and targets that get parameters of their own; all others have the median of these."""
MOST_VALUES = 20_000
"""Values that all fits read together, which take about ten seconds; each reads its last ones."""
FEWEST_VALUES = 5
"""A shorter history, or two seasons and some, is not fitted."""
_COMPARED = 8
"""Values that tell whether a window begins where the history ends."""


class Parameters(NamedTuple):
    """Of additive Holt-Winters smoothing; without a trend beta is 0, without a season gamma is."""

    alpha: float
    beta: float
    gamma: float
    phi: float
    trend: float
    """1 with a damped trend, else 0."""
    season: float
    """1 with a season, else 0."""


PLAIN = Parameters(0.3, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Where nothing can be fitted."""


@dataclass
class Smoothing:
    """Additive exponential smoothing of each target, without or with a damped trend and a season.

    statsmodels fits the four forms to the rows before the test part, and AICc chooses one for each series and
    target. Each window is smoothed from its first value on. A window that begins right where those rows end
    has the forecast of all of them instead, as the M competitions have.
    """

    facts: SeriesFacts
    parameters: Tensor
    """[S + 1, C_targets, 6]; the last is the median, for any other series."""
    ends: Tensor
    """[S + 1, K, C_targets]: the last values of each history; NaN where there are fewer."""
    forecasts: Tensor
    """[S + 1, horizon, C_targets]: of the whole histories; NaN where none was fitted."""

    @classmethod
    def fitted(cls, history: SeriesHistory, facts: SeriesFacts) -> tuple[Smoothing | None, str]:
        """The smoothing, and a line about what was left out."""
        count, targets = len(history.starts), len(facts.targets)
        parameters = np.full((count + 1, targets, len(PLAIN)), np.nan)
        forecasts = np.full((count + 1, facts.horizon, targets), np.nan, np.float32)
        ends = np.full((count + 1, _COMPARED, targets), np.nan, np.float32)
        chosen = np.unique(np.linspace(0, count - 1, max(1, min(count, MOST_FITS // targets))).astype(int))
        most = max(MOST_VALUES // (len(chosen) * targets), 4 * facts.season, 50)
        rows = history.ends[:, None] + np.arange(-_COMPARED, 0)
        last = history.targets(np.maximum(rows, 0), slice(None))
        ends[:count] = np.where((rows >= history.starts[:, None])[..., None], last, np.nan)
        for number in chosen:
            start = max(history.starts[number], history.ends[number] - most)
            for place in range(targets):
                values = _without_gaps(history.targets(slice(start, history.ends[number]), place))
                fit = best_fit(values, facts.season)
                if fit is not None:
                    parameters[number, place] = read_parameters(fit)
                    forecasts[number, :, place] = fit.forecast(facts.horizon)
        fits = parameters[~np.isnan(parameters[..., 0])]
        parameters = np.where(np.isnan(parameters), _usual(fits), parameters)
        remark = ""
        if len(chosen) < count:
            remark = (
                f"The baseline smoothing is fitted to {len(chosen)} of {count} series, and their median taken"
            )
        return cls(facts, *map(torch.from_numpy, (parameters, ends, forecasts))), remark

    def __call__(self, seen: Tensor, series: Tensor | None = None) -> Tensor:
        """The forecasts [B, horizon, C_targets] for values seen [B, L, C_targets], and their series [B]."""
        numbers = torch.zeros(len(seen), dtype=torch.int64) if series is None else series.cpu()
        numbers = numbers.clamp(max=len(self.parameters) - 1)
        values = seen.cpu().double()
        smoothed = smooth(values, self.parameters[numbers], self.facts.season, self.facts.horizon).float()
        length = min(_COMPARED, values.shape[1])
        ends, own = self.ends[numbers, -length:], self.forecasts[numbers]
        known = ends.isfinite().any((1, 2)) & own.isfinite().all((1, 2))
        same = (ends.isnan() | (ends == seen.cpu()[:, -length:])).all((1, 2))
        return torch.where((known & same)[:, None, None], own, smoothed).to(seen)


def smooth(values: Tensor, parameters: Tensor, season: int, horizon: int) -> Tensor:
    """The forecasts [B, horizon, C] after values [B, L, C], smoothed with parameters [B, C, 6].

    The recursion is that of Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 8.3. The first
    level is the mean of the first season (the first value without), the first trend that from the first
    season to the second, and the first season is the deviations from that mean.
    """
    alpha, beta, gamma, phi, trend, seasonal = parameters.double().unbind(-1)
    length = values.shape[1]
    if not 1 < season <= length:
        season, seasonal = 1, torch.zeros_like(seasonal)
    level = torch.where(seasonal > 0, values[:, :season].mean(1), values[:, 0])
    if length >= 2 * season:
        change = (values[:, season : 2 * season].mean(1) - values[:, :season].mean(1)) / season
    else:
        change = torch.zeros_like(level)
    change = change * trend
    indices = list(((values[:, :season] - level[:, None]) * seasonal[:, None]).unbind(1))
    for step in range(length):
        now, index = values[:, step], indices[step % season]
        before = level + phi * change
        level = alpha * (now - index) + (1 - alpha) * before
        change = beta * (level - (before - phi * change)) + (1 - beta) * phi * change
        indices[step % season] = seasonal * (gamma * (now - before) + (1 - gamma) * index)
    forecasts, damping = [], torch.zeros_like(phi)
    for step in range(horizon):
        damping = (damping + 1) * phi
        forecasts.append(level + damping * change + indices[(length + step) % season])
    return torch.stack(forecasts, 1)


def best_fit(values: NDArray[np.float64], season: int) -> Any | None:
    """statsmodels' fit of the form with the least AICc; None where there are too few values."""
    if len(values) < FEWEST_VALUES:
        return None
    # Imported here because it takes more than a second.
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    with_season = season > 1 and len(values) >= 2 * season + 10
    best = None
    for trend in (None, "add"):
        for seasonal in (None, "add") if with_season else (None,):
            long = seasonal is not None or len(values) >= 100
            with warnings.catch_warnings():
                # Of fits that do not quite converge: whichever is best is taken as it is.
                warnings.simplefilter("ignore")
                model = ExponentialSmoothing(
                    values,
                    trend=trend,
                    damped_trend=trend is not None,
                    seasonal=seasonal,
                    seasonal_periods=season if seasonal else None,
                    # Of a long series the first state matters little, and takes most of the time.
                    initialization_method="heuristic" if long else "estimated",
                )
                try:
                    fit = model.fit()
                except (ValueError, ZeroDivisionError, np.linalg.LinAlgError):
                    continue
            if np.isfinite(fit.sse) and np.isfinite(fit.forecast(1)).all():
                score = fit.aicc if np.isfinite(fit.aicc) else np.inf
                if best is None or score < best[0]:
                    best = (score, fit)
    return None if best is None else best[1]


def _usual(fits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median [6] of fits [N, 6] of the form that most of them have."""
    if not len(fits):
        return np.array(PLAIN)
    _, numbers, counts = np.unique(fits[:, -2:], axis=0, return_inverse=True, return_counts=True)
    usual: NDArray[np.float64] = np.median(fits[numbers.ravel() == counts.argmax()], axis=0)
    return usual


def read_parameters(fit: Any) -> Parameters:
    """The parameters of statsmodels' fit."""
    found = fit.params
    trend, season = float(fit.model.trend is not None), float(fit.model.seasonal is not None)
    # Of a form without trend or season statsmodels has NaN.
    return Parameters(
        float(found["smoothing_level"]),
        float(found["smoothing_trend"]) if trend else 0.0,
        float(found["smoothing_seasonal"]) if season else 0.0,
        float(found["damping_trend"]) if trend else 0.0,
        trend,
        season,
    )


def _without_gaps(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The values [T] from the first there is on, one that is missing the one before it."""
    there = np.isfinite(values)
    if not there.any():
        return np.empty(0)
    first = int(there.argmax())
    places = np.maximum.accumulate(np.where(there, np.arange(len(values)), first))
    return values[places][first:].astype(np.float64)
