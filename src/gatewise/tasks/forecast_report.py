"""What a test tells of a forecast beside its metrics: errors of each target in its own units, and windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.tasks.forecast import Forecast

MAX_WINDOWS = 4
"""Test windows that the report shows."""
MAX_TARGETS = 8
"""Targets whose errors are metrics of their own; where there are more, the test report has them alone."""
MODEL = "this run"
OWN_UNITS = {
    "mse": "mean squared error",
    "rmse": "root of the mean squared error",
    "mae": "mean absolute error",
}


class ForecastReport:
    """Collects the forecasts of a test, batch after batch.

    ``pictured`` are the targets that the picture of the test shows.
    """

    def __init__(self, facts: SeriesFacts, pictured: tuple[str, ...]) -> None:
        self.facts, self.pictured = facts, pictured
        self.target_columns = [facts.columns.index(name) for name in facts.targets]
        self._shown: list[tuple[WindowBatch, Tensor]] = []
        self._sums: dict[str, Tensor] = {}
        self._errors: dict[str, dict[str, dict[str, float]]] = {}

    def meanings(self) -> dict[str, str]:
        """What the metrics of :meth:`finish` mean, by the part of the name after ``test/``."""
        return {
            f"{target}/{name}": f"{what} of {target} in its own units; lower is better"
            for target in self.facts.targets
            for name, what in OWN_UNITS.items()
        }

    def add(self, batch: WindowBatch, forecast: Forecast, baselines: Mapping[str, Tensor]) -> None:
        """Take up a batch of the test, the model's forecast of it, and the trivial ones."""
        middle = len(batch.inputs) // 2
        times = None if batch.times is None else batch.times[middle]
        window = WindowBatch(batch.inputs[middle], batch.targets[middle], times)
        self._shown.append((window, forecast.point[middle]))
        for name, point in {MODEL: forecast.point, **baselines}.items():
            # In float64, on the CPU because not every device has it.
            error = point.detach().cpu().double() - batch.targets.cpu().double()
            sums = torch.stack([error.abs().sum((0, 1)), error.square().sum((0, 1))])
            count = torch.full_like(sums[:1], error.shape[0] * error.shape[1])
            self._sums[name] = self._sums.get(name, 0) + torch.cat([sums, count])

    def finish(self, over_processes: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """More metrics of the test by full name; ``over_processes`` sums a tensor over all of them."""
        for name, sums in self._sums.items():
            absolute, squared, count = over_processes(sums).numpy()
            mae = absolute / count * self.facts.target_std
            mse = squared / count * self.facts.target_std**2
            errors = {"mse": mse, "rmse": np.sqrt(mse), "mae": mae}
            for place, target in enumerate(self.facts.targets):
                values = {metric: float(each[place]) for metric, each in errors.items()}
                self._errors.setdefault(target, {})[name] = values
        if len(self.facts.targets) > MAX_TARGETS:
            return {}
        return {
            f"{'test' if name == MODEL else f'baseline/{name}'}/{target}/{metric}": value
            for target, answers in self._errors.items()
            for name, values in answers.items()
            for metric, value in values.items()
        }

    def pictures(self) -> dict[str, Any]:
        """A few test windows with their forecasts [time][target], and each target's errors, in its units."""
        count = min(MAX_WINDOWS, len(self._shown))
        picks = np.linspace(0, len(self._shown) - 1, count).round().astype(int).tolist()
        windows = []
        for window, forecast in (self._shown[pick] for pick in picks):
            parts = {
                "seen": window.inputs[:, self.target_columns],
                "truth": window.targets,
                "forecast": forecast,
            }
            # numpy has no bfloat16.
            numbers = {name: part.cpu().double() for name, part in parts.items()}
            shown: dict[str, Any] = {n: self.facts.unscaled(part).tolist() for n, part in numbers.items()}
            if window.times is not None:
                shown["times"] = window.times.tolist()
            windows.append(shown)
        return {
            "forecasts": {
                "targets": list(self.facts.targets),
                "pictured": list(self.pictured),
                "windows": windows,
                "errors": self._errors,
            }
        }
