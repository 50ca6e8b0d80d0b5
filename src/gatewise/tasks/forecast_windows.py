"""What single windows of a test show: losses at each origin, residuals, the worst, median and best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_errors import numbers_of

KEPT = 512
"""Windows of which one is shown as the median: the kept one whose error is nearest to the median of all."""
KEPT_NUMBERS = 4_000_000
"""Most numbers of these windows: of wide ones, fewer are kept."""


@dataclass
class Shown:
    """One window of a test with its forecast, scaled."""

    error: float
    """Mean absolute error."""
    number: int
    """Which of the process's windows it is."""
    seen: NDArray[np.float64]
    """[L, C_targets]"""
    truth: NDArray[np.float64]
    point: NDArray[np.float64]
    quantiles: NDArray[np.float64] | None
    times: NDArray[np.str_] | None
    series: int
    scales: NDArray[np.float64] | None
    shelf: int | None = None
    """Where its arrays are, if they are on a :class:`_Shelves`."""


@dataclass
class _Shelves:
    """Room for windows, made once and used again.

    Many small arrays that stay, between the large ones of each batch that go, would keep the memory of these
    from being given back: 2 MB a batch of fifty columns.
    """

    count: int
    free: list[int] = field(init=False)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = list(range(self.count))

    def put(self, shown: Shown) -> Shown:
        """The window with its arrays on a free shelf."""
        shelf = self.free.pop()
        moved: dict[str, Any] = {"shelf": shelf}
        for name in ("seen", "truth", "point", "quantiles", "times"):
            values = getattr(shown, name)
            if values is None:
                continue
            if name not in self.arrays:
                self.arrays[name] = np.empty((self.count, *values.shape), values.dtype)
            array = self.arrays[name]
            if array.dtype == values.dtype:  # else texts of different lengths
                array[shelf] = values
                moved[name] = array[shelf]
        return replace(shown, **moved)


class Windows:
    """The windows of a test, batch after batch: their losses, first residuals, and some whole.

    Residuals are those of the ``pictured`` targets. The lists of several processes are put back into the
    order of the data by :meth:`joined`.
    """

    def __init__(self, facts: SeriesFacts, pictured: Sequence[str] | None = None) -> None:
        self.facts = facts
        self.pictured = tuple(facts.targets if pictured is None else pictured)
        self.batches: list[dict[str, NDArray[Any]]] = []
        """Of each batch, by name, values of its windows [B, ...]."""
        self.worst: Shown | None = None
        self.best: Shown | None = None
        self.kept: list[Shown] = []
        self.stride: int | None = None
        """Steps between the origins of windows, within one process; None before it is known."""
        self._every, self._count = 1, 0
        self._shelves: _Shelves | None = None

    def add(
        self,
        batch: WindowBatch,
        seen: NDArray[np.float64],
        forecast: Forecast,
        baselines: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Take up a batch, the values seen [B, L, C_targets], the forecast and the baselines' points."""
        truth, point = numbers_of(batch.targets), numbers_of(forecast.point)
        size = len(truth)
        series = np.zeros(size, np.int64) if batch.series is None else batch.series.cpu().numpy()
        places = [self.facts.targets.index(name) for name in self.pictured]
        residual = (truth - point)[:, 0, places]
        values: dict[str, NDArray[Any]] = {"series": series, "residual": residual}
        for name, other in {"": point, **baselines}.items():
            error = other - truth
            values[f"loss {name}"] = _mean(np.square(error))
        errors = _mean(np.abs(point - truth))
        if batch.times is not None:
            if batch.series is not None:  # by which windows of several series are compared
                values["time"] = batch.times[:, self.facts.lookback].copy()  # else all times stay in memory
            if self.stride is None:
                self.stride = stride_of(batch.times, series, self.facts.lookback)
        self.batches.append(values)
        if not np.isnan(errors).all():
            self._keep(batch, seen, forecast, errors)
        self._count += size

    def _keep(
        self, batch: WindowBatch, seen: NDArray[np.float64], forecast: Forecast, errors: NDArray[np.float64]
    ) -> None:
        """Keep the worst and the best window so far, and one of a batch."""

        def window(place: int) -> Shown:
            quantiles, scales = forecast.quantiles, batch.scales
            return Shown(
                float(errors[place]),
                self._count + place,
                seen[place].copy(),
                numbers_of(batch.targets[place].clone()),
                numbers_of(forecast.point[place].clone()),
                None if quantiles is None else numbers_of(quantiles[place].clone()),
                None if batch.times is None else batch.times[place].copy(),
                0 if batch.series is None else int(batch.series[place]),
                None if scales is None else scales[place].cpu().numpy(),
            )

        worst, best = int(np.nanargmax(errors)), int(np.nanargmin(errors))
        if self.worst is None or errors[worst] > self.worst.error:
            self.worst = window(worst)
        if self.best is None or errors[best] < self.best.error:
            self.best = window(best)
        # Every window of a small test; then every second, every fourth, ...
        if self._shelves is None:
            numbers = seen[0].size + (2 + len(forecast.levels)) * self.facts.horizon * seen.shape[2]
            self._shelves = _Shelves(max(8, min(KEPT, KEPT_NUMBERS // numbers)))
        for place in range(-self._count % self._every, len(errors), self._every):
            while not self._shelves.free:
                self._every *= 2
                left_out = [shown for shown in self.kept if shown.number % self._every]
                self.kept = [shown for shown in self.kept if shown.number % self._every == 0]
                self._shelves.free += [shown.shelf for shown in left_out if shown.shelf is not None]
            if (self._count + place) % self._every == 0 and not np.isnan(errors[place]):
                self.kept.append(self._shelves.put(window(place)))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_shelves": None}  # to another process go the windows alone

    @classmethod
    def joined(cls, parts: Sequence[Windows]) -> Windows:
        """The windows of all processes, of which each has had every n-th window of a batch."""
        first = parts[0]
        if len(parts) == 1:
            return first
        whole = cls(first.facts, first.pictured)
        for number in range(max(len(part.batches) for part in parts)):
            shares = [part.batches[number] for part in parts if number < len(part.batches)]
            size = sum(len(share["series"]) for share in shares)
            joined = {
                name: np.empty((size, *values.shape[1:]), values.dtype) for name, values in shares[0].items()
            }
            for name in joined:
                # Texts of one batch may be longer than those of another.
                joined[name] = joined[name].astype(np.result_type(*(share[name].dtype for share in shares)))
                for rank, share in enumerate(shares):
                    joined[name][rank :: len(parts)] = share[name]
            whole.batches.append(joined)
        worst = [part.worst for part in parts if part.worst is not None]
        best = [part.best for part in parts if part.best is not None]
        whole.worst = max(worst, key=lambda shown: shown.error, default=None)
        whole.best = min(best, key=lambda shown: shown.error, default=None)
        whole.kept = [shown for part in parts for shown in part.kept]
        if first.stride is not None:
            whole.stride = max(1, first.stride // len(parts))
        return whole

    def column(self, name: str) -> NDArray[Any]:
        """The values of all windows by name."""
        return np.concatenate([batch[name] for batch in self.batches])

    def chosen(self) -> dict[str, Shown]:
        """The worst, the median and the best window; each only once."""
        if self.worst is None or self.best is None:
            return {}
        errors = [shown.error for shown in self.kept]
        usual = float(np.median(errors))
        median = min(self.kept, key=lambda shown: abs(shown.error - usual))
        found: dict[str, Shown] = {}
        for name, shown in (("worst", self.worst), ("median", median), ("best", self.best)):
            if not any(
                other.error == shown.error and other.number == shown.number for other in found.values()
            ):
                found[name] = shown
        return found

    def places_in_time(self) -> NDArray[np.int64] | None:
        """The origin of each window as its place among all times; None where their order is not known."""
        if not self.batches or any("time" not in batch for batch in self.batches):
            return None
        texts, places = np.unique(self.column("time"), return_inverse=True)
        order = in_time(texts, self.facts.time_format)
        return None if order is None else order[places.ravel()]


def stride_of(times: NDArray[np.str_], series: NDArray[np.int64], lookback: int) -> int | None:
    """Steps between the first two windows of a batch that are of one series; None where none are."""
    same = np.flatnonzero(series[1:] == series[:-1])
    if not len(same):
        return None
    steps = np.flatnonzero(times[same[0]] == times[same[0] + 1, lookback])
    # Windows of which one begins after the other has ended have no error in common.
    return int(steps[0]) - lookback if len(steps) else times.shape[1] - lookback


def in_time(texts: NDArray[np.str_], time_format: str | None) -> NDArray[np.int64] | None:
    """The rank of each time by its date or number; None where they cannot be read."""
    keys: NDArray[Any]
    try:
        keys = texts.astype(np.float64)
    except ValueError:
        is_plain = time_format is not None and "%" in time_format and "%q" not in time_format
        try:
            dates = pd.to_datetime(pd.Series(texts), format=time_format if is_plain else "ISO8601", utc=True)
        except (ValueError, TypeError):
            return None
        keys = np.asarray(dates.astype("int64"), dtype=np.float64)
    ranks: NDArray[np.int64] = np.unique(keys, return_inverse=True)[1].ravel().astype(np.int64)
    return ranks


def autocorrelation(
    residuals: NDArray[np.float64], series: NDArray[np.int64], lags: int
) -> tuple[NDArray[np.float64], int]:
    """The autocorrelation [lags] of residuals [N] within each series, in their order, and how many there are.

    Pairs of two series are never compared; NaN counts in no pair.
    """
    order = np.argsort(series, kind="stable")
    values, groups = residuals[order], series[order]
    there = ~np.isnan(values)
    _, numbers = np.unique(groups, return_inverse=True)
    counts = np.bincount(numbers, there)
    means = np.bincount(numbers, np.where(there, values, 0)) / np.maximum(counts, 1)
    centred = np.where(there, values - means[numbers], 0)
    total = float(centred @ centred)
    found = np.full(lags, np.nan)
    for lag in range(1, min(lags, len(values) - 1) + 1):
        same = groups[lag:] == groups[:-lag]
        if same.any() and total > 0:
            found[lag - 1] = (centred[lag:] * centred[:-lag])[same].sum() / total
    return found, int(there.sum())


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean [B] of values [B, horizon, C] that are there; NaN where none is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(there, values, 0).sum((1, 2)) / there.sum((1, 2))
    return mean
