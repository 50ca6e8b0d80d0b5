"""The next values of a time series."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.settings.ranges import FORECASTING
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, last_hidden
from gatewise.tasks.training_epoch import TrainingEpoch

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}


class _Metrics(nn.Module):
    """Errors of each split and of the naive forecasts; one row of the model table."""

    def __init__(self) -> None:
        super().__init__()
        errors = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})
        self.on_train = errors.clone(prefix="train/")
        self.on_val = errors.clone(prefix="val/")
        self.on_test = errors.clone(prefix="test/")
        self.last_value = errors.clone(prefix="baseline/last value/")
        self.last_season = errors.clone(prefix="baseline/last season/")


class Forecasting(Task):
    """Reads ``lookback`` steps of a series and forecasts the next ``horizon`` of its target columns at once.

    Errors are in scaled units (standard deviations of the training rows), as forecasting papers report them.
    ``center`` forecasts the difference from the last value seen, so that a level never met in training does
    no harm. ``loss`` is ``mse`` or ``mae``; ``dropout`` stands before the linear layer.
    """

    facts_type = FORECASTING.facts

    def __init__(
        self,
        model: MakeModel,
        facts: SeriesFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/mse",
        mode: str = "min",
        loss: str = "mse",
        dropout: float = 0.0,
        center: bool = False,
    ) -> None:
        FORECASTING.check(locals())
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.facts, self.loss, self.center = facts, loss, center
        self.target_columns = [facts.columns.index(name) for name in facts.targets]
        self.encoder = model(input_size=len(facts.columns), batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, facts.horizon * len(facts.targets))

        self.metrics = _Metrics()
        self.training_epoch = TrainingEpoch(self.metrics.on_train)
        self._shown: list[dict[str, Any]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, lookback, C] to the forecast [B, horizon, C_targets], all scaled."""
        last = inputs[:, -1:]
        _, state = self.encoder(inputs - last if self.center else inputs)
        forecast: Tensor = self.head(self.dropout(last_hidden(self.encoder, state)))
        forecast = forecast.unflatten(-1, (self.facts.horizon, len(self.facts.targets)))
        return forecast + last[..., self.target_columns] if self.center else forecast

    def last_value(self, inputs: Tensor) -> Tensor:
        """The naive forecast: the last value seen, again and again."""
        return inputs[:, -1:, self.target_columns].expand(-1, self.facts.horizon, -1)

    def last_season(self, inputs: Tensor) -> Tensor:
        """The seasonal-naive forecast: the value one season before each step."""
        steps = torch.arange(self.facts.horizon, device=inputs.device) % self.facts.season
        return inputs[:, inputs.shape[1] - self.facts.season + steps][..., self.target_columns]

    def training_loss(self, batch: WindowBatch) -> Tensor:
        return LOSSES[self.loss](self(batch.inputs), batch.targets)

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        forecast = self(batch.inputs)
        loss = LOSSES[self.loss](forecast, batch.targets)
        self.log_training_step(loss, len(forecast), forecast, batch.targets)
        return loss

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:  # noqa: ARG002
        forecast = self(batch.inputs)
        self.metrics.on_val.update(forecast.contiguous(), batch.targets.contiguous())
        loss = LOSSES[self.loss](forecast, batch.targets)
        self.log_mean("val/loss", loss, len(forecast))
        self.log_dict(self.metrics.on_val, prog_bar=True)

    def test_step(self, batch: WindowBatch, batch_idx: int) -> None:  # noqa: ARG002
        targets = batch.targets.contiguous()
        forecast = self(batch.inputs)
        self.metrics.on_test.update(forecast.contiguous(), targets)
        self.metrics.last_value.update(self.last_value(batch.inputs).contiguous(), targets)
        self.log_dict(self.metrics.on_test)
        self.log_dict(self.metrics.last_value)
        if 1 < self.facts.season <= self.facts.lookback:
            self.metrics.last_season.update(self.last_season(batch.inputs).contiguous(), targets)
            self.log_dict(self.metrics.last_season)
        middle = len(forecast) // 2
        seen = batch.inputs[middle][:, self.target_columns]
        self._shown.append({"seen": seen, "truth": targets[middle], "forecast": forecast[middle]})

    def on_test_epoch_start(self) -> None:
        self._shown = []

    def report(self) -> dict[str, Any]:
        """A few test windows with their forecasts, in the data's own units, [time][target]."""
        picks = torch.linspace(0, len(self._shown) - 1, min(4, len(self._shown))).round().int().tolist()
        mean, std = (torch.tensor(v)[self.target_columns] for v in (self.facts.mean, self.facts.std))
        windows = [
            {name: (values.cpu() * std + mean).tolist() for name, values in self._shown[i].items()}
            for i in dict.fromkeys(picks)
        ]
        return {"forecasts": {"targets": list(self.facts.targets), "windows": windows}}

    def predict_step(self, batch: WindowBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """The forecast [B, horizon, C_targets], scaled."""
        forecast: Tensor = self(batch.inputs)
        return forecast
