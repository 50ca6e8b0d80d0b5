"""Segments instead of steps: SegRNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.covariates import covariates_of
from gatewise.nn.forecasters.forecaster import Forecaster, MakeModel
from gatewise.nn.forecasters.level import Level, LevelName
from gatewise.nn.forecasters.shape import Shape, Window
from gatewise.nn.last import last_hidden


class Segments(Forecaster):
    """Reads each target by itself, segment by segment, and forecasts all its next segments side by side.

    A linear layer and ReLU make a vector of each segment of w steps. From the encoder's state after the last
    one it takes one step for each segment to forecast, which reads a vector of the segment's position, and
    one of the target; a linear layer makes w steps of the hidden state. Lin et al., "SegRNN: Segment
    Recurrent Neural Network for Long-Term Time Series Forecasting", 2023.

    The oldest steps are left out where w does not divide the lookback. Raises ValueError for covariates.
    """

    def __init__(
        self,
        shape: Shape,
        output: ForecastOutput,
        level: LevelName,
        dropout: float,
        segment_length: int,
        projection_size: int | None,
    ) -> None:
        super().__init__(shape, output, level, dropout)
        for what in covariates_of(shape):
            raise ValueError(
                f"task.forecaster=segments reads each target by itself and can take no {what}: leave them "
                f"out, or choose task.forecaster=direct or decoder"
            )
        if segment_length > shape.lookback:
            raise ValueError(
                f"task.segment_length={segment_length} is longer than data.lookback={shape.lookback}: make "
                f"it shorter"
            )
        self.length, self.size = segment_length, projection_size
        self.segments = shape.lookback // segment_length
        self.next_segments = -(-shape.horizon // segment_length)

    def make_encoder(self, model: MakeModel) -> Recurrent | Stacked:
        size = self.size or model(input_size=1, batch_first=True).output_size
        encoder: Recurrent | Stacked = model(input_size=size, batch_first=True)
        self.project = nn.Linear(self.length, size)
        self.position = nn.Parameter(torch.randn(self.next_segments, size - size // 2))
        self.channel = nn.Parameter(torch.randn(len(self.shape.targets), size // 2))
        return encoder

    def make_head(self, encoder: Recurrent | Stacked) -> nn.Linear:
        return nn.Linear(encoder.output_size, self.length * self.output.numbers)

    def forward(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window) -> tuple[Tensor, Level]:
        steps = self.steps_to_forecast(window)
        inputs, level = self.find_level(window)
        inputs = inputs[:, -self.segments * self.length :, list(self.shape.targets)]
        batch, _, targets = inputs.shape
        parts = inputs.transpose(1, 2).reshape(batch * targets, self.segments, self.length)
        _, state = encoder(torch.relu(self.project(parts)))
        numbers = head(self.dropout(self._next_hidden(encoder, state, batch)))
        numbers = numbers.view(batch, targets, self.next_segments * self.length, self.output.numbers)
        return self.output.placed(numbers.transpose(1, 2)[:, :steps], level), level

    def _next_hidden(self, encoder: Recurrent | Stacked, state: tuple[Tensor, ...], batch: int) -> Tensor:
        """The hidden states [B · C · segments, D · H] after one step from each state [L, B · C, H]."""
        targets, count = len(self.channel), self.next_segments
        places = torch.cat(
            [
                self.position.expand(targets, -1, -1),
                self.channel.unsqueeze(1).expand(-1, count, -1),
            ],
            dim=-1,
        )
        steps = places.flatten(0, 1).repeat(batch, 1).unsqueeze(1)
        repeated = tuple(part.repeat_interleave(count, dim=1) for part in state)
        _, after = encoder(steps, repeated if len(repeated) > 1 else repeated[0])
        return last_hidden(encoder, after)
