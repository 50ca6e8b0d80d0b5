"""Time series as windows: the steps seen and the steps to forecast."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gatewise.kinds.kind import Facts

if TYPE_CHECKING:
    from torch import Tensor

WRITTEN: dict[str, tuple[str | None, ...]] = {
    "separator": ("comma", "semicolon", "tab", "pipe"),
    "decimal": ("point", "comma"),
    "thousands": (None, "comma", "point", "space", "apostrophe"),
}
"""How the files of a series may be written."""
# A number and a unit of pandas' (those of its earlier versions too), or a step that pandas has no name for.
_FREQUENCY = re.compile(
    r"[1-9]\d{0,3} months? on day ([1-9]|[12]\d|3[01])"
    r"|([1-9]\d{0,15})?(B?[AYQM]|B?[AYQM][SE]|C?BM[SE]?|SM[SE]?|L?WOM|[WDBCHTSLUN]|C?BH|c?bh|h|min|s|ms|us|ns)"
    r"(-[A-Z0-9]{1,5})?"
)
_LONGEST_FORMAT = 200


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
    """The time step: pandas' offset alias, or ``2 months on day 15``; None if irregular or of numbers."""
    lookback: int
    """Number of steps seen."""
    horizon: int
    """Number of steps to forecast."""
    season: int
    """Number of steps in one season, for the seasonal-naive baseline."""
    mean: tuple[float, ...]
    """Mean of each input column over the training rows; values are scaled to (x - mean) / std."""
    std: tuple[float, ...]
    # How its files are written, so that a prediction reads its input alike. No weight depends on it, and runs
    # of earlier versions have not stored it: two facts that differ in it alone are equal.
    time_format: str | None = field(default=None, compare=False)
    """As in ``%d/%m/%Y``; None if it is not known."""
    separator: str = field(default="comma", compare=False)
    decimal: str = field(default="point", compare=False)
    thousands: str | None = field(default=None, compare=False)

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        for name in ("lookback", "horizon", "season"):
            if getattr(self, name) < 1:
                raise self.wrong(name, "must be at least 1")
        self.check_distinct("columns")
        self.check_distinct("targets")
        if not set(self.targets) <= set(self.columns):
            raise self.wrong("targets", f"must be some of the columns {', '.join(self.columns)[:60]}")
        self.check_scaler(len(self.columns), "columns")
        if self.frequency is not None and not _FREQUENCY.fullmatch(self.frequency):
            raise self.wrong("frequency", "must be a time step such as D, 15min or 2 months on day 15")
        if self.time_format is not None and not 0 < len(self.time_format) <= _LONGEST_FORMAT:
            raise self.wrong("time_format", "must be a format such as %d/%m/%Y")
        for name, known in WRITTEN.items():
            if getattr(self, name) not in known:
                raise self.wrong(name, f"must be one of {', '.join(map(str, known))}")

    def unscaled(self, values: ArrayLike) -> NDArray[np.float64]:
        """Scaled values of the target columns [..., C_targets] in their original units.

        In float64, because a value of ten million has no decimals in float32.
        """
        scaled: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
        mean = np.array([self.mean[self.columns.index(target)] for target in self.targets])
        unscaled: NDArray[np.float64] = scaled * self.target_std + mean
        return unscaled

    @property
    def target_std(self) -> NDArray[np.float64]:
        """The standard deviation by which each target column is scaled, [C_targets]."""
        return np.array([self.std[self.columns.index(target)] for target in self.targets])


class WindowBatch(NamedTuple):
    """Windows of a time series: the steps seen and the steps to forecast."""

    inputs: Tensor
    """[B, L, C] float: scaled values of every input column."""
    targets: Tensor
    """[B, horizon, C_targets] float: scaled values of the target columns."""
    times: NDArray[np.str_] | None = None
    """[B, L + horizon] text: the times of the rows, in windows of the test split only."""
