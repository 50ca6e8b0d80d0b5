"""What a test tells of forecasts: their errors beside those of simple ones, and pictures of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.tasks.answer import Answer
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_anomalies import Anomalies, Outside
from gatewise.tasks.forecast_comparison import DieboldMariano, compared, in_words
from gatewise.tasks.forecast_errors import (
    MEANINGS,
    ErrorSums,
    headlined,
    intervals,
    numbers_of,
    seasonal_errors,
)
from gatewise.tasks.forecast_seen import Seen
from gatewise.tasks.forecast_windows import Shown, Windows, autocorrelation

MAX_TARGETS = 8
"""Targets whose errors are metrics of their own; where there are more, the tables have them alone."""
MOST_LAGS = 48
"""Lags of the residuals' autocorrelation."""
SHOWN_ANOMALIES = 5
"""Values outside of their interval that the screen shows."""
MODEL = "this run"
OWN_UNITS = {
    "mse": "mean squared error",
    "rmse": "root of the mean squared error",
    "mae": "mean absolute error",
}

Gather = Callable[[Any], list[Any]]
"""What gives the values of all processes, in the order of their ranks, for that of this one."""


class ForecastReport:
    """Collects the forecasts of a test, batch after batch.

    ``pictured`` are the targets that the pictures show; ``histories`` what came before the test part, of
    which MASE takes its scale; ``rank`` is that of this process.
    """

    def __init__(
        self,
        facts: SeriesFacts,
        pictured: tuple[str, ...],
        histories: Iterable[SeriesHistory] = (),
        rank: int = 0,
    ) -> None:
        self.facts, self.pictured = facts, pictured
        history = next(iter(histories), None)
        self._scales = None if history is None else seasonal_errors(history, facts)
        self._seen = Seen(facts)
        self._sums: dict[str, ErrorSums] = {}
        self._windows, self._anomalies = Windows(facts, pictured), Anomalies(facts, rank)
        self._levels: tuple[float, ...] = ()
        self._outside = Outside(pd.DataFrame(), 0, 0)
        self._tests: dict[str, DieboldMariano | None] = {}

    def meanings(self) -> dict[str, str]:
        """What the metrics of :meth:`finish` mean, by the part of the name after ``test/``."""
        own = {
            f"{target}/{name}": f"{what} of {target} in its own units; lower is better"
            for target in self.facts.targets
            for name, what in OWN_UNITS.items()
        }
        shares = {}
        for percent in headlined(self._levels):
            shares[f"coverage_{percent}"] = f"share of the values within their {percent} % interval"
            shares[f"width_{percent}"] = (
                f"mean width of the {percent} % interval in training standard deviations"
            )
        return {**MEANINGS, **shares, **own}

    def add(self, batch: WindowBatch, forecast: Forecast, baselines: Mapping[str, Tensor]) -> None:
        """Take up a batch of the test, the model's forecast of it, and the simple ones."""
        self._levels = forecast.levels
        simple = {name: Forecast(point) for name, point in baselines.items()}
        for name, each in {MODEL: forecast, **simple}.items():
            if name not in self._sums:
                self._sums[name] = ErrorSums(self.facts, each.levels, self._scales)
            self._sums[name].add(batch, each)
        points = {name: numbers_of(point) for name, point in baselines.items()}
        self._windows.add(batch, numbers_of(self._seen(batch)), forecast, points)
        self._anomalies.add(batch, forecast, self._windows.stride)

    def finish(self, gather: Gather) -> dict[str, float]:
        """The metrics of the test by full name; ``gather`` brings together what all processes have."""
        parts = gather((self._sums, self._windows, self._anomalies))
        self._sums = {name: _total([sums[name] for sums, _, _ in parts]) for name in self._sums}
        self._windows = Windows.joined([windows for _, windows, _ in parts])
        stride = self._windows.stride or 1
        self._outside = Anomalies.joined([anomalies for _, _, anomalies in parts], stride)
        self._compare(stride)
        metrics: dict[str, float] = {}
        for name, sums in self._sums.items():
            prefix = "test" if name == MODEL else f"baseline/{name}"
            metrics |= {f"{prefix}/{metric}": value for metric, value in sums.overall().items()}
            if len(self.facts.targets) <= MAX_TARGETS:
                for target, errors in self._errors_of(sums).items():
                    metrics |= {f"{prefix}/{target}/{metric}": value for metric, value in errors.items()}
        return metrics

    def _errors_of(self, sums: ErrorSums) -> dict[str, dict[str, float]]:
        """The errors of each target in its own units."""
        means = sums.by_target()
        return {
            target: {metric: float(means[f"own_{metric}"][place]) for metric in OWN_UNITS}
            for place, target in enumerate(self.facts.targets)
        }

    def _compare(self, stride: int) -> None:
        """Test the model against each baseline."""
        lag = -(-self.facts.horizon // stride) - 1
        windows = self._windows
        own, series, times = windows.column("loss "), windows.column("series"), windows.places_in_time()
        self._tests = {
            name: compared(own - windows.column(f"loss {name}"), series, times, lag)
            for name in self._sums
            if name != MODEL
        }

    @property
    def best(self) -> str | None:
        """The baseline with the least MSE."""
        errors = {n: s.overall().get("mse", np.inf) for n, s in self._sums.items() if n != MODEL}
        return min(errors, key=errors.__getitem__, default=None)

    def remarks(self) -> list[str]:
        """Lines to print below the results."""
        lines = []
        if (best := self.best) is not None:
            own, other = (self._sums[name].overall() for name in (MODEL, best))
            if "mse" in own and "mse" in other:
                lines.append(in_words(best, own["mse"], other["mse"], self._tests.get(best)))
        percent, found = self._anomalies.percent, self._outside
        if percent is not None and found.judged:
            share = 100 * found.count / found.judged
            lines.append(
                f"{found.count:,} of {found.judged:,} values ({share:.1f} %) lie outside of their "
                f"{percent} % interval, judged by the last forecast before each"
            )
        return lines

    def anomalies(self) -> Answer | None:
        """The values furthest outside of their widest interval; None where there are none."""
        table = self._outside.table
        if not len(table):
            return None
        columns = [name for name in ("series", "time", "target", "value", "lower", "upper") if name in table]
        numbers = dict.fromkeys(("value", "lower", "upper"), "{:.4g}")
        title = f"furthest outside of the {self._anomalies.percent} % interval"
        return Answer(table[columns].head(SHOWN_ANOMALIES), title, numbers)

    def tables(self) -> dict[str, pd.DataFrame]:
        """All errors, also by step and by series, the tests against each baseline, and the anomalies."""
        tables = {}
        for by in ("", "step", *(["series"] if self.facts.series else [])):
            each = {name: sums.table(by) for name, sums in self._sums.items()}
            if each:
                whole = pd.concat(each, names=["forecast"]).reset_index(level=0).reset_index(drop=True)
                tables[f"errors_by_{by}" if by else "errors"] = whole
        own = self._sums[MODEL].overall() if MODEL in self._sums else {}
        against = [
            {
                "baseline": name,
                "mse": self._sums[name].overall().get("mse"),
                "mse_of_this_run": own.get("mse"),
                **({"diebold_mariano": test.statistic, "p": test.p} if test is not None else {}),
                **({"origins": test.origins, "lag": test.lag, "over": test.over} if test is not None else {}),
            }
            for name, test in self._tests.items()
        ]
        if against:
            tables["comparison"] = pd.DataFrame(against)
        if self._anomalies.percent is not None:
            tables["anomalies"] = self._outside.table
        return tables

    def pictures(self) -> dict[str, Any]:
        """What the pictures of the test are drawn from, by the name of each."""
        if MODEL not in self._sums:
            return {}
        steps = {name: sums.step_means() for name, sums in self._sums.items()}
        errors: dict[str, dict[str, dict[str, float]]] = {target: {} for target in self.facts.targets}
        for name, sums in self._sums.items():
            for target, values in self._errors_of(sums).items():
                errors[target][name] = values
        pictures: dict[str, Any] = {
            "forecasts": {
                "targets": list(self.facts.targets),
                "pictured": list(self.pictured),
                "windows": [self._shown(name, shown) for name, shown in self._windows.chosen().items()],
                "errors": errors,
            },
            "forecast_errors": {
                metric: {name: _plain(means[metric]) for name, means in steps.items()}
                for metric in ("mse", "mae")
            },
        }
        if self._levels:
            own = self._sums[MODEL]
            pictures["forecast_calibration"] = {
                "levels": list(self._levels),
                "below": _plain(np.array(list(own.below().values()))),
                "intervals": {str(percent): share for percent, share in own.coverage().items()},
            }
        residuals = self._residuals()
        if residuals is not None:
            pictures["forecast_residuals"] = residuals
        return pictures

    def _residuals(self) -> dict[str, Any] | None:
        """The autocorrelation of the errors of the first step; None where windows are too few."""
        series, residuals = self._windows.column("series"), self._windows.column("residual")
        longest = int(np.bincount(series).max())
        lags = min(MOST_LAGS, longest // 4)
        if lags < 1:
            return None
        found, count = {}, 0
        for place, target in enumerate(self.pictured):
            values, count = autocorrelation(residuals[:, place], series, lags)
            found[target] = _plain(values)
        # Of white noise, nineteen of twenty are within.
        return {
            "autocorrelation": found,
            "band": 1.96 / max(count, 1) ** 0.5,
            "stride": self._windows.stride or 1,
        }

    def _shown(self, name: str, shown: Shown) -> dict[str, Any]:
        """A window as plain values [time][target], in the original units."""
        scales = None if shown.scales is None else shown.scales[None]

        def unscaled(values: NDArray[np.float64]) -> list[Any]:
            return _plain(self.facts.unscaled(values[None], scales)[0])

        window: dict[str, Any] = {
            "name": name,
            "seen": unscaled(shown.seen),
            "truth": unscaled(shown.truth),
            "forecast": unscaled(shown.point),
        }
        found = intervals(self._levels)
        if shown.quantiles is not None and found:
            window["interval"] = max(found)
            low, high = found[max(found)]
            window["lower"], window["upper"] = (unscaled(shown.quantiles[..., q]) for q in (low, high))
        if shown.times is not None:
            window["times"] = shown.times.tolist()
        if self.facts.series:
            window["series"] = [*self.facts.series, "any other"][shown.series]
        return window


def _total(sums: list[ErrorSums]) -> ErrorSums:
    total = sums[0]
    for other in sums[1:]:
        total = total.plus(other)
    return total


def _plain(values: NDArray[np.float64]) -> list[Any]:
    """Nested lists, with None in the place of what is no number, as JSON has it."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    found: list[Any] = plain.tolist()
    return found
