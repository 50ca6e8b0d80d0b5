"""Step after step, from the state of an encoder: as many steps as are asked for."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.covariates import Covariates
from gatewise.nn.forecasters.forecaster import Forecaster, MakeModel
from gatewise.nn.forecasters.level import Level, LevelName
from gatewise.nn.forecasters.shape import Shape, Window


class Decoder(Forecaster):
    """A second recurrent net goes on from the encoder's state and reads the value of the step before.

    In training that is, with probability ``forcing``, the true value, drawn for each step and window (Bengio
    et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks", NeurIPS 2015), else
    and always in evaluation the value that it expects: of quantiles the median, of a distribution its mean.
    It also reads what is known of the step. Raises ValueError for a bidirectional model.
    """

    any_horizon = True

    def __init__(
        self, shape: Shape, output: ForecastOutput, level: LevelName, dropout: float, embedding_size: int
    ) -> None:
        super().__init__(shape, output, level, dropout)
        self.covariates = Covariates(shape, embedding_size)
        self.forcing = 1.0
        """Probability that a step of the training reads the true value before it."""

    def make_encoder(self, model: MakeModel) -> Recurrent | Stacked:
        encoder: Recurrent | Stacked = model(input_size=self.covariates.past_size, batch_first=True)
        if encoder.num_directions > 1:
            raise ValueError(
                "task.forecaster=decoder goes on from the encoder's last state, which a bidirectional one "
                "has not: set model.bidirectional=false, or choose task.forecaster=direct"
            )
        size = len(self.shape.targets) + self.covariates.future_size + self.covariates.static_size
        self.decoder: Recurrent | Stacked = model(
            input_size=size, batch_first=True, learn_initial_state=False
        )
        return encoder

    def make_head(self, encoder: Recurrent | Stacked) -> nn.Linear:
        return nn.Linear(encoder.output_size, len(self.shape.targets) * self.output.numbers)

    def forward(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window) -> tuple[Tensor, Level]:
        inputs, level = self.find_level(window)
        _, state = encoder(self.covariates.past(inputs, window))
        first = inputs[:, -1, list(self.shape.targets)]
        beside = self._beside(window)
        count = window.targets.shape[1]
        forcing = self.forcing if self.training else 0.0
        if forcing == 0:
            return self._free(head, count, first, beside, state, level), level
        truth = level.left_out(window.targets)
        before = carried_forward(torch.cat([first.unsqueeze(1), truth[:, :-1]], dim=1))
        if forcing == 1:
            outputs, _ = self.decoder(torch.cat([before, *beside], dim=-1), state)
            return self._placed(head, outputs, level), level
        return self._free(head, count, first, beside, state, level, before, forcing), level

    def paths(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window, count: int) -> Tensor:
        """Paths [B, count, h, C] that each go on from the values drawn at their steps before; scaled."""
        inputs, level = self.find_level(window)
        _, state = encoder(self.covariates.past(inputs, window))
        state, level = tuple(part.repeat_interleave(count, 1) for part in state), level.repeated(count)
        beside = [each.repeat_interleave(count, 0) for each in self._beside(window)]
        value = inputs[:, -1, list(self.shape.targets)].repeat_interleave(count, 0)
        drawn = []
        for step in range(window.targets.shape[1]):
            read = torch.cat([value, *(each[:, step] for each in beside)], dim=-1)
            outputs, state = self.decoder(read.unsqueeze(1), state)
            drawn.append(self.output.drawn(self._placed(head, outputs, level), level))
            value = level.left_out(drawn[-1]).squeeze(1).to(value.dtype)
        paths: Tensor = torch.cat(drawn, dim=1).unflatten(0, (-1, count))
        return paths

    def _beside(self, window: Window) -> list[Tensor]:
        """What each step reads beside the value before it: what is known of it, and statics [B, h, …]."""
        future = self.covariates.future(window)
        beside = [] if future is None else [future]
        if self.covariates.static_size:
            steps = window.targets.shape[1]
            beside.append(self.covariates.static(window).unsqueeze(1).expand(-1, steps, -1))
        return beside

    def _free(
        self,
        head: nn.Linear,
        count: int,
        value: Tensor,
        beside: list[Tensor],
        state: Iterable[Tensor],
        level: Level,
        before: Tensor | None = None,
        forcing: float = 0.0,
    ) -> Tensor:
        """The steps one after the other, each from the value expected or, with ``before``, at times that."""
        steps = []
        for step in range(count):
            if before is not None and step > 0:
                is_forced = torch.rand(len(value), 1, device=value.device) < forcing
                value = before[:, step].where(is_forced, value)
            read = torch.cat([value, *(each[:, step] for each in beside)], dim=-1)
            outputs, state = self.decoder(read.unsqueeze(1), tuple(state))
            placed = self._placed(head, outputs, level)
            value = level.left_out(self.output.point(placed, level)).squeeze(1).to(value.dtype)
            steps.append(placed)
        return torch.cat(steps, dim=1)

    def _placed(self, head: nn.Linear, outputs: Tensor, level: Level) -> Tensor:
        """What the output says after the decoder's outputs [B, h, H]."""
        numbers = head(self.dropout(outputs))
        return self.output.placed(numbers.unflatten(-1, (-1, self.output.numbers)), level)


def carried_forward(values: Tensor) -> Tensor:
    """Values [B, T, C] with each NaN replaced by the last one before it that is none; the first are none."""
    steps = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    last = steps.where(~values.isnan(), 0).cummax(dim=1).values
    return values.gather(1, last)
