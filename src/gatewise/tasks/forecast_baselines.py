"""Trivial forecasts to hold a model against, from the same steps that it has seen."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, WindowBatch


class Baselines:
    """The trivial forecasts of the windows of some facts, each [B, horizon, C_targets], scaled."""

    def __init__(self, facts: SeriesFacts) -> None:
        self.facts = facts
        self.target_columns = [facts.columns.index(name) for name in facts.targets]

    def __call__(self, batch: WindowBatch) -> Mapping[str, Tensor]:
        """Every trivial forecast by name."""
        forecasts = {"last value": self.last_value(batch.inputs)}
        if 1 < self.facts.season <= self.facts.lookback:
            forecasts["last season"] = self.last_season(batch.inputs)
        return forecasts

    def last_value(self, inputs: Tensor) -> Tensor:
        """The naive forecast: the last value seen, repeated."""
        return inputs[:, -1:, self.target_columns].expand(-1, self.facts.horizon, -1)

    def last_season(self, inputs: Tensor) -> Tensor:
        """The seasonal-naive forecast: the value one season before each step."""
        steps = torch.arange(self.facts.horizon, device=inputs.device) % self.facts.season
        return inputs[:, inputs.shape[1] - self.facts.season + steps][..., self.target_columns]
