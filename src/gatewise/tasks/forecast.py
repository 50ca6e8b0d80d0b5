"""What a forecast says of the next values of a series."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Forecast(NamedTuple):
    """The values expected and, where it says how sure it is, their quantiles; all of them scaled."""

    point: Tensor
    """[B, horizon, C_targets]."""
    quantiles: Tensor | None = None
    """[B, horizon, C_targets, Q], never falling from one level to the next."""
    levels: tuple[float, ...] = ()
    """The Q probabilities, rising: a value is below its quantile with that of the quantile's level."""
