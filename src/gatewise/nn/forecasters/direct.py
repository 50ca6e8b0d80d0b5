"""All steps at once, from the last state of an encoder."""

from __future__ import annotations

from torch import Tensor, nn

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import ForecastOutput
from gatewise.nn.forecasters.covariates import Covariates
from gatewise.nn.forecasters.forecaster import Forecaster, MakeModel
from gatewise.nn.forecasters.level import Level, LevelName
from gatewise.nn.forecasters.shape import Shape, Window
from gatewise.nn.last import last_hidden


class Direct(Forecaster):
    """A linear layer on the encoder's last hidden state, and on what is known of the steps to forecast."""

    def __init__(
        self, shape: Shape, output: ForecastOutput, level: LevelName, dropout: float, embedding_size: int
    ) -> None:
        super().__init__(shape, output, level, dropout)
        self.covariates = Covariates(shape, embedding_size)

    def make_encoder(self, model: MakeModel) -> Recurrent | Stacked:
        encoder: Recurrent | Stacked = model(input_size=self.covariates.past_size, batch_first=True)
        return encoder

    def make_head(self, encoder: Recurrent | Stacked) -> nn.Linear:
        return self.head_of_all_steps(encoder, self.covariates.future_size)

    def forward(self, encoder: Recurrent | Stacked, head: nn.Linear, window: Window) -> tuple[Tensor, Level]:
        steps = self.steps_to_forecast(window)
        inputs, level = self.find_level(window)
        _, state = encoder(self.covariates.past(inputs, window))
        hidden = self.dropout(last_hidden(encoder, state))
        hidden = self.covariates.beside_future(hidden, window, self.shape.horizon)
        return self.output.placed(self.of_head(head(hidden))[:, :steps], level), level
