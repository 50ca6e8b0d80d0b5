"""Times of a place, whose clocks go forward and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.series import SeriesWindows
from gatewise.data.series.given import read_input
from gatewise.data.series.missing import regular
from gatewise.data.series.panel import Roles
from gatewise.data.series.steps import future_times
from gatewise.data.series.style import CsvStyle, Reading
from gatewise.data.series.table import read_table
from gatewise.data.series.times import write_times

BERLIN = "Europe/Berlin"
# Changes of an hour in both halves of the Earth, of half an hour, and none at all.
PLACES = [BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata"]
FORM = "%Y-%m-%d %H:%M"


def read(folder, times, zone=None, verb="train", **style):
    frame = pd.DataFrame({"t": list(times), "x": np.arange(float(len(times)))})
    frame.to_csv(folder / "a.csv", index=False)
    return read_table(folder / "a.csv", Roles("t"), Reading(CsvStyle(time_zone=zone, **style), verb))


def local(start: str, count: int, step: str = "h", zone: str = BERLIN) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=step, tz=zone)


@settings(max_examples=20, deadline=None)
@given(
    zone=st.sampled_from(PLACES),
    day=st.integers(0, 364),
    step=st.sampled_from(["h", "30min", "15min", "2h"]),
    count=st.integers(60, 400),
)
def test_clocks_without_offsets_give_the_instants_they_showed(tmp_path_factory, zone, day, step, count):
    folder = tmp_path_factory.mktemp("zones", numbered=True)
    start = (pd.Timestamp("2023-06-01 12:00") + pd.Timedelta(days=day)).strftime(FORM)
    instants = local(start, count, step, zone)
    wall = [f"{time:{FORM}}" for time in instants]
    # Of clocks that show an hour twice, rows two hours apart show it only once.
    if step == "2h" and instants.tz_localize(None).tz_localize(zone, ambiguous="NaT").hasnans:
        with pytest.raises(ValueError, match="came twice in"):
            read(folder, wall, zone)
        return
    panel, time_format = read(folder, wall, zone)
    assert (panel.times == instants).all()
    _, steps = regular(panel, "refuse", None)
    ahead = future_times(panel.times, 30, steps.frequency)
    assert (ahead == local(start, count + 30, step, zone)[count:]).all()
    assert write_times(panel.times, time_format) == wall


def test_days_of_a_place_go_on_at_its_midnight(tmp_path):
    days = local("2024-03-20", 20, "D")
    panel, time_format = read(tmp_path, [f"{day:%Y-%m-%d}" for day in days], BERLIN)
    assert (panel.times == days).all()
    assert write_times(future_times(panel.times, 1, "D"), time_format) == ["2024-04-09"]


def test_offsets_are_read_in_a_zone_or_in_utc(tmp_path):
    instants = local("2024-10-26 20:00", 12)
    written = [str(time) for time in instants]
    panel, _ = read(tmp_path, written, BERLIN)
    assert (panel.times == instants).all()
    assert str(panel.times.tz) == BERLIN
    panel, _ = read(tmp_path, written, "utc")
    assert (panel.times == instants).all()
    assert str(panel.times.tz) == "UTC"
    assert read(tmp_path, [f"{time:{FORM}}" for time in local("2024-05-01", 9)], "utc")[0].times.tz is None


OCTOBER, MARCH = local("2024-10-26 20:00", 12), local("2024-03-30 22:00", 8)
REFUSED = {
    "several offsets": ([str(t) for t in OCTOBER], None, [":9:", "+01:00", "time_zone=utc", BERLIN]),
    "no such hour": (["2024-03-31 01:00", "2024-03-31 02:00"], BERLIN, [":3:", "02:00", "clocks went forw"]),
    "one of two hours": ([f"{t:{FORM}}" for t in OCTOBER if t.hour != 2 or t.fold], BERLIN, [":8:", "twice"]),
    "no zone": ([f"{t:{FORM}}" for t in OCTOBER], None, [":9:", "twice", f"data.time_zone={BERLIN}"]),
    "misspelt": ([f"{t:{FORM}}" for t in OCTOBER], "Europe/Berlim", [f"did you mean '{BERLIN}'"]),
    "numbers": (["1", "2", "3"], "utc", ["is for dates", "null"]),
}


@pytest.mark.parametrize(("times", "zone", "bits"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_time_of_a_place_is_named(tmp_path, times, zone, bits):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read(tmp_path, times, zone)
    for bit in bits:
        assert bit in str(caught.value)


def test_a_series_may_end_in_an_hour_that_comes_twice(tmp_path):
    wall = [f"{time:{FORM}}" for time in OCTOBER[:7]]
    assert wall[-1] == "2024-10-27 02:00"
    assert (read(tmp_path, wall, BERLIN)[0].times == OCTOBER[:7]).all()


def test_an_hour_left_out_in_spring_is_told(tmp_path, caplog):
    panel, _ = read(tmp_path, [f"{time:{FORM}}" for time in MARCH])
    regular(panel, "tell", None)
    assert "a.csv:6 comes an hour too late" in caplog.text
    assert f"data.time_zone={BERLIN}" in caplog.text
    with pytest.raises(ValueError, match="clocks go forward"):
        regular(panel, "refuse", None)


def test_a_test_of_an_older_run_reads_several_offsets_in_utc(tmp_path, caplog):
    panel, _ = read(tmp_path, [str(time) for time in OCTOBER], verb="evaluate")
    assert panel.times.tolist() == OCTOBER.tz_convert("UTC").tolist()
    assert "several offsets from UTC" in caplog.text


def test_a_run_reads_and_goes_on_by_the_clocks_of_its_training(tmp_path):
    """Of two series, hour by hour over the night of an hour that comes twice, the calendar is the place's."""
    times = local("2024-10-20", 24 * 8)
    rows = {"u": np.repeat(["a", "b"], len(times)), "t": [f"{time:{FORM}}" for time in times] * 2}
    rows["x"] = np.tile(times.hour, 2) + np.repeat([0.0, 9.0], len(times))
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    data = SeriesWindows(
        file="a.csv", folders=[str(tmp_path)], time_column="t", series_column="u", lookback=24, horizon=4,
        calendar=["hour"], calendar_form="scaled", time_zone=BERLIN, irregular="refuse",
    )  # fmt: skip
    data.setup("fit")
    assert data.facts is not None
    assert data.facts.time_zone == BERLIN
    batch = next(iter(data.train_dataloader()))
    # The value is the hour of the clock, and so is the calendar.
    hour = batch.inputs[..., 1].numpy() * 23 + 11.5
    values = data.facts.unscaled(batch.inputs[..., :1])[..., 0]
    np.testing.assert_allclose(hour, values - 9 * batch.series.numpy()[:, None], atol=1e-3)
    night = pd.DataFrame(rows).iloc[24 * 6 : 24 * 7 + 2]
    night.to_csv(tmp_path / "new.csv", index=False)
    found = read_input(tmp_path / "new.csv", data.facts)
    assert found.columns["t"] == [f"2024-10-27 0{hour}:00" for hour in (2, 2, 3, 4)]
    # A file with offsets has that run's calendar, or UTC's on request.
    pd.DataFrame({"u": "c", "t": local("2024-10-26 20:00", 30).astype(str), "x": 1.0}).to_csv(
        tmp_path / "new.csv", index=False
    )
    at_home, in_utc = (read_input(tmp_path / "new.csv", data.facts, time_zone=z) for z in (None, "utc"))
    assert at_home.columns["t"][0] == "2024-10-28 01:00:00+01:00"
    assert in_utc.columns["t"][0] == "2024-10-28 00:00:00+00:00"
    apart = at_home.batch.inputs[0, -1, 1] - in_utc.batch.inputs[0, -1, 1]
    assert float(apart * 23) == pytest.approx(1 - 24, abs=1e-4)  # midnight here is 23 o'clock there
