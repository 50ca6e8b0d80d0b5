"""The place of windows in the season, told by their times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gatewise.data.series.panel import Panel
from gatewise.data.series.phases import first_phases


def panel_of(*times: pd.Index) -> Panel:
    starts = np.cumsum([0, *map(len, times)])
    whole = times[0].append(list(times[1:]))
    names = tuple(f"s{n}" for n in range(len(times)))
    return Panel("a.csv", whole.rename("t"), np.zeros((len(whole), 1)), ("y",), starts, names)


STEPS = {
    "MS": 12, "ME": 12, "2MS": 6, "QS": 4, "QE": 4, "D": 7, "B": 5, "W-WED": 52, "h": 24, "15min": 96, "s": 60,
    "3 months on day 15": 4,
}  # fmt: skip


@pytest.mark.parametrize(("step", "season"), STEPS.items(), ids=STEPS)
def test_a_later_part_of_a_series_is_in_step_with_all_of_it(step, season):
    if "months" in step:
        times = pd.DatetimeIndex(
            [pd.Timestamp(1999, 1, 15) + pd.DateOffset(months=3 * n) for n in range(150)]
        )
    else:
        times = pd.date_range("1961-03-01 05:00", periods=700 if step == "s" else 150, freq=step)
    parts = [times, times[17:], times[101:140], times[-1:]]
    phases = first_phases(panel_of(*parts), step, season)
    first = [0, 17, 101, len(times) - 1]
    np.testing.assert_array_equal((phases - phases[0]) % season, np.array(first) % season)


def test_months_are_those_of_the_calendar():
    times = pd.date_range("2020-03-01", periods=5, freq="MS")
    assert first_phases(panel_of(times), "MS", 12).tolist() == [2]


@pytest.mark.parametrize("step", [1, 2, 0.25])
def test_numbers_are_counted_in_their_steps(step):
    times = pd.Index(1900 + step * np.arange(40))
    phases = first_phases(panel_of(times, times[9:]), None, 7)
    assert (phases[1] - phases[0]) % 7 == 2


def test_times_without_a_step_tell_none():
    times = pd.DatetimeIndex(["2020-01-01", "2020-01-05", "2020-02-01"])
    assert first_phases(panel_of(times), None, 7) is None
    assert first_phases(panel_of(times), "SME", 24) is None
