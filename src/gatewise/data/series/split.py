"""Which rows of a series are for training, for validation and for the test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.times import write_times

log = logging.getLogger(__name__)

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Where the parts of every series end; only one of its ways is given.

    Args:
        fractions: shares of the rows of each series for training and validation; the test has the rest.
        rows: rows of each series for training, validation and test; what is left over is not used.
        dates: the first time of the validation part, and that of the test part.
        steps: the last rows of each series that are for validation and test.
    """

    fractions: tuple[float, float] = (0.7, 0.1)
    rows: Sequence[int] | None = None
    dates: Sequence[str | int | float] | None = None
    steps: tuple[int, int] | None = None

    def ends(self, panel: Panel) -> NDArray[np.int64]:
        """The row, counted from the start of each series, at which its parts end [3, series].

        Raises ValueError for a date that is none, or of another kind than the times.
        """
        length = panel.lengths
        ends: NDArray[np.int64]
        if self.rows is not None:
            ends = np.minimum(np.cumsum(self.rows)[:, None], length)
            return ends
        if self.steps is not None:
            validation, test = self.steps
            return np.maximum(0, np.stack([length - validation - test, length - test, length]))
        if self.dates is not None:
            first, last = (_as_time(panel, date) for date in self.dates)
            if first >= last:
                raise ValueError(
                    f"data.split_dates: the test part begins at {self.dates[1]!r}, which must come after "
                    f"{self.dates[0]!r}, where the validation part does"
                )
            return np.stack([*(_rows_before(panel, time) for time in (first, last)), length])
        train, validation_share = self.fractions
        # As round() has it, so that a split does not change with the number of series.
        shares = (train, train + validation_share)
        return np.array([*([round(int(n) * share) for n in length] for share in shares), length])

    def in_words(self, panel: Panel, ends: NDArray[np.int64], time_format: str | None) -> dict[str, str]:
        """Which rows each part has, for a person."""
        starts = np.concatenate([np.zeros_like(ends[:1]), ends[:-1]])
        said = {}
        for part, start, end in zip(PARTS, starts, ends, strict=True):
            if len(ends[0]) > 1:
                said[f"{part} rows"] = f"{(end - start).sum():,}, {self._of_each(part)}"
                continue
            first, last = int(start[0]), int(end[0])
            if first == last:
                said[f"{part} rows"] = "none"
                continue
            span = " to ".join(write_times(panel.times[[first, last - 1]], time_format))
            said[f"{part} rows"] = f"{first + 1:,} to {last:,} ({span})"
        return said

    def _of_each(self, part: str) -> str:
        place = PARTS.index(part)
        if self.rows is not None:
            return f"at most {self.rows[place]:,} of each series"
        if self.steps is not None:
            validation, test = self.steps
            return (
                "of each series what is before",
                f"of each series {validation} before its last {test}",
                f"of each series the last {test}",
            )[place]
        if self.dates is not None:
            first, last = self.dates
            return (f"before {first}", f"from {first} and before {last}", f"from {last}")[place]
        train, validation_share = self.fractions
        share = (train, validation_share, 1 - train - validation_share)[place]
        return f"{'the first' if place == 0 else 'the next'} {share:.3g} of each series"


def _as_time(panel: Panel, date: str | float) -> Any:
    """A date or number as the panel's times are; ValueError where it is none."""
    times = panel.times
    if not isinstance(times, pd.DatetimeIndex):
        try:
            return float(date)
        except ValueError:
            raise ValueError(f"data.split_dates: {date!r} is not a number, as the times are") from None
    try:
        limit = pd.Timestamp(str(date))
    except ValueError:
        raise ValueError(f"data.split_dates: {date!r} is not a date such as 2018-01-01") from None
    if times.tz is not None:
        return limit.tz_localize(times.tz) if limit.tz is None else limit.tz_convert(times.tz)
    if limit.tz is not None:
        raise ValueError(f"data.split_dates: {date!r} has an offset from UTC, and the times have none")
    return limit


def _rows_before(panel: Panel, time: Any) -> NDArray[np.int64]:
    """How many rows of each series are before a time."""
    counted = np.concatenate([[0], np.cumsum(np.asarray(panel.times < time))])
    before: NDArray[np.int64] = np.diff(counted[panel.starts])
    return before


def long_enough(panel: Panel, lookback: int, horizon: int, how: str) -> NDArray[np.int64]:
    """The series that have a window at all.

    Raises ValueError, naming some that have none, unless these are to be left out (``leave_out``), or
    windows may begin before their series (``pad``), so that one row more than the horizon is enough.
    """
    needed = horizon + (1 if how == "pad" else lookback)
    short = panel.lengths < needed
    if len(panel.names) == 1 or not short.any():
        return np.arange(len(panel.names))
    names = [f"{panel.names[i]} with {panel.lengths[i]}" for i in np.flatnonzero(short)]
    said = f"{panel.source}: {len(names)} of {len(panel.names)} series have fewer than {needed} rows"
    if how == "refuse" or short.all():
        raise ValueError(
            f"{said} (data.lookback={lookback} + data.horizon={horizon}), such as {listed(names)}: make "
            f"these smaller, or set data.short_series=leave_out or pad"
        )
    log.warning("%s and are left out, such as %s", said, listed(names))
    return np.flatnonzero(~short)


def rows_of_part(panel: Panel, ends: NDArray[np.int64], part: int) -> NDArray[np.bool_]:
    """[rows] which belong to a part."""
    row = panel.ranks
    start = np.zeros_like(ends[0]) if part == 0 else ends[part - 1]
    inside: NDArray[np.bool_] = (row >= np.repeat(start, panel.lengths)) & (
        row < np.repeat(ends[part], panel.lengths)
    )
    return inside


def window_starts(
    panel: Panel, start: NDArray[np.int64], end: NDArray[np.int64], lookback: int, horizon: int, stride: int
) -> NDArray[np.int64]:
    """The first rows of all windows whose targets lie in rows ``start`` to ``end`` of each series.

    The lookback may reach into the part before; nothing leaves its series.
    """
    first = np.maximum(start, lookback)
    count = np.maximum(0, -(-(end - horizon + 1 - first) // stride))
    before = np.cumsum(count) - count
    number = np.arange(count.sum()) - np.repeat(before, count)
    starts: NDArray[np.int64] = np.repeat(panel.starts[:-1] + first - lookback, count) + number * stride
    return starts
