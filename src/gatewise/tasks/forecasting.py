"""Forecasting: the next values of a time series."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.settings import Names, Probability, did_you_mean
from gatewise.tasks import followed
from gatewise.tasks.answer import Answer, table_of
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_baselines import Baselines
from gatewise.tasks.forecast_report import ForecastReport
from gatewise.tasks.inspected import Numbers, last_outputs
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, last_hidden

LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}


class Forecasting(Task):
    """Reads ``lookback`` steps of a series and forecasts the next ``horizon`` of its target columns at once.

    Errors are in scaled units (standard deviations of the training rows), as forecasting papers report them;
    those of the test also for each target in its own units, as ``<target>/mae``.
    ``center`` forecasts the difference from the last value seen, so that a level never seen in training does
    no harm. ``loss`` is ``mse`` or ``mae``; ``dropout`` is applied before the linear layer.
    ``pictured`` are the targets that the picture of the test shows (None: the first).
    ``baselines`` are the simple forecasts to compare with, some of
    :data:`~gatewise.tasks.forecast_baselines.NAMES` (None: all).
    """

    facts_type = SeriesFacts
    measured = ("mse", "mae")
    evaluation_settings = ("baselines", "pictured")

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
        pictured: Names | None = None,
        baselines: Names | None = None,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.pictured = tuple(pictured or facts.targets[:1])
        for name in self.pictured:
            if name not in facts.targets:
                raise ValueError(
                    f"task.pictured: {name!r} is no target{did_you_mean(name, facts.targets)}; choose from "
                    f"{', '.join(facts.targets)}"
                )
        self.loss, self.center = loss, center
        self.target_columns = [facts.columns.index(name) for name in facts.targets]
        self._simple, self._tested = Baselines(facts, baselines), ForecastReport(facts, self.pictured)
        self.wants_parts = True
        self.encoder = model(input_size=len(facts.columns), batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, facts.horizon * len(facts.targets))

    @classmethod
    def sizes(cls, facts: SeriesFacts) -> Mapping[str, tuple[str, int, int]]:
        return {
            "columns": ("encoder.layers.0.weight_ih", 1, len(facts.columns)),
            "horizon x targets": ("head.weight", 0, facts.horizon * len(facts.targets)),
        }

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

    def meanings(self) -> dict[str, str]:
        return {**super().meanings(), **self._tested.meanings()}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        histories = tuple(self.parts["history"]()) if "history" in self.parts else ()
        self._simple.learn(histories)
        self._tested = ForecastReport(self.facts, self.pictured, histories, self.trainer.global_rank)

    def add_to_report(self, batch: WindowBatch, score: Score) -> None:
        assert score.predicted is not None
        self._tested.add(batch, Forecast(score.predicted), self._simple(batch))

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, value in self._tested.finish(self._gathered).items():
            if name not in ("test/mse", "test/mae"):  # as the task's own metrics have them
                self.log(name, torch.tensor(value, dtype=self._precise))

    def _gathered(self, own: Any) -> list[Any]:
        """The values of all processes for that of this one, in the order of their ranks."""
        gathered: list[Any] = [own]
        if self.trainer.world_size > 1:
            gathered *= self.trainer.world_size
            torch.distributed.all_gather_object(gathered, own)
        return gathered

    @property
    def _precise(self) -> torch.dtype:
        """float64 where the device has it."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def report(self) -> dict[str, Any]:
        return self._tested.pictures()

    def tables(self) -> dict[str, Any]:
        return self._tested.tables()

    def remarks(self) -> list[str]:
        return [*self._simple.remarks, *self._tested.remarks()]

    def examples(self) -> Answer | None:
        return self._tested.anomalies()

    def predict_step(self, batch: WindowBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """The forecast [B, horizon, C_targets], scaled."""
        forecast: Tensor = self(batch.inputs)
        return forecast

    def answer(self, given: Input) -> Answer:
        """The forecast for the ``horizon`` steps after the last row of a file, in the units of the file."""
        forecast = self.facts.unscaled(self.predict_step(given.batch)[0].cpu().double())
        targets = self.facts.targets
        return Answer(
            table_of({**given.columns, **dict(zip(targets, forecast.T, strict=True))}),
            f"the {self.facts.horizon} steps after {given.name}",
            {
                target: number_format(values, std)
                for target, values, std in zip(targets, forecast.T, self.facts.target_std, strict=True)
            },
        )

    def inspected(self, given: Input) -> Numbers:
        """The forecast after every step; the rows that follow it in the input are its truth."""
        inputs: Tensor = given.batch.inputs
        batch, time, _ = inputs.shape
        facts, targets = self.facts, self.facts.targets
        encoder, columns = self.encoder, self.target_columns

        def read(outputs: Tensor, rows: Tensor, lengths: Tensor) -> Tensor:
            forecast: Tensor = self.head(last_outputs(outputs, lengths, encoder.num_directions))
            if not self.center:
                return forecast
            return forecast + rows[torch.arange(len(rows)), lengths - 1][:, columns].repeat(1, facts.horizon)

        def unscaled(values: NDArray[Any]) -> NDArray[Any]:
            steps = values.reshape(*values.shape[:-1], -1, len(targets))
            result: NDArray[Any] = facts.unscaled(steps).reshape(values.shape)
            return result

        known = torch.cat([inputs[0, 1:, columns], given.batch.targets[0]])
        missing = known.new_full((max(0, time + facts.horizon - 1 - len(known)), len(targets)), torch.nan)
        truth = torch.cat([known, missing]).unfold(0, facts.horizon, 1).transpose(1, 2)
        return Numbers(
            encoder=self.encoder,
            inputs=inputs,
            lengths=torch.full((batch,), time),
            step="time",
            names=[given.steps or list(map(str, range(time)))] * batch,
            title="forecast",
            read=read,
            read_all=None if encoder.bidirectional or self.center else self.head,
            features=followed.of_series(inputs.numpy(), facts.columns, facts.season),
            by_difference=self.center,
            labels=[f"{target} +{step}" for step in range(1, facts.horizon + 1) for target in targets],
            unscaled=unscaled,
            shown=number_format(
                facts.unscaled(inputs[0, :, columns].double()).ravel(), min(facts.target_std)
            ).format,
            first=len(targets),
            truth=truth[:time].flatten(1),
        )


def number_format(values: NDArray[np.float64], spread: float) -> str:
    """A format in which the values differ visibly: down to a thousandth of ``spread``, their usual range."""
    smallest = math.floor(math.log10(spread)) - 3
    largest = max((math.floor(math.log10(abs(v))) for v in values if v), default=smallest)
    if max(largest, 0) <= 15 and smallest >= -12:
        return f"{{:.{max(0, -smallest)}f}}"
    return f"{{:.{min(17, max(4, largest - smallest + 1))}g}}"
