"""Forecasting: the next values of a time series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.settings import Probability
from gatewise.tasks.answer import Answer
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, last_hidden

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}
MAX_WINDOWS = 4
"""Test windows that the report shows."""


class Forecasting(Task):
    """Reads ``lookback`` steps of a series and forecasts the next ``horizon`` of its target columns at once.

    Errors are in scaled units (standard deviations of the training rows), as forecasting papers report them.
    ``center`` forecasts the difference from the last value seen, so that a level never seen in training does
    no harm. ``loss`` is ``mse`` or ``mae``; ``dropout`` is applied before the linear layer.
    """

    facts_type = SeriesFacts

    def __init__(
        self,
        model: MakeModel,
        facts: SeriesFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/mse",
        mode: Literal["min", "max"] = "min",
        loss: Literal["mse", "mae"] = "mse",
        dropout: Probability = 0.0,
        center: bool = False,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.loss, self.center = loss, center
        self.target_columns = [facts.columns.index(name) for name in facts.targets]
        self.encoder = model(input_size=len(facts.columns), batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, facts.horizon * len(facts.targets))
        self._tested: list[dict[str, Tensor]] = []

    def metrics(self) -> Mapping[str, Measure]:
        return {
            "mse": Measure(
                "mean squared error in units of the training variance; lower is better", MeanSquaredError()
            ),
            "mae": Measure(
                "mean absolute error in training standard deviations; lower is better", MeanAbsoluteError()
            ),
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """The forecast [B, horizon, C_targets] for inputs [B, lookback, C], both scaled."""
        last = inputs[:, -1:]
        _, state = self.encoder(inputs - last if self.center else inputs)
        forecast: Tensor = self.head(self.dropout(last_hidden(self.encoder, state)))
        forecast = forecast.unflatten(-1, (self.facts.horizon, len(self.facts.targets)))
        return forecast + last[..., self.target_columns] if self.center else forecast

    def score(self, batch: WindowBatch) -> Score:
        forecast = self(batch.inputs)
        loss = LOSSES[self.loss](forecast, batch.targets)
        return Score(loss, len(forecast), forecast, batch.targets)

    def last_value(self, inputs: Tensor) -> Tensor:
        """The naive forecast: the last value seen, repeated."""
        return inputs[:, -1:, self.target_columns].expand(-1, self.facts.horizon, -1)

    def last_season(self, inputs: Tensor) -> Tensor:
        """The seasonal-naive forecast: the value one season before each step."""
        steps = torch.arange(self.facts.horizon, device=inputs.device) % self.facts.season
        return inputs[:, inputs.shape[1] - self.facts.season + steps][..., self.target_columns]

    def baselines(self, batch: WindowBatch) -> Mapping[str, Score]:
        naive = {"last value": self.last_value(batch.inputs)}
        if 1 < self.facts.season <= self.facts.lookback:
            naive["last season"] = self.last_season(batch.inputs)
        return {name: Score(None, len(values), values, batch.targets) for name, values in naive.items()}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._tested = []

    def add_to_report(self, batch: WindowBatch, score: Score) -> None:
        assert score.predicted is not None
        middle = len(batch.inputs) // 2
        seen = batch.inputs[middle][:, self.target_columns]
        window = {"seen": seen, "truth": batch.targets[middle], "forecast": score.predicted[middle]}
        self._tested.append(window)

    def report(self) -> dict[str, Any]:
        """A few test windows with their forecasts, in the units of the data, [time][target]."""
        count = min(MAX_WINDOWS, len(self._tested))
        picks = np.linspace(0, len(self._tested) - 1, count).round().astype(int).tolist()
        windows = [
            {name: self.facts.unscaled(values.cpu()).tolist() for name, values in self._tested[i].items()}
            for i in picks
        ]
        return {"forecasts": {"targets": list(self.facts.targets), "windows": windows}}

    def predict_step(self, batch: WindowBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """The forecast [B, horizon, C_targets], scaled."""
        forecast: Tensor = self(batch.inputs)
        return forecast

    def answer(self, given: Input) -> Answer:
        """The forecast for the ``horizon`` steps after the last row of a file, in the units of the file."""
        forecast = self.facts.unscaled(self.predict_step(given.batch)[0])
        targets = self.facts.targets
        return Answer(
            pd.DataFrame({**given.columns, **dict(zip(targets, forecast.T, strict=True))}),
            f"the {self.facts.horizon} steps after {given.name}",
            dict.fromkeys(targets, "{:.4g}"),
        )
