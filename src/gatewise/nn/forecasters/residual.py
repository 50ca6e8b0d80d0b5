"""A level and a season of each series, and dilated recurrent layers for the rest: ES-RNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.covariates import Covariates
from gatewise.nn.forecasters.dilated import DilatedLayers
from gatewise.nn.forecasters.forecaster import Forecaster, MakeModel
from gatewise.nn.forecasters.level import Level
from gatewise.nn.forecasters.shape import Shape, Window
from gatewise.nn.forecasters.smoothing import SmoothingName, make_smoothing


class Residual(Forecaster):
    """Forecasts what a level and a season of each series leave, by dilated recurrent layers.

    The values are the differences from the season of each step and the level of the last, as
    :class:`~gatewise.nn.forecasters.smoothing.Smoothing` finds them; with ``logarithm`` those of the
    logarithms of the values in their own units, so that both multiply. The layers come in pairs of rising
    dilation, around which the outputs of the pair before are added. Smyl, "A Hybrid Method of Exponential
    Smoothing and Recurrent Neural Networks for Time Series Forecasting", International Journal of Forecasting
    2020.

    As there, the weights of the smoothing and, with ``smoothing`` "series", the first seasons of each series
    are learnt with the net. A series that was not trained on has the mean of all others.

    Raises ValueError for a bidirectional model, and for logarithms of values that are not above 0.
    """

    def __init__(
        self,
        shape: Shape,
        output: ForecastOutput,
        dropout: float,
        embedding_size: int,
        dilations: Sequence[int],
        logarithm: bool,
        smoothing: SmoothingName,
    ) -> None:
        super().__init__(shape, output, "none", dropout)
        self.logarithm = logarithm
        self.covariates = Covariates(shape, embedding_size)
        self.smoothing, self.dilations = make_smoothing(smoothing, shape), tuple(dilations)

    def make_encoder(self, model: MakeModel) -> Recurrent | Stacked:
        encoder: Recurrent | Stacked = model(input_size=self.covariates.past_size, batch_first=True)
        if encoder.num_directions > 1:
            raise ValueError(
                "task.forecaster=residual reads from the past to the present: set model.bidirectional=false"
            )
        size = encoder.output_size
        layers = [model(input_size=size, batch_first=True) for _ in self.dilations]
        self.layers = DilatedLayers(layers, self.dilations)
        return encoder

    def make_head(self, encoder: Recurrent | Stacked) -> nn.Linear:
        return self.head_of_all_steps(encoder, self.covariates.future_size)

    def forward(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window) -> tuple[Tensor, Level]:
        steps = self.steps_to_forecast(window)
        inputs, level = self.find_level(window)
        there = self.find_level.there(inputs)
        targets = list(self.shape.targets)
        seen = inputs[..., targets]
        if self.logarithm:
            units = self.find_level.units(window, there)
            level = level._replace(units=units, is_logarithm=True)
            own = units.of(seen)
            own = own if there is None else own.where(there[..., targets] > 0, 1)
            if (own <= 0).any():
                raise ValueError(
                    f"task.logarithm=true needs values above 0, and a target has {own.min():.6g}: set it to "
                    f"false"
                )
            seen = own.log().to(inputs.dtype)
        found = self.smoothing(seen, None if there is None else there[..., targets], window)
        rest = seen - found.seen - found.level
        inputs = inputs.clone()
        inputs[..., targets] = rest if there is None else rest * there[..., targets]
        outputs, _ = encoder(self.covariates.past(inputs, window))
        hidden = self.dropout(self.layers(outputs)[:, -1])
        hidden = self.covariates.beside_future(hidden, window, self.shape.horizon)
        ahead = found.ahead[:, torch.arange(steps, device=inputs.device) % found.ahead.shape[1]]
        level = level._replace(shift=found.level + ahead)
        return self.output.placed(self.of_head(head(hidden))[:, :steps], level), level
