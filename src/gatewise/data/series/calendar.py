"""Features made of the times of rows, known for every step to come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CALENDAR = {
    "minute": 60, "hour": 24, "weekday": 7, "day": 31, "yearday": 366, "week": 53, "month": 12, "quarter": 4,
}  # fmt: skip
"""Each part of a date, and its values in one turn."""
WAVES = ("sine", "cosine")


def feature_names(parts: Sequence[str], form: str) -> tuple[str, ...]:
    """The features of the parts: two each as ``waves``, else the part's own name."""
    if form == "waves":
        return tuple(f"{part} {wave}" for part in parts for wave in WAVES)
    return tuple(parts)


def calendar_values(times: pd.Index, names: Sequence[str]) -> NDArray[np.float32]:
    """[rows, names]: the place in the turn as sine and cosine, or as a number from -0.5 to 0.5.

    Raises ValueError where the times are no dates.
    """
    if not isinstance(times, pd.DatetimeIndex):
        raise ValueError(
            f"data.calendar={list(names)} needs dates, and column {times.name!r} has numbers: leave it out"
        )
    codes, found = pd.factorize(times)
    distinct = pd.DatetimeIndex(found)
    values = np.empty((len(distinct), len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        part, _, wave = name.partition(" ")
        turn, number = CALENDAR[part], _number(distinct, part)
        if wave:
            angle = 2 * np.pi * number / turn
            values[:, place] = np.sin(angle) if wave == WAVES[0] else np.cos(angle)
        else:
            values[:, place] = number / (turn - 1) - 0.5
    return values[codes]


def _number(times: pd.DatetimeIndex, part: str) -> NDArray[np.float64]:
    """A part of the times, from 0."""
    if part == "week":
        return times.isocalendar()["week"].to_numpy(np.float64) - 1
    if part == "minute":
        return times.minute.to_numpy(np.float64) + times.second.to_numpy(np.float64) / 60
    if part == "hour":
        return times.hour.to_numpy(np.float64) + times.minute.to_numpy(np.float64) / 60
    name = {"yearday": "dayofyear"}.get(part, part)
    number: NDArray[np.float64] = getattr(times, name).to_numpy(np.float64)
    return number if part == "weekday" else number - 1
