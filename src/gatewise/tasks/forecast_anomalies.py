"""The values of a test that lie outside of the widest interval of their forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_errors import intervals, numbers_of

LISTED = 10_000
"""Most values that are listed, those furthest out."""


@dataclass
class _Judged:
    """A window's values [steps, C_targets] beside the widest interval, in the original units."""

    order: tuple[int, int, int]
    """Where it stands among the windows of all processes."""
    values: dict[str, NDArray[Any]]


@dataclass
class Outside:
    """The values of a test outside of their widest interval."""

    table: pd.DataFrame
    """Those furthest out."""
    count: int
    """How many there are."""
    judged: int
    """Of how many values."""


@dataclass
class Anomalies:
    """Collects the values outside of the widest interval, batch after batch.

    A value is judged once: by the last window that began before it. So of windows ``stride`` steps apart, the
    first ``stride`` steps are judged, and of each series' last window all.
    """

    facts: SeriesFacts
    rank: int = 0
    percent: int | None = None
    """Of the widest interval; None where a forecast has none."""
    found: list[pd.DataFrame] = field(default_factory=list)
    last: dict[int, _Judged] = field(default_factory=dict)
    """The last window of each series so far."""
    counts: NDArray[np.int64] = field(init=False)
    """[horizon]: values judged, but not those of the last windows."""
    _batches: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.facts.horizon, np.int64)

    def add(self, batch: WindowBatch, forecast: Forecast, stride: int | None) -> None:
        """Take up a batch of the test; ``stride`` is None before it is known."""
        widest = intervals(forecast.levels)
        if forecast.quantiles is None or not widest or batch.times is None:
            return
        self.percent = max(widest)
        bounds = numbers_of(forecast.quantiles)[..., list(widest[self.percent])]
        scales = None if batch.scales is None else batch.scales.cpu()
        truth, lower, upper, point = (
            self.facts.unscaled(values, scales)
            for values in (
                numbers_of(batch.targets),
                bounds[..., 0],
                bounds[..., 1],
                numbers_of(forecast.point),
            )
        )
        size = len(truth)
        series = np.zeros(size, np.int64) if batch.series is None else batch.series.cpu().numpy()
        values = {"value": truth, "forecast": point, "lower": lower, "upper": upper}
        times = batch.times[:, self.facts.lookback :]
        # Until two windows of one series have been seen, the next one may begin a step later.
        judged = {name: each[:, : stride or 1] for name, each in values.items()}
        self.found.append(self._outside(judged, times, series))
        self.counts[: stride or 1] += (~np.isnan(judged["value"])).sum((0, 2))
        for place in _last_of_each(series):
            window = {name: each[place].copy() for name, each in values.items()}
            order = (self._batches, int(place), self.rank)
            self.last[int(series[place])] = _Judged(order, {**window, "times": times[place].copy()})
        self._batches += 1

    def _outside(
        self,
        values: dict[str, NDArray[Any]],
        times: NDArray[np.str_],
        series: NDArray[np.int64],
        first: int = 0,
    ) -> pd.DataFrame:
        """The rows of values [B, steps, C] outside of their intervals; ``first`` steps come before them."""
        truth, lower, upper = (values[name] for name in ("value", "lower", "upper"))
        window, step, target = np.nonzero((truth < lower) | (truth > upper))
        rows = {name: each[window, step, target] for name, each in values.items()}
        names = np.array([*self.facts.series, "any other"] if self.facts.series else [""])
        beyond = np.maximum(rows["lower"] - rows["value"], rows["value"] - rows["upper"])
        width = rows["upper"] - rows["lower"]
        return pd.DataFrame(
            {
                "series": names[series[window]],
                "time": times[window, step + first],
                "target": np.array(self.facts.targets)[target],
                "step": step + first + 1,
                **rows,
                "beyond": beyond / np.where(width > 0, width, 1),
            }
        )

    @classmethod
    def joined(cls, parts: Sequence[Anomalies], stride: int) -> Outside:
        """The values outside, those furthest out first.

        ``beyond`` is how far a value is outside, in widths of the interval.
        """
        first = parts[0]
        last: dict[int, _Judged] = {}
        for part in parts:
            for number, window in part.last.items():
                if number not in last or window.order > last[number].order:
                    last[number] = window
        rows = [table for part in parts for table in part.found]
        rows = [table[table["step"] <= stride] for table in rows]
        count = sum(int(part.counts[:stride].sum()) for part in parts)
        for number, window in last.items():
            values = {name: each[None, stride:] for name, each in window.values.items() if name != "times"}
            rows.append(first._outside(values, window.values["times"][None], np.array([number]), stride))
            count += int((~np.isnan(values["value"])).sum())
        table = pd.concat(rows) if rows else pd.DataFrame()
        if len(table):
            table = table.sort_values("beyond", ascending=False, kind="stable", ignore_index=True)
        if not first.facts.series:
            table = table.drop(columns="series", errors="ignore")
        return Outside(table.head(LISTED), len(table), count)


def _last_of_each(series: NDArray[np.int64]) -> NDArray[np.int64]:
    """The last place of each number in a list."""
    _, places = np.unique(series[::-1], return_index=True)
    found: NDArray[np.int64] = len(series) - 1 - places
    return found
