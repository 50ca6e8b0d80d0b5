"""The step of a series in time: months, business days or hours, how it goes on, and its season."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

_MONTHLY = re.compile(r"(\d+) months? on day (\d+)")
"""A step that pandas has no name for; a day that a month lacks is its last one."""
SEASONS = {
    "s": (86400, 3600, 60), "min": (1440, 60), "h": (24,), "D": (7,), "B": (5,), "W": (52,),
    "MS": (12,), "ME": (12,), "BMS": (12,), "BME": (12,), "months": (12,),
    "QS": (4,), "QE": (4,), "BQS": (4,), "BQE": (4,),
}  # fmt: skip
"""Steps in a season, by the step: of seconds a day, an hour or a minute; of hours a day; of days a week."""


def infer_frequency(times: pd.Index) -> str | None:
    """The step of regular dates: pandas' offset alias, or ``2 months on day 15``.

    None for irregular dates, for fewer than three and for numbers.
    """
    if not isinstance(times, pd.DatetimeIndex) or len(times) < 3:
        return None
    alias = pd.infer_freq(times)
    if alias is not None:
        return alias
    monthly = _monthly(times)
    return monthly if monthly is not None and _follows(times, monthly) else None


def is_regular(times: pd.Index) -> bool:
    """Whether the times, dates or numbers, have one constant step; fewer than three always have."""
    if len(times) < 3:
        return True
    if isinstance(times, pd.DatetimeIndex):
        return infer_frequency(times) is not None
    steps = np.diff(times)
    return bool(np.allclose(steps, steps[0]))


def season_of(frequency: str | None, lookback: int) -> int:
    """Steps in the longest season of this step that fits the lookback; 1 where there is none."""
    if frequency is None:
        return 1
    count, unit = _counted(frequency)
    steps = [season // count for season in SEASONS.get(unit, ()) if season % count == 0]
    return next((season for season in steps if 1 < season <= lookback), 1)


def size_of(frequency: str) -> tuple[int, str]:
    """Count and unit of a step: weeks are as long whatever their day, months whether at their end or not."""
    count, unit = _counted(frequency)
    months = {"MS": 1, "ME": 1, "BMS": 1, "BME": 1, "months": 1, "QS": 3, "QE": 3, "BQS": 3, "BQE": 3}
    months |= {"YS": 12, "YE": 12, "BYS": 12, "BYE": 12}
    return (count * months[unit], "months") if unit in months else (count, unit)


def _counted(frequency: str) -> tuple[int, str]:
    monthly = _MONTHLY.fullmatch(frequency)
    if monthly:
        return int(monthly[1]), "months"
    offset = pd.tseries.frequencies.to_offset(frequency)
    return offset.n, re.sub(r"^\d+", "", offset.name.split("-")[0])


def grid(first: pd.Timestamp, last: pd.Timestamp, step: str, column: str) -> pd.DatetimeIndex:
    """The dates of a step from ``first``, or the first that lies on it, to ``last``.

    Raises ValueError for a step that there is not.
    """
    monthly = _MONTHLY.fullmatch(step)
    if monthly is None:
        try:
            return pd.date_range(first, last, freq=step)
        except (ValueError, OverflowError):
            raise ValueError(f"column {column!r}: its times cannot go on in steps of {step!r}") from None
    months = (last.year - first.year) * 12 + last.month - first.month
    return _dates(first, months // int(monthly[1]) + 1, step, column)


def future_times(times: pd.Index, horizon: int, frequency: str | None) -> pd.Index:
    """The ``horizon`` times that follow ``times``.

    Their step is ``frequency`` if ``times`` follow it, else that of ``times``. Irregular dates go on by
    months if all are on one day of the month, else by business days if none is on a weekend and most are a
    day apart, else by their median step. Raises ValueError for a single time.
    """
    if isinstance(times, pd.DatetimeIndex):
        for step in (frequency, infer_frequency(times)):
            # The training frequency first: the business days of one week look like daily data.
            if step and _follows(times, step):
                return _following(times, horizon, step)
    if len(times) < 2:
        raise ValueError(f"the time step cannot be told from one row ({times[0]}): give at least two rows")
    if isinstance(times, pd.DatetimeIndex):
        monthly = _monthly(times)
        if monthly is not None:
            return _following(times, horizon, monthly)
        apart = pd.Timedelta(times.to_series().diff().iloc[1:].median())
        if apart == pd.Timedelta(days=1) and times.dayofweek.max() < 5:
            return _following(times, horizon, "B")
        return pd.DatetimeIndex([times[-1] + apart * n for n in range(1, horizon + 1)], name=times.name)
    gap = float(np.median(np.diff(times)))
    if times.dtype.kind == "i" and gap.is_integer():
        return pd.Index([int(times[-1]) + int(gap) * n for n in range(1, horizon + 1)], name=times.name)
    # Without the last digits, which are the rounding errors of the step: .1, .2, .30000000000000004.
    ahead = [float(f"{times[-1] + gap * n:.12g}") for n in range(1, horizon + 1)]
    return pd.Index(ahead, name=times.name)


def has_step(times: pd.Index, frequency: str | None) -> bool:
    """Whether times follow a step, or one of its size; with None, or fewer than three times, always."""
    if frequency is None or not isinstance(times, pd.DatetimeIndex) or len(times) < 3:
        return True
    own = infer_frequency(times)
    return _follows(times, frequency) or (own is not None and size_of(own) == size_of(frequency))


def _monthly(times: pd.DatetimeIndex) -> str | None:
    """The step of dates that are on one day of the month, at one time of the day; None for others."""
    day = int(times.day.max())
    on_day = times.day == np.minimum(day, times.days_in_month)
    at_one_time = len((times - times.normalize()).unique()) == 1
    months = np.diff(times.year * 12 + times.month)
    if not on_day.all() or not at_one_time or not len(months) or months.min() < 1:
        return None
    count = round(float(np.median(months)))
    return f"{count} month{'s' if count > 1 else ''} on day {day}"


def _following(times: pd.DatetimeIndex, horizon: int, step: str) -> pd.DatetimeIndex:
    return _dates(times[-1], horizon + 1, step, str(times.name))[1:].rename(times.name)


def _follows(times: pd.DatetimeIndex, step: str) -> bool:
    return bool(_dates(times[0], len(times), step, str(times.name)).equals(times))


def _dates(start: pd.Timestamp, count: int, step: str, column: str) -> pd.DatetimeIndex:
    """``count`` dates from ``start`` on; ValueError for a step that there is not."""
    monthly = _MONTHLY.fullmatch(step)
    if monthly is None:
        try:
            return pd.date_range(start, periods=count, freq=step)
        except (ValueError, OverflowError):
            raise ValueError(f"column {column!r}: its times cannot go on in steps of {step!r}") from None
    months, day = int(monthly[1]), int(monthly[2])
    dates = []
    for number in range(count):
        moved = start.replace(day=1) + pd.DateOffset(months=months * number)
        dates.append(moved.replace(day=min(day, moved.days_in_month)))
    return pd.DatetimeIndex(dates)
