"""A level and a season of each series, and dilated recurrent layers for the rest: ES-RNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.covariates import Covariates
from gatewise.nn.forecasters.dilated import DilatedLayers
from gatewise.nn.forecasters.forecaster import Forecaster, MakeModel
from gatewise.nn.forecasters.level import Level
from gatewise.nn.forecasters.shape import Shape, Window


class Smoothing(nn.Module):
    """The level and the seasons of windows by exponential smoothing, with two numbers of every series.

    A season's value is the mean over the earlier seasons of how far that place lies from its season's mean;
    the level is the mean over all steps without the seasons. Both are weighted: a step by (1 - a)^age, a
    season by (1 - g)^age, where a and g are learnt for each target of each series. A series that the training
    has not seen has the mean of them all.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.season, self.targets = shape.season, list(shape.targets)
        count = max(shape.series, 1)
        # In the form of a sigmoid: an a of .5 and a g of .2 to begin with.
        start = torch.tensor([0.0, -1.4]).view(1, 2, 1)
        self.weight = nn.Parameter(start.repeat(count, 1, len(self.targets)))

    def forward(self, values: Tensor, there: Tensor | None, series: Tensor | None) -> tuple[Tensor, Tensor]:
        """(Level [B, 1, C], season [B, S, C] of each step from the next on) of values [B, L, C]."""
        there = torch.ones_like(values) if there is None else there
        keep_level, keep_season = self._shares(series, len(values)).unbind(1)
        season = self._seasons(values, there, keep_season)
        steps = values.shape[1]
        # The step before the forecast is the last place of the season that ends there.
        places = torch.arange(-steps, 0, device=values.device) % season.shape[1]
        level = _weighted(values - season[:, places], there, keep_level)
        return level, season

    def _shares(self, series: Tensor | None, batch: int) -> Tensor:
        """The logarithms of how much every step and season counts of the one after it, [B, 2, C]."""
        table = torch.cat([self.weight, self.weight.mean(0, keepdim=True)])
        number = table.new_zeros(batch, dtype=torch.long) if series is None else series
        return F.logsigmoid(-table[number])

    def _seasons(self, values: Tensor, there: Tensor, keep: Tensor) -> Tensor:
        """How far each place of a season lies from its mean, [B, S, C]; 0 where there is no whole season."""
        batch, steps, targets = values.shape
        count = steps // self.season
        if self.season == 1 or count == 0:
            return values.new_zeros(batch, 1, targets)
        size = (batch, count, self.season, targets)
        whole, real = (part[:, -count * self.season :].reshape(size) for part in (values, there))
        mean = (whole * real).sum(2, keepdim=True) / real.sum(2, keepdim=True).clamp(min=1)
        apart = ((whole - mean) * real).flatten(2)
        season = _weighted(apart, real.flatten(2), keep.repeat(1, self.season)).view(
            batch, self.season, targets
        )
        return season - season.mean(1, keepdim=True)


def _weighted(values: Tensor, there: Tensor, log_keep: Tensor) -> Tensor:
    """The mean over T steps [B, T, C] that are there; each counts exp(log_keep) [B, C] of the next."""
    age = torch.arange(values.shape[1] - 1, -1, -1, device=values.device, dtype=values.dtype).view(1, -1, 1)
    # As a softmax, whose sum is never 0, however little the last step that is there counts.
    weights = (age * log_keep.unsqueeze(1)).masked_fill(there == 0, -1e9).softmax(1)
    return (values * weights).sum(1, keepdim=True)


class Residual(Forecaster):
    """Forecasts what a level and a season of each series leave, by dilated recurrent layers.

    The values are the differences from the level and the season that :class:`Smoothing` finds; with
    ``logarithm`` those of the logarithms of the values in their own units, so that both multiply. The layers
    come in pairs of rising dilation, around which the outputs of the pair before are added. Smyl, "A Hybrid
    Method of Exponential Smoothing and Recurrent Neural Networks for Time Series Forecasting", International
    Journal of Forecasting 2020.

    There, too, a window is normalised by the level at its end, and two weights of each series are learnt with
    the net. But the smoothing runs from the start of the series, whose first seasons are weights as well, and
    so a series that was not trained on has none. Here it starts with the window: what came before counts for
    (1 - a)^L of the level (one part in a million, of 20 steps seen and a = .5), the seasons are those that
    the window shows, and a new series is forecast like any other. A lookback of two seasons or more is meant.

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
    ) -> None:
        super().__init__(shape, output, "none", dropout)
        self.logarithm = logarithm
        self.covariates = Covariates(shape, embedding_size)
        self.smoothing, self.dilations = Smoothing(shape), tuple(dilations)

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
        mean, season = self.smoothing(seen, None if there is None else there[..., targets], window.series)
        places = torch.arange(-inputs.shape[1], steps, device=inputs.device) % season.shape[1]
        expected = mean + season[:, places]
        rest = seen - expected[:, : inputs.shape[1]]
        inputs = inputs.clone()
        inputs[..., targets] = rest if there is None else rest * there[..., targets]
        outputs, _ = encoder(self.covariates.past(inputs, window))
        hidden = self.dropout(self.layers(outputs)[:, -1])
        hidden = self.covariates.beside_future(hidden, window, self.shape.horizon)
        level = level._replace(shift=expected[:, inputs.shape[1] :])
        return self.output.placed(self.of_head(head(hidden))[:, :steps], level), level
