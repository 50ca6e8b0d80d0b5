"""The base of every forecaster: from windows to what is said of the steps that follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.level import FindLevel, Level, LevelName
from gatewise.nn.forecasters.shape import Shape, Window
from gatewise.nn.masks import Dropout

MakeModel = Callable[..., Any]


class Forecaster(nn.Module, ABC):
    """What lies between the windows and an encoder, and between it and a head.

    Encoder and head are the task's, as those of every task are; they are made by :meth:`make_encoder` and,
    after it, :meth:`make_head`. ``output`` says how many numbers the head gives for each value.
    """

    any_horizon = False
    """Whether it can forecast more steps than it was trained for."""

    def __init__(self, shape: Shape, output: ForecastOutput, level: LevelName, dropout: float) -> None:
        super().__init__()
        self.shape, self.output = shape, output
        self.find_level = FindLevel(shape, level, output.needs_units)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def make_encoder(self, model: MakeModel) -> Recurrent | Stacked:
        """The encoder, of the size of what it reads."""

    @abstractmethod
    def make_head(self, encoder: Recurrent | Stacked) -> nn.Linear:
        """The linear layer that makes numbers of the output."""

    @abstractmethod
    def forward(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window) -> tuple[Tensor, Level]:
        """What the output says of each value, [B, h, C, P] in scaled units, and the level of the windows.

        h is the number of steps of the windows' targets. ValueError where that is more than it can forecast.
        """

    def head_of_all_steps(self, encoder: Recurrent | Stacked, known: int) -> nn.Linear:
        """One layer for all steps, on a hidden state and ``known`` numbers of each step."""
        shape = self.shape
        inputs = encoder.output_size + shape.horizon * known
        return nn.Linear(inputs, shape.horizon * len(shape.targets) * self.output.numbers)

    def of_head(self, numbers: Tensor) -> Tensor:
        """The numbers [..., h · C · P] of such a layer for each value, [..., h, C, P]."""
        each: Tensor = numbers.unflatten(
            -1, (self.shape.horizon, len(self.shape.targets), self.output.numbers)
        )
        return each

    def steps_to_forecast(self, window: Window) -> int:
        """h; ValueError where the forecaster has not so many."""
        steps: int = window.targets.shape[1]
        if steps > self.shape.horizon and not self.any_horizon:
            raise ValueError(
                f"a horizon of {steps} steps, but this run forecasts the {self.shape.horizon} that it was "
                f"trained for at once: ask for no more, train with data.horizon={steps}, or with "
                f"task.forecaster=decoder, which goes on as long as you like"
            )
        return steps
