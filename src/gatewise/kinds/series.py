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
MISSING = ("refuse", "interpolate", "forward", "mask")
IRREGULAR = ("tell", "rows", "refuse", "fill")
SCALINGS = ("columns", "robust", "none", "series")
# A number and a unit of pandas' (those of its earlier versions too), or a step that pandas has no name for.
_FREQUENCY = re.compile(
    r"[1-9]\d{0,3} months? on day ([1-9]|[12]\d|3[01])"
    r"|([1-9]\d{0,15})?(B?[AYQM]|B?[AYQM][SE]|C?BM[SE]?|SM[SE]?|L?WOM|[WDBCHTSLUN]|C?BH|c?bh|h|min|s|ms|us|ns)"
    r"(-[A-Z0-9]{1,5})?"
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
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
    time_zone: str | None = field(default=None, compare=False)
    """``utc``, or the place whose clocks the times are of; None where they are taken as they are."""
    known: tuple[str, ...] = ()
    """Those of ``columns`` whose values are known for the horizon, too, such as a price or a holiday."""
    calendar: tuple[str, ...] = ()
    """Features made of the times, such as ``month``; known for every step."""
    masked: tuple[str, ...] = ()
    """Those of ``columns`` that may be missing: a feature of its own says where they are (1) or not (0)."""
    categories: tuple[str, ...] = ()
    """Columns of categories."""
    known_categories: tuple[str, ...] = ()
    """Those of ``categories`` that are known for the horizon, too."""
    labels: tuple[tuple[str, ...], ...] = ()
    """The categories of each such column, as the training has them; number 0 is any other, 1 the first."""
    static: tuple[str, ...] = ()
    """Numbers that stay the same for a whole series."""
    static_mean: tuple[float, ...] = ()
    static_std: tuple[float, ...] = ()
    static_categories: tuple[str, ...] = ()
    static_labels: tuple[tuple[str, ...], ...] = ()
    series_column: str | None = None
    """The column that names the series of a row; None where there is one series."""
    series: tuple[str, ...] = ()
    """The series of the training, in the order of their numbers; number ``len(series)`` is any other."""
    missing: str = field(default="refuse", compare=False)
    """What is done with missing values: one of :data:`MISSING`."""
    irregular: str = field(default="tell", compare=False)
    """What is done with irregular time steps: one of :data:`IRREGULAR`."""
    padded: bool = field(default=False, compare=False)
    """Whether windows may begin before their series."""
    scaling: str = "columns"
    """``series`` where each series is scaled once more by itself, else one of :data:`SCALINGS`."""
    series_mean: tuple[tuple[float, ...], ...] = field(default=(), compare=False)
    """With the scaling ``series``: of each series, the mean of each target after the facts' own scale."""
    series_std: tuple[tuple[float, ...], ...] = field(default=(), compare=False)

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
        if self.time_zone is not None and not _ZONE.fullmatch(self.time_zone):
            raise self.wrong("time_zone", "must be utc or a zone such as Europe/Berlin")
        chosen = {"missing": MISSING, "irregular": IRREGULAR, "scaling": SCALINGS}
        for name, known in {**WRITTEN, **chosen}.items():
            if getattr(self, name) not in known:
                raise self.wrong(name, f"must be one of {', '.join(map(str, known))}")
        for names, owner in (("known", "columns"), ("masked", "columns"), ("known_categories", "categories")):
            if not set(getattr(self, names)) <= set(getattr(self, owner)):
                raise self.wrong(names, f"must be some of the {owner}")
        for names, columns in (("labels", "categories"), ("static_labels", "static_categories")):
            if len(getattr(self, names)) != len(getattr(self, columns)):
                raise self.wrong(names, f"must have a list for each of the {columns}")
        for name in ("static_mean", "static_std"):
            if len(getattr(self, name)) != len(self.static):
                raise self.wrong(
                    name, f"must have a number for each of the {len(self.static)} static columns"
                )
        scaled = len(self.series) if self.scaling == "series" else 0
        for name in ("series_mean", "series_std"):
            rows = getattr(self, name)
            if len(rows) != scaled or any(len(row) != len(self.targets) for row in rows):
                raise self.wrong(name, "must have a number for each target of each series")
        if any(number <= 0 for row in (self.static_std, *self.series_std) for number in row):
            raise self.wrong(
                "static_std" if min(self.static_std, default=1) <= 0 else "series_std", "must be above 0"
            )

    @property
    def features(self) -> tuple[str, ...]:
        """The numbers that a model sees at each step: columns, where these are observed, calendar."""
        return (*self.columns, *(f"{name} is there" for name in self.masked), *self.calendar)

    @property
    def known_features(self) -> tuple[str, ...]:
        """Those of them that are known for the steps to forecast, too."""
        return (*self.known, *self.calendar)

    def unscaled(self, values: ArrayLike, scales: ArrayLike | None = None) -> NDArray[np.float64]:
        """Scaled values of the target columns [..., C_targets] in their original units.

        ``scales`` are those of a batch: the values are [B, steps, C_targets] then. In float64, because a
        value of ten million has no decimals in float32.
        """
        scaled: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
        if scales is not None:
            mean, std = np.moveaxis(np.asarray(scales, dtype=np.float64)[:, :, None], 1, 0)
            scaled = scaled * std + mean
        unscaled: NDArray[np.float64] = scaled * self.target_std + self.target_mean
        return unscaled

    @property
    def target_mean(self) -> NDArray[np.float64]:
        """What is taken from each target column before it is scaled, [C_targets]."""
        return np.array([self.mean[self.columns.index(target)] for target in self.targets])

    @property
    def target_std(self) -> NDArray[np.float64]:
        """The standard deviation by which each target column is scaled, [C_targets]."""
        return np.array([self.std[self.columns.index(target)] for target in self.targets])


class WindowBatch(NamedTuple):
    """Windows of time series: the steps seen and the steps to forecast."""

    inputs: Tensor
    """[B, L, F] float: scaled values of the facts' ``features``; what is missing is 0."""
    targets: Tensor
    """[B, horizon, C_targets] float: scaled values of the target columns; NaN where one is missing."""
    times: NDArray[np.str_] | None = None
    """[B, L + horizon] text: the times of the rows, in windows of the test split only."""
    future: Tensor | None = None
    """[B, horizon, K] float: scaled values of the facts' ``known_features``; None where there are none."""
    categories: Tensor | None = None
    """[B, L + horizon, Q] int64: numbers of the categories; 0 after the lookback where they are not known."""
    static: Tensor | None = None
    """[B, S] float: scaled numbers of the whole series."""
    static_categories: Tensor | None = None
    """[B, R] int64: numbers of the series' categories."""
    series: Tensor | None = None
    """[B] int64: the number of each window's series; None where there is one series."""
    scales: Tensor | None = None
    """[B, 2, C_targets] double: mean and standard deviation by which the series was scaled once more, after
    the facts' own scale; None where it was not."""
    phase: Tensor | None = None
    """[B] int64: the place of the first step of each window in the season; None where no time tells it."""


class SeriesHistory(NamedTuple):
    """The rows of every series that come before its test part, one series after another.

    Without names there is one series, number 0.
    """

    values: NDArray[np.floating]
    """[rows, W]: scaled as the targets of a batch; NaN where one is missing. They may lie in a file."""
    starts: NDArray[np.int64]
    """[S] first row of each series."""
    training_ends: NDArray[np.int64]
    """[S] row after the last one of its training part; the validation part follows."""
    ends: NDArray[np.int64]
    """[S] row after its last one before the test part."""
    scales: NDArray[np.float64] | None = None
    """[S, 2, C_targets]: as those of a batch."""
    columns: tuple[int, ...] | None = None
    """Where the targets are among the columns of ``values``; None where these are all."""
    phases: NDArray[np.int64] | None = None
    """[S] the place of each first row in the season; None where no time tells it."""

    def targets(self, rows: slice | NDArray[np.int64], which: int | slice) -> NDArray[np.floating]:
        """The values of some rows of one target (``which`` is its place), or of several."""
        places = range(self.values.shape[1]) if self.columns is None else self.columns
        chosen = places[which] if isinstance(which, int) else list(places[which])
        found: NDArray[np.floating] = self.values[rows][..., chosen]
        return found
