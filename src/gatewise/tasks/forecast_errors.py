"""The errors of forecasts over all windows of a test: for each step, series and target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_history import ROWS, pieces, starts_of_windows

MEANINGS = {
    "mse": "mean squared error in units of the training variance; lower is better",
    "mae": "mean absolute error in training standard deviations; lower is better",
    "smape": "mean of 200 |error| / (|truth| + |forecast|), in percent; lower is better",
    "mase": "mean absolute error, as a share of that of the seasonal naive forecast in the training part; "
    "lower is better",
    "crps": "continuous ranked probability score, 2 x the mean pinball loss of the levels, scaled as mae; "
    "lower is better",
}
"""What the metrics of a test mean that are over all targets."""


def intervals(levels: Sequence[float]) -> dict[int, tuple[int, int]]:
    """The places of the lower and the upper quantile of each central interval, by its percentage."""
    places = {}
    for low, level in enumerate(levels):
        for high in range(low + 1, len(levels)):
            if abs(level + levels[high] - 1) < 1e-6:
                places[round(100 * (levels[high] - level))] = (low, high)
    return dict(sorted(places.items()))


def headlined(levels: Sequence[float]) -> list[int]:
    """The intervals that have metrics of their own: the widest, and that of 80 %."""
    percents = list(intervals(levels))
    return [percent for percent in percents if percent in (80, max(percents))]


def seasonal_errors(history: SeriesHistory, facts: SeriesFacts) -> NDArray[np.float64]:
    """The scale of MASE [S + 1, C_targets], in the original units (Hyndman & Koehler, 2006).

    It is the mean absolute difference of values one season apart (one step, where there is no season) over
    the training part of a series. NaN where there is none, or it is zero, and for series never seen.
    """
    season, count = max(facts.season, 1), len(history.starts)
    sums = np.zeros((2, count + 1, len(facts.targets)))
    first = starts_of_windows(history.starts, history.training_ends, season + 1)
    for rows, places in pieces(first, season + 1, ROWS):
        owners = np.searchsorted(history.starts, rows.start + places, side="right") - 1
        for target in range(sums.shape[2]):
            column = history.targets(rows, target).astype(np.float64)
            differences = np.abs(column[places + season] - column[places])
            there = ~np.isnan(differences)
            sums[0, :, target] += np.bincount(owners, np.where(there, differences, 0), count + 1)
            sums[1, :, target] += np.bincount(owners, there, count + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale: NDArray[np.float64] = sums[0] / sums[1]
    # A constant series of float32 differs from itself by rounding at most.
    scale[~(scale > 1e-9)] = np.nan
    scale *= facts.target_std
    if history.scales is not None:
        scale[:count] *= history.scales[:, 1]
    return scale


class ErrorSums:
    """Sums of what one forecast of all windows errs by.

    ``scales`` are those of MASE; None where they are not known.
    """

    def __init__(
        self, facts: SeriesFacts, levels: Sequence[float] = (), scales: NDArray[np.float64] | None = None
    ) -> None:
        self.facts, self.levels, self.scales = facts, tuple(levels), scales
        self.intervals = intervals(self.levels)
        self.by_step: dict[str, NDArray[np.float64]] = {}
        """[horizon, C_targets] by the name of what is summed."""
        self.by_series: dict[str, NDArray[np.float64]] = {}
        """[S + 1, C_targets]."""

    def add(self, batch: WindowBatch, forecast: Forecast) -> None:
        """Add the forecast of a batch, compared where the truth is there."""
        numbers = (
            np.zeros(len(batch.inputs), np.int64) if batch.series is None else batch.series.cpu().numpy()
        )
        for name, values in self._quantities(batch, forecast, numbers):
            own = self.by_step.setdefault(name, np.zeros(values.shape[1:]))
            own += values.sum(0)
            shape = (len(self.facts.series) + 1, values.shape[2])
            np.add.at(self.by_series.setdefault(name, np.zeros(shape)), numbers, values.sum(1))

    def _quantities(
        self, batch: WindowBatch, forecast: Forecast, numbers: NDArray[np.int64]
    ) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """What is summed [B, horizon, C_targets] by name, 0 where there is no truth."""
        facts = self.facts
        truth, point = numbers_of(batch.targets), numbers_of(forecast.point)
        there = ~np.isnan(truth)
        scales = None if batch.scales is None else batch.scales.cpu()
        unit = facts.target_std * (1.0 if scales is None else scales.numpy()[:, None, 1])
        yield "count", there.astype(np.float64)
        error = np.abs(np.where(there, point - truth, 0.0))
        yield "mae", error
        yield "mse", np.square(error)
        own = error * unit
        yield "own mae", own
        yield "own mse", np.square(own)
        size = np.abs(facts.unscaled(np.where(there, truth, 0), scales))
        size += np.abs(facts.unscaled(np.where(there, point, 0), scales))
        yield "smape", 200 * own / np.where(size > 0, size, 1)
        if self.scales is not None:
            scale = self.scales[numbers][:, None]
            compared = there & ~np.isnan(scale)
            yield "mase", np.where(compared, own / np.where(compared, scale, 1), 0.0)
            yield "mase count", compared.astype(np.float64)
        if forecast.quantiles is None:
            return
        quantiles = numbers_of(forecast.quantiles)
        pinball = np.zeros_like(truth)
        for place, level in enumerate(self.levels):
            over = np.where(there, truth - quantiles[..., place], 0.0)
            pinball += np.maximum(level * over, (level - 1) * over)
            yield f"below {level:g}", (there & (truth <= quantiles[..., place])).astype(np.float64)
        yield "crps", 2 * pinball / max(len(self.levels), 1)
        for percent, (low, high) in self.intervals.items():
            lower, upper = quantiles[..., low], quantiles[..., high]
            yield f"coverage {percent}", (there & (lower <= truth) & (truth <= upper)).astype(np.float64)
            width = np.where(there, upper - lower, 0.0)
            yield f"width {percent}", width
            yield f"own width {percent}", width * unit

    def plus(self, other: ErrorSums) -> ErrorSums:
        """These sums and those of another process."""
        total = ErrorSums(self.facts, self.levels or other.levels, self.scales)
        for sums, ours, theirs in (
            (total.by_step, self.by_step, other.by_step),
            (total.by_series, self.by_series, other.by_series),
        ):
            sums |= ours
            for name, values in theirs.items():
                sums[name] = sums[name] + values if name in sums else values
        return total

    def overall(self) -> dict[str, float]:
        """The means over all windows, steps and targets that a test reports, by name."""
        means = _means({name: np.asarray(values.sum()) for name, values in self.by_step.items()})
        names = [*MEANINGS]
        for percent in headlined(self.levels):
            names += [f"coverage_{percent}", f"width_{percent}"]
        return {name: float(means[name]) for name in names if name in means and np.isfinite(means[name])}

    def by_target(self) -> dict[str, NDArray[np.float64]]:
        """The means [C_targets] over all windows and steps."""
        return _means({name: values.sum(0) for name, values in self.by_step.items()})

    def coverage(self) -> dict[int, float]:
        """The share of all values within each interval, by its percentage."""
        count, sums = self.by_step["count"].sum(), self.by_step
        return {percent: float(sums[f"coverage {percent}"].sum() / count) for percent in self.intervals}

    def below(self) -> dict[float, float]:
        """The share of all values that is below the quantile of each level."""
        count = self.by_step["count"].sum()
        return {level: float(self.by_step[f"below {level:g}"].sum() / count) for level in self.levels}

    def step_means(self) -> dict[str, NDArray[np.float64]]:
        """The means [horizon] over all windows and targets."""
        return _means({name: values.sum(1) for name, values in self.by_step.items()})

    def table(self, by: str = "") -> pd.DataFrame:
        """The means ``by`` step, series or nothing: each target's and, of several, those of all."""
        sums = self.by_series if by == "series" else self.by_step
        if not by:
            sums = {name: values.sum(0, keepdims=True) for name, values in sums.items()}
        each, targets = _means(sums), self.facts.targets
        groups = {target: {n: mean[:, p] for n, mean in each.items()} for p, target in enumerate(targets)}
        if len(targets) > 1:
            of_all = _means({name: values.sum(1) for name, values in sums.items()})
            # Units of several targets do not add up.
            groups["all"] = {name: mean for name, mean in of_all.items() if not name.startswith("own")}
        tables = []
        for target, means in groups.items():
            table = pd.DataFrame({"target": target, **means, "count": means["count"].astype(np.int64)})
            if by == "step":
                table.insert(0, by, np.arange(1, len(table) + 1))
            elif by == "series":
                table.insert(0, by, [*self.facts.series, "any other"])
            tables.append(table[table["count"] > 0])
        return pd.concat(tables, ignore_index=True)


def numbers_of(values: Tensor) -> NDArray[np.float64]:
    """A tensor as float64 of numpy, which has no bfloat16; on the CPU, as not every device has float64."""
    found: NDArray[np.float64] = values.detach().cpu().to(torch.float64).numpy()
    return found


def _means(sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The means of sums by the name they are reported by; ``count`` stays one."""
    means = {"count": sums["count"]}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, values in sums.items():
            if name not in ("count", "mase count"):
                of = sums["mase count" if name == "mase" else "count"]
                means[name.replace(" ", "_")] = values / of
        means["own_rmse"] = np.sqrt(means["own_mse"])
    return means
