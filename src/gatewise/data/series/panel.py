"""Many series in one table, one after the other: what every reader in this folder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.settings import did_you_mean


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for; those that are not named are not read."""

    time: str
    series: str | None = None
    """The column that names the series of a row; None where the table is one series."""
    numbers: Sequence[str] | None = None
    """None means every column that has no other role."""
    categories: Sequence[str] = ()
    static: Sequence[str] = ()
    """Numbers that stay the same for a whole series."""
    static_categories: Sequence[str] = ()
    may_be_one: bool = False
    """Whether a table without the column of the series is one series."""

    @property
    def others(self) -> tuple[str, ...]:
        """Every column with a role but the numbers."""
        series = () if self.series is None else (self.series,)
        return (self.time, *series, *self.categories, *self.static, *self.static_categories)


@dataclass(frozen=True)
class Panel:
    """The rows of one or more series; those of a series stand together, in the order of their times."""

    source: str
    """The file or data set, for messages."""
    times: pd.Index
    """[rows] dates or numbers, with the name of the time column; strictly increasing in each series."""
    values: NDArray[np.floating]
    """[rows, C]; NaN where a value is missing."""
    columns: tuple[str, ...]
    starts: NDArray[np.int64]
    """[series + 1] the first row of each series, and the number of rows."""
    names: tuple[str, ...] = ("",)
    """Of the series."""
    categories: dict[str, NDArray[np.object_]] = field(default_factory=dict)
    """[rows] text by column; empty where one is missing."""
    static: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    """[series, S]."""
    static_names: tuple[str, ...] = ()
    static_categories: dict[str, NDArray[np.object_]] = field(default_factory=dict)
    """[series] text by column."""
    lines: NDArray[np.int64] | None = None
    """[rows] where each row stands in its file; None where there is no file."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[series] rows of each."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.values)

    def rows_of(self, series: int) -> slice:
        """The rows of one series."""
        return slice(int(self.starts[series]), int(self.starts[series + 1]))

    def place(self, row: int) -> str:
        """A row for a message: its line, or its time and, of several, its series."""
        if self.lines is not None:
            return f"{self.source}:{self.lines[row]}"
        series = self.names[int(np.searchsorted(self.starts, row, side="right")) - 1]
        of_series = f" of series {series!r}" if len(self.names) > 1 else ""
        return f"{self.source} at {self.times[row]}{of_series}"

    @property
    def owners(self) -> NDArray[np.int64]:
        """[rows] the series of each."""
        return np.repeat(np.arange(len(self.names)), self.lengths)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """[rows] the place of each in its series, from 0."""
        return np.arange(len(self)) - np.repeat(self.starts[:-1], self.lengths)

    def with_columns(self, columns: Sequence[str] | None) -> Panel:
        """The panel with some of its columns, None meaning all; ValueError for one that it has not."""
        if columns is None or tuple(columns) == self.columns:
            return self
        for column in columns:
            if column not in self.columns:
                raise ValueError(
                    f"data.columns: {self.source} has no column {column!r}"
                    f"{did_you_mean(column, self.columns)}; it has: {', '.join(self.columns)}"
                )
        places = [self.columns.index(column) for column in columns]
        return replace(self, values=self.values[:, places], columns=tuple(columns))

    def take(self, rows: NDArray[np.bool_]) -> Panel:
        """The rows for which the mask is true; a series keeps its place even without any."""
        if rows.all():
            return self
        kept = np.concatenate([[0], np.cumsum(rows)])
        return replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            starts=kept[self.starts],
            categories={name: column[rows] for name, column in self.categories.items()},
            lines=None if self.lines is None else self.lines[rows],
        )

    def only(self, series: NDArray[np.int64]) -> Panel:
        """Some of the series, in this order."""
        if np.array_equal(series, np.arange(len(self.names))):
            return self
        lengths = self.lengths[series]
        ends = np.cumsum(lengths)
        rows = np.repeat(self.starts[series] - ends + lengths, lengths) + np.arange(lengths.sum())
        return replace(
            self,
            times=self.times[rows],
            values=self.values[rows],
            starts=np.concatenate([[0], ends]),
            names=tuple(self.names[number] for number in series),
            categories={name: column[rows] for name, column in self.categories.items()},
            static=self.static[series] if self.static.size else self.static,
            static_categories={name: column[series] for name, column in self.static_categories.items()},
            lines=None if self.lines is None else self.lines[rows],
        )


def one_series(frame: pd.DataFrame, source: str) -> Panel:
    """The panel of a single series, indexed by time."""
    return Panel(
        source,
        frame.index,
        frame.to_numpy(dtype=np.float64),
        tuple(map(str, frame.columns)),
        np.array([0, len(frame)]),
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name[:60]) for name in names[:most]) + more
