"""Read the time column of a CSV file, or refuse it with the setting that decides how."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.numbers import MISSING, are_missing
from gatewise.data.series.style import Reading
from gatewise.data.series.times import ISO, NUMBER, TIME_OF_DAY, not_rising, parse_times, possible_formats
from gatewise.data.series.zones import EXAMPLE, in_zone
from gatewise.settings.checks import shown

log = logging.getLogger(__name__)


def read_times(
    cells: pd.Series,
    where: str,
    column: str,
    reading: Reading,
    starts: NDArray[np.int64] | None = None,
) -> tuple[pd.Index, str]:
    """Strictly increasing dates or numbers, and their format; of several series, from each of ``starts`` on.

    Raises ValueError, naming ``where:line``, for the first cell that is no time or does not come after the
    one before, and for times that can be read in two ways.
    """
    is_text = cells.dtype == object
    missing = cells[cells.isna()]
    if is_text and set(map(str.lower, pd.unique(cells))) & set(MISSING):
        missing = cells[are_missing(cells)]
    if len(missing):
        raise ValueError(
            f"{where}:{missing.index[0]}: column {column!r} has {len(missing)} missing time(s), the first "
            f"here: fill them in or drop the rows"
        )
    if is_text:
        times, time_format = _read(cells, where, column, reading, starts)
    else:  # of a Parquet file, which says itself what is a time
        times, time_format = pd.Index(cells), NUMBER
        if isinstance(times, pd.DatetimeIndex):
            time_format = ISO
            times = times if times.tz is None else times.tz_convert("UTC")
    zone, is_test = reading.style.time_zone, reading.verb == "evaluate"
    times = in_zone(times.rename(column), cells, zone, where, is_test, starts)
    check_rising(times, cells, where, reading, starts)
    return times, time_format


def check_rising(
    times: pd.Index, cells: pd.Series, where: str, reading: Reading, starts: NDArray[np.int64] | None
) -> None:
    """Raise ValueError, naming ``where:line``, for a time that does not come after the one before."""
    back = not_rising(times, starts)
    if not len(back):
        return
    at = int(back[0])
    line, before = cells.index[at + 1], cells.iloc[at]
    is_twice = times[at] == times[at + 1]
    problem = "appears twice" if is_twice else f"comes after {shown(before)}"
    if starts is None:
        fix = f"sort the rows by {times.name!r}, one row per time"
    else:
        problem += " in its series"
        fix = f"sort the rows of each series by {times.name!r}, one row per time"
    if isinstance(times, pd.DatetimeIndex) and _looks_like_clocks_going_back(times, at):
        fix += (
            f" (where clocks went back, write the times in UTC or with their offset, or set {EXAMPLE} or the "
            f"place that they are of)"
        )
    elif starts is None and reading.verb == "train":
        fix += ", or name the column that tells several series apart with data.series_column"
    raise ValueError(f"{where}:{line}: the time {shown(cells.iloc[at + 1])} {problem}: {fix}")


def _read(
    cells: pd.Series, where: str, column: str, reading: Reading, starts: NDArray[np.int64] | None
) -> tuple[pd.Index, str]:
    text = cells.tolist()
    expected = reading.style.time_format
    if expected is not None:
        times = parse_times(text, expected)
        if times.notna().all():
            return times, expected
        iso = parse_times(text, ISO)
        if not reading.fixed_format and iso.notna().all():
            return iso, ISO  # which nothing else can be mistaken for
        bad = int(times.isna().argmax())
        fix = reading.advice("write it so", "data.time_format to its own")
        raise ValueError(
            f"{where}:{cells.index[bad]}: column {column!r}: {shown(text[bad])} is not a time of the form "
            f"{expected}: {fix}"
        )
    formats = possible_formats(text, reading.style.day_first, starts)
    if len(formats) > 1:
        raise ValueError(_ambiguous(formats, cells, where, column, reading))
    if formats:
        (time_format, times), *_ = formats.items()
        if times.notna().all():
            return times, time_format
        bad = int(times.isna().argmax())
        like = next(cell for cell, read in zip(text, times.notna(), strict=True) if read)
        settings = ["data.time_format", "data.time_column"]
        if time_format != NUMBER and _shape(like) == _shape(text[bad]):
            problem, fix = f"is no date of the calendar, read as {time_format}", "correct it"
            if reading.style.day_first is not None:
                settings[1:] = [f"data.day_first={str(not reading.style.day_first).lower()}"]
        else:
            problem, fix = (
                f"is not a time like the others ({shown(like)}, read as {time_format})",
                "write them alike",
            )
        raise ValueError(
            f"{where}:{cells.index[bad]}: column {column!r}: {shown(text[bad])} {problem}: "
            + reading.advice(fix, *settings)
        )
    cell, line = text[0], cells.index[0]
    if TIME_OF_DAY.fullmatch(cell):
        raise ValueError(
            f"{where}:{line}: column {column!r}: {shown(cell)} is a time of day, of which day is not said: "
            + reading.advice("write 2024-01-31 13:00", "data.time_format=%H:%M")
        )
    if reading.style.day_first is not None and possible_formats(text, None):
        order = "day" if reading.style.day_first else "month"
        raise ValueError(
            f"{where}:{line}: column {column!r}: {shown(cell)} has not the {order} first, as "
            f"data.day_first={str(reading.style.day_first).lower()} says: "
            + reading.advice("write 2024-01-31", "data.day_first=null")
        )
    raise ValueError(
        f"{where}:{line}: column {column!r}: {shown(cell)} is not a time that can be read: "
        + reading.advice(
            "write 2024-01-31 13:00 or a number", "data.time_format (such as %d.%m.%Y)", "data.time_column"
        )
    )


def _ambiguous(
    formats: dict[str, pd.Index], cells: pd.Series, where: str, column: str, reading: Reading
) -> str:
    """The line about times that can be read in several ways, with a cell that shows it."""
    readings = {
        name: [str(time).removesuffix(" 00:00:00") for time in times] for name, times in formats.items()
    }
    at = next((i for i, row in enumerate(zip(*readings.values(), strict=True)) if len(set(row)) > 1), 0)
    said = " or ".join(
        f"the number {readings[name][at]}" if name == NUMBER else f"{readings[name][at]} ({name})"
        for name in formats
    )
    settings = [f"'data.time_format={name}'" for name in formats]
    orders = {name[:2] for name in formats}
    if orders == {"%d", "%m"}:
        settings = ["data.day_first=true", "data.day_first=false"]
    fix = "write them as 2024-01-31" if reading.verb == "predict" else ""
    return (
        f"{where}:{cells.index[at]}: column {column!r}: {shown(cells.iloc[at])} can be {said}: "
        + reading.advice(fix, *settings)
    )


def _shape(cell: str) -> str:
    return re.sub("[0-9]", "9", cell)


def _looks_like_clocks_going_back(times: pd.DatetimeIndex, at: int) -> bool:
    """Whether times of less than a day's step go back by an hour at most, on a Sunday."""
    back = times[at] - times[at + 1]
    return bool(
        back < pd.Timedelta(hours=1) and times[at].dayofweek == 6 and times[at] != times[at].normalize()
    )
