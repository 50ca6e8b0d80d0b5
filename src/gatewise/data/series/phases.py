"""Where in the season a series begins, told by its times: in every file of it alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel
from gatewise.data.series.steps import size_of

_UNITS = {"D": "D", "h": "h", "min": "m", "s": "s", "ms": "ms", "us": "us", "ns": "ns"}
"""numpy's names for pandas' units of constant length."""


def first_phases(panel: Panel, frequency: str | None, season: int) -> NDArray[np.int64] | None:
    """[series] the place in a season of ``season`` steps at which the first row of each series is.

    Steps are counted from 1970, or from the time 0 of numbers, back from the last row of each series: rows
    in front may be padding. None for dates without a step that can be counted.
    """
    last = panel.starts[1:] - 1
    times = panel.times[last]
    if isinstance(times, pd.DatetimeIndex):
        numbers = None if frequency is None else _steps_since_1970(times, frequency)
        if numbers is None:
            return None
    else:
        before = panel.times[np.maximum(last - 1, panel.starts[:-1])]
        now = times.to_numpy(dtype=np.float64)
        apart = now - before.to_numpy(dtype=np.float64)
        numbers = (np.round(now / np.where(apart == 0, 1.0, apart)) % season).astype(np.int64)
    phases: NDArray[np.int64] = (numbers - (panel.lengths - 1)) % season
    return phases


def _steps_since_1970(times: pd.DatetimeIndex, frequency: str) -> NDArray[np.int64] | None:
    """How many steps each time is after 1970; None for steps that are not counted, such as half months."""
    count, unit = size_of(frequency)
    times = times if times.tz is None else times.tz_convert(None)
    if unit == "months":
        numbers = (times.year * 12 + times.month - 1).to_numpy()
    elif unit == "B":
        numbers = np.busday_count("1970-01-01", times.to_numpy().astype("datetime64[D]"))
    elif unit == "W":
        numbers = times.to_numpy().astype("datetime64[D]").astype(np.int64) // 7
    elif unit in _UNITS:
        numbers = times.to_numpy().astype(f"datetime64[{_UNITS[unit]}]").astype(np.int64)
    else:
        return None
    steps: NDArray[np.int64] = numbers.astype(np.int64) // count
    return steps
