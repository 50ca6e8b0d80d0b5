"""Times of a place: offsets from UTC, and clocks that go forward and back."""

from __future__ import annotations

import logging
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel
from gatewise.data.series.times import offset_of
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

log = logging.getLogger(__name__)

UTC = "utc"
EXAMPLE = "data.time_zone=Europe/Berlin"
_HOUR = pd.Timedelta(hours=1)


def check_zone(name: str | None) -> None:
    """Raise ValueError for a zone that there is not."""
    if name is None or name == UTC:
        return
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        near = did_you_mean(name, [UTC, *available_timezones()])
        raise ValueError(
            f"data.time_zone must be utc or a zone such as Europe/Berlin, got {shown(name)}{near}"
        ) from None


def in_zone(
    times: pd.Index,
    cells: pd.Series,
    zone: str | None,
    where: str,
    is_test: bool,
    starts: NDArray[np.int64] | None = None,
) -> pd.Index:
    """The times in a zone, those without an offset being of its clocks; without a zone, as they are.

    An hour that comes twice, as clocks go back, is told by the order of the rows of a series. Raises
    ValueError, naming ``where:line``, for several offsets without a zone (which a test of a trained run
    reads in UTC), and for a time of the clocks that the zone has not, or has twice.
    """
    check_zone(zone)
    if not isinstance(times, pd.DatetimeIndex):
        if zone is not None:
            raise ValueError(
                f"data.time_zone={zone} is for dates, and column {times.name!r} has numbers: set it to null"
            )
        return times
    if zone is None:
        if times.tz is not None:
            _check_one_offset(cells, where, is_test)
        return times
    if times.tz is not None:
        return times.tz_convert("UTC" if zone == UTC else zone)
    return times if zone == UTC else _of_clocks(times, cells, zone, where, starts)


def _check_one_offset(cells: pd.Series, where: str, is_test: bool) -> None:
    if cells.dtype != object:  # of Parquet: in UTC
        return
    offsets = cells.map(offset_of)
    other = np.flatnonzero(offsets != offsets.iloc[0])
    if len(other) and is_test:  # of a run that may be older than the setting
        log.warning("%s: the times have several offsets from UTC and are read in UTC", where)
    elif len(other):
        at = int(other[0])
        raise ValueError(
            f"{where}:{cells.index[at]}: {shown(cells.iloc[at])} has another offset from UTC than "
            f"{shown(cells.iloc[0])}: set data.time_zone=utc, or the place whose clocks these are, such as "
            f"{EXAMPLE}"
        )


def _of_clocks(
    times: pd.DatetimeIndex, cells: pd.Series, zone: str, where: str, starts: NDArray[np.int64] | None
) -> pd.DatetimeIndex:
    """Times that the clocks of a zone showed."""
    first, second = (
        times.tz_localize(zone, ambiguous=np.full(len(times), is_first), nonexistent="NaT")
        for is_first in (True, False)
    )
    if first.hasnans:
        at = int(np.asarray(first.isna()).argmax())
        raise ValueError(
            f"{where}:{cells.index[at]}: there was no {shown(str(cells.iloc[at]))} in {zone}, where clocks "
            f"went forward: correct it, or set data.time_zone=null where the times are of no clocks"
        )
    twice = np.asarray(first != second)
    if not twice.any():
        return first
    rows = np.arange(len(times))
    starts = np.array([0, len(times)]) if starts is None else starts
    begins = np.zeros(len(times), dtype=bool)
    begins[starts[:-1]] = True
    # A stretch of such hours; it ends where more than a few hours pass, or another series begins.
    follows = np.append(False, np.abs(np.diff(times)) < pd.Timedelta(days=1)) & ~begins
    opens = twice & ~(follows & np.append(False, twice[:-1]))
    back = twice & ~opens & np.append(False, np.diff(times) <= pd.Timedelta(0))
    opened = np.maximum.accumulate(np.where(opens, rows, 0))
    turned = np.maximum.accumulate(np.where(back, rows, -1))
    is_second = twice & (turned >= opened)
    _check_told(times, cells, zone, where, starts, twice, opens, back)
    return first.where(~is_second, second)


def _check_told(
    times: pd.DatetimeIndex,
    cells: pd.Series,
    zone: str,
    where: str,
    starts: NDArray[np.int64],
    twice: NDArray[np.bool_],
    opens: NDArray[np.bool_],
    back: NDArray[np.bool_],
) -> None:
    """Raise ValueError for an hour that the rows do not tell from its second coming.

    Where a series ends in it, it is the first: the times before it go on so.
    """
    number = np.cumsum(opens) - 1
    count = int(number[-1]) + 1
    turns = np.bincount(number[back], minlength=count)
    ends = np.zeros(count, dtype=bool)
    last = starts[1:] - 1
    ends[number[last[twice[last]]]] = True
    before = np.flatnonzero(opens)
    follows = ~np.isin(before, starts[:-1])
    near = np.abs(times[before] - times[np.maximum(before - 1, 0)]) <= _HOUR
    untold = (turns == 0) & ~(ends & follows & np.asarray(near))
    if untold.any():
        at = int(before[untold.argmax()])
        raise ValueError(
            f"{where}:{cells.index[at]}: {shown(str(cells.iloc[at]))} came twice in {zone}, where clocks "
            f"went back, and the rows do not tell which it is: write it with its offset from UTC"
        )


def where_clocks_went_forward(panel: Panel) -> int | None:
    """The first row after an hour left out, where all that makes steps irregular are such, on Sundays.

    None for times with an offset, and for steps of more than an hour.
    """
    times = panel.times
    if not isinstance(times, pd.DatetimeIndex) or times.tz is not None or len(times) < 3:
        return None
    apart = np.asarray(times[1:] - times[:-1])
    within = np.ones(len(apart), dtype=bool)
    within[panel.starts[1:-1] - 1] = False
    step = np.median(apart[within].astype("int64")).astype(apart.dtype)
    odd = np.flatnonzero(within & (apart != step))
    if not len(odd) or not pd.Timedelta(0) < step <= _HOUR:
        return None
    is_hour = (apart[odd] == step + _HOUR) & np.asarray(times[odd + 1].dayofweek == 6)
    return int(odd[0]) + 1 if is_hour.all() else None
