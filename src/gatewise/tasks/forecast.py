"""What a forecast says of the next values of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Forecast(NamedTuple):
    """The values expected and, where it says how sure it is, their quantiles; all of them scaled."""

    point: Tensor
    """[B, horizon, C_targets]."""
    quantiles: Tensor | None = None
    """[B, horizon, C_targets, Q], never falling from one level to the next."""
    levels: tuple[float, ...] = ()
    """The Q probabilities, rising: a value is below its quantile with that of the quantile's level."""


def joined(parts: Sequence[Forecast]) -> Forecast:
    """The forecasts of several batches as one."""
    quantiles = [part.quantiles for part in parts if part.quantiles is not None]
    return Forecast(
        torch.cat([part.point for part in parts]),
        torch.cat(quantiles) if quantiles else None,
        parts[0].levels,
    )
