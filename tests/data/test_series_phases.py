"""The place of windows in the season, told by their times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gatewise.data.series import SeriesWindows
from gatewise.data.series.panel import Panel
from gatewise.data.series.phases import first_phases


def panel_of(*times: pd.Index) -> Panel:
    starts = np.cumsum([0, *map(len, times)])
    whole = times[0].append(list(times[1:]))
    names = tuple(f"s{n}" for n in range(len(times)))
    return Panel("a.csv", whole.rename("t"), np.zeros((len(whole), 1)), ("y",), starts, names)


STEPS = {
    "MS": 12, "ME": 12, "2MS": 6, "QS": 4, "QE": 4, "D": 7, "B": 5, "W-WED": 52, "h": 24, "15min": 96,
    "s": 60, "3 months on day 15": 4,
}  # fmt: skip


@pytest.mark.parametrize(("step", "season"), STEPS.items(), ids=STEPS)
def test_a_later_part_of_a_series_is_in_step_with_all_of_it(step, season):
    if "months" in step:
        first = pd.Timestamp(1999, 1, 15)
        times = pd.DatetimeIndex([first + pd.DateOffset(months=3 * n) for n in range(150)])
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


@pytest.mark.parametrize("short", ["refuse", "pad"])
def test_windows_know_the_month_they_begin_in_also_of_a_later_file(tmp_path, short):
    dates = {
        "a": pd.date_range("2001-04-01", periods=60, freq="MS"),
        "b": pd.date_range("2002-09", periods=50, freq="MS"),
    }
    rows = [
        pd.DataFrame({"u": name, "t": times, "y": np.arange(len(times))}) for name, times in dates.items()
    ]
    pd.concat(rows).to_csv(tmp_path / "a.csv", index=False)
    data = SeriesWindows(
        file="a.csv", folders=[str(tmp_path)], time_column="t", series_column="u", lookback=15, horizon=3,
        season=12, short_series=short,
    )  # fmt: skip
    data.setup()
    windows = data.test_data[list(range(len(data.test_data)))]
    months = pd.to_datetime(windows.times[:, 0]).month - 1
    assert windows.phase.tolist() == months.tolist()
    first = data.train_data[[0]].phase.item()
    assert first == (3 if short == "refuse" else (3 - 14) % 12)  # fourteen rows in front
    pd.concat(part[-20:] for part in rows).to_csv(tmp_path / "later.csv", index=False)
    given = SeriesWindows.read_input(tmp_path / "later.csv", data.facts)
    assert given.batch.phase.tolist() == [(times[-15].month - 1) for times in dates.values()]
