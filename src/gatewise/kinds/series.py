"""Time series as windows: the steps seen and the steps to forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kinds.kind import Facts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SeriesFacts(Facts):
    """Windows of a multivariate time series."""

    kind: ClassVar[str] = "series"
    summary: ClassVar[str] = "time-series windows with lookback and horizon"

    time_column: str
    columns: tuple[str, ...]
    """Input columns."""
    targets: tuple[str, ...]
    """Columns to forecast, each one of ``columns``."""
    frequency: str | None
    """pandas offset alias of the time step; None if the steps are irregular or the times are numbers."""
    lookback: int
    """Number of steps seen."""
    horizon: int
    """Number of steps to forecast."""
    season: int
    """Number of steps in one season, for the seasonal-naive baseline."""
    mean: tuple[float, ...]
    """Mean of each input column over the training rows; values are scaled to (x - mean) / std."""
    std: tuple[float, ...]

    def unscaled(self, values: ArrayLike) -> NDArray[np.float64]:
        """Scaled values of the target columns [..., C_targets] in their original units.

        In float64, because a value of ten million has no decimals in float32.
        """
        indices = [self.columns.index(target) for target in self.targets]
        mean, std = (np.array(numbers)[indices] for numbers in (self.mean, self.std))
        scaled: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
        unscaled: NDArray[np.float64] = scaled * std + mean
        return unscaled


class WindowBatch(NamedTuple):
    """Windows of a time series: the steps seen and the steps to forecast."""

    inputs: Tensor
    """[B, L, C] float: scaled values of every input column."""
    targets: Tensor
    """[B, horizon, C_targets] float: scaled values of the target columns."""
