"""Times as text: read as they were written, or refused with the setting that decides."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_tables import read_csv

from gatewise.data.series.steps import future_times, infer_frequency, is_regular, season_of
from gatewise.data.series.style import CsvStyle, Reading
from gatewise.data.series.times import _has_day_and_month_first, parse_times, possible_formats, write_times

FORMATS = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%m-%d-%Y",
    "%Y%m%d",
    "%d%m%Y",
    "%Y-%m",
    "%Y%m",
    "%Y.%m",
    "%m/%Y",
    "%m.%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%y/%m/%d",
    "%y%m%d",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %B %Y",
    "%b %Y",
    "%B %Y",
    "%b %d, %Y",
    "%b-%y",
    "%Y%j",
    "%YQ%q",
    "Q%q %Y",
    "%Y-Q%q",
    "%Y%q",
    "%G-W%V",
    "%G%V",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%Y%m%d%H",
    "%Y%m%d%H%M",
    "%-m/%-d/%Y",
    "%-d.%-m.%Y %-H:%M",
    "epoch_s",
    "epoch_ms",
    "%H:%M",
]
STEPS = ["D", "MS", "ME", "QS", "W-MON", "h", "15min", "YS", "B"]


@given(
    time_format=st.sampled_from(FORMATS),
    step=st.sampled_from(STEPS),
    start=st.dates(pd.Timestamp("1975-01-01").date(), pd.Timestamp("2035-12-31").date()),
    rows=st.integers(3, 40),
    day_first=st.sampled_from([None, True, False]),
)
def test_a_guess_is_right_or_there_is_none(time_format, step, start, rows, day_first):
    """Whatever the format is that the cells were written in, no other is taken for it."""
    written = pd.date_range(start, periods=rows, freq=step)
    cells = write_times(written, time_format)
    # What the cells hold of the dates: of %Y-%m the month.
    times = parse_times(cells, time_format)
    assert times.notna().all()
    if len(set(cells)) < rows or not times.is_monotonic_increasing:
        return  # no series: two rows of one time
    readings = possible_formats(cells, day_first)
    if len(readings) != 1 or not next(iter(readings.values())).notna().all():
        return  # refused
    ((guess, read),) = readings.items()
    # A user who says that the day is first says that neither month nor year are.
    contradicted = day_first is not None and time_format.lstrip("%-")[:1] != ("d" if day_first else "m")
    if contradicted and (guess == "number" or _has_day_and_month_first(guess)):
        return
    if guess == "number":
        # Seconds since 1970 with a constant step, which go on in the same way as numbers.
        assert time_format.startswith("epoch"), cells
        assert len(set(np.diff(read))) == 1
    else:
        assert [str(time) for time in read] == [str(time) for time in times], (guess, cells)
        assert write_times(read, guess) == cells


@given(
    time_format=st.sampled_from(FORMATS),
    step=st.sampled_from(STEPS),
    start=st.dates(pd.Timestamp("1975-01-01").date(), pd.Timestamp("2035-12-31").date()),
)
def test_times_are_written_as_they_were_read(time_format, step, start):
    cells = write_times(pd.date_range(start, periods=9, freq=step), time_format)
    assert write_times(parse_times(cells, time_format), time_format) == cells


@pytest.mark.parametrize(
    "step", ["D", "MS", "ME", "QS-OCT", "W-MON", "h", "15min", "YS-JAN", "B", "2MS", "4h"]
)
@given(
    start=st.dates(pd.Timestamp("1975-01-01").date(), pd.Timestamp("2035-12-31").date()),
    rows=st.integers(6, 40),
)
def test_times_go_on_as_pandas_does(step, start, rows):
    whole = pd.date_range(start, periods=rows + 5, freq=step)
    ahead = future_times(whole[:rows], 5, infer_frequency(whole[:rows]))
    assert ahead.tolist() == whole[rows:].tolist() or step == "B"  # a week of business days looks daily
    assert future_times(whole[:rows], 5, step).tolist() == whole[rows:].tolist()


@given(
    start=st.dates(pd.Timestamp("1975-01-01").date(), pd.Timestamp("2035-12-31").date()),
    months=st.integers(1, 12),
)
def test_months_go_on_on_their_day(start, months):
    """As dateutil adds months: on the same day, or the last one of a month that lacks it."""
    whole = pd.DatetimeIndex([pd.Timestamp(start) + pd.DateOffset(months=months * n) for n in range(20)])
    if start.day > 28 and whole[:14].day.max() < start.day:
        return  # no row shows the day
    assert future_times(whole[:14], 6, infer_frequency(whole[:14])).tolist() == whole[14:].tolist()
    assert is_regular(whole)


def column(folder, cells, verb="train", **style):
    path = folder / "t.csv"
    path.write_text("t,x\n" + "".join(f'"{cell}",{row}\n' for row, cell in enumerate(cells)))
    return read_csv(path, "t", reading=Reading(CsvStyle(**style), verb))


def dates(form, start="2020-01-01", rows=20, step="D"):
    return pd.date_range(start, periods=rows, freq=step).strftime(form).tolist()


READ = {
    "slashes with a 13th": (dates("%d/%m/%Y"), {}, "%d/%m/%Y", "21/01/2020"),
    "american slashes with a 13th": (dates("%m/%d/%Y"), {}, "%m/%d/%Y", "01/21/2020"),
    "day first by setting": (dates("%d.%m.%Y", rows=9), {"day_first": True}, "%d.%m.%Y", "10.01.2020"),
    "month first by setting": (dates("%m/%d/%Y", rows=9), {"day_first": False}, "%m/%d/%Y", "01/10/2020"),
    "no zeros": ([f"{day}/1/2020" for day in range(1, 20)], {}, "%-d/%-m/%Y", "20/1/2020"),
    "a year": (dates("%d/%m/%Y", step="YS"), {}, "%d/%m/%Y", "01/01/2040"),
    "mid month": (dates("%Y-%m-15", step="MS"), {}, "%Y-%m-%d", "2021-09-15"),
    "quarters": (["2020Q3", "2020Q4", "2021Q1"], {}, "%YQ%q", "2021Q2"),
    "weeks": (["2020-W51", "2020-W52", "2020-W53"], {}, "%G-W%V", "2021-W01"),
    "days of the year": (dates("%Y%j", "2020-12-20"), {"time_format": "%Y%j"}, "%Y%j", "2021009"),
    "year and month": (dates("%Y%m", step="MS"), {"time_format": "%Y%m"}, "%Y%m", "202109"),
    "a number by setting": (["202011", "202012"], {"time_format": "number"}, "number", "202013"),
    "years that months could be": ([str(year) for year in range(2001, 2013)], {}, "number", "2013"),
    "seconds": ([str(10**9 + 3600 * n) for n in range(9)], {}, "number", str(10**9 + 3600 * 9)),
    "months in seconds": (
        [str(int(day.timestamp())) for day in pd.date_range("2020-01-01", periods=12, freq="MS")],
        {"time_format": "epoch_s"},
        "epoch_s",
        "1609459200",  # 2021-01-01, by date -u +%s
    ),
    "UTC": (dates("%Y-%m-%dT%H:00:00Z", step="h"), {}, "%Y-%m-%dT%H:%M:%S%z", "2020-01-01T20:00:00Z"),
    "an offset": (dates("%Y-%m-%d %H:00+05:30", step="h"), {}, "%Y-%m-%d %H:%M%z", "2020-01-01 20:00+05:30"),
    "midnight without its time": (
        ["2020-01-01", "2020-01-01 12:00", "2020-01-02"],
        {},
        "ISO8601",
        "2020-01-02 12:00:00",
    ),
    "half days": (
        dates("%m/%d/%Y %I:%M %p", "2020-01-20", step="12h"),
        {},
        "%m/%d/%Y %I:%M %p",
        "01/30/2020 12:00 AM",
    ),
    "two-digit years that one order fits": (dates("%d/%m/%y", "2019-12-20", 40), {}, "%d/%m/%y", "29/01/20"),
    "tenths": (["0.1", "0.2", "0.3"], {}, "number", "0.4"),
    "one month lacks": (
        [d for d in dates("%Y-%m-%d", step="MS") if d != "2020-05-01"],
        {},
        "%Y-%m-%d",
        "2021-09-01",
    ),
    "a holiday lacks": (
        [d for d in dates("%Y-%m-%d", step="B") if d[-2:] != "15"],
        {},
        "%Y-%m-%d",
        "2020-01-29",
    ),
}


@pytest.mark.parametrize(("cells", "style", "time_format", "following"), READ.values(), ids=READ)
def test_times_are_read_and_go_on(tmp_path, cells, style, time_format, following):
    frame, found = column(tmp_path, cells, **style)
    assert found == time_format
    ahead = future_times(frame.index, 1, infer_frequency(frame.index))
    assert write_times(ahead, found) == [following]


BERLIN = pd.date_range("2024-10-26 22:00", periods=8, freq="h", tz="Europe/Berlin")
REFUSED = {
    "day or month": (
        dates("%d/%m/%Y", rows=9),
        {},
        [":3", "'02/01/2020'", "data.day_first=true or data.day_first"],
    ),
    "equal day and month": (["01/01/2020", "02/02/2020", "03/03/2020"], {}, ["data.day_first=true"]),
    "year and month": (
        dates("%Y%m", step="MS"),
        {},
        [":2", "'data.time_format=%Y%m'", "'data.time_format=number'"],
    ),
    "two digits of the year and month": (
        dates("%y%m", rows=30, step="MS"),
        {},
        ["'data.time_format=%y%m'", "'data.time_format=number'"],
    ),
    "year and week": (dates("%G%V", step="W"), {}, ["'data.time_format=%G%V'", "number"]),
    "six digits": (dates("%y%m%d"), {}, ["'data.time_format=%y%m%d'", "number"]),
    "day of the year": (dates("%Y%j"), {}, ["'data.time_format=%Y%j'", "number"]),
    "quarter in digits": (["20194", "20201", "20202"], {}, ["'data.time_format=%Y%q'", "number"]),
    "decimal month": (dates("%Y.%m", step="MS"), {}, ["'data.time_format=%Y.%m'", "number"]),
    "hours in digits": (dates("%Y%m%d%H", step="h"), {}, ["'data.time_format=%Y%m%d%H'", "number"]),
    "months in seconds": (
        [str(int(day.timestamp())) for day in pd.date_range("2020-01-01", periods=9, freq="MS")],
        {},
        ["epoch_s"],
    ),
    "two-digit years": (dates("%d/%m/%y", "2001-02-03", 5), {}, ["%d/%m/%y'", "%m/%d/%y'", "%y/%m/%d'"]),
    "month and a number": (["Jan-10", "Feb-10", "Mar-10"], {}, [":2", "'Jan-10'", "data.time_format"]),
    "time of day": (["00:00", "00:01"], {}, [":2", "time of day", "data.time_format=%H:%M"]),
    "not the day first": (
        dates("%m/%d/%Y"),
        {"day_first": True},
        [":14", "'01/13/2020'", "data.day_first=false"],
    ),
    "another format": (
        ["01.02.2020", "02.02.2020"],
        {"time_format": "%d/%m/%Y"},
        [":2", "'01.02.2020'", "%d/%m/%Y"],
    ),
    "no such day": (
        ["2023-02-27", "2023-02-28", "2023-02-29"],
        {},
        [":4", "'2023-02-29'", "no date of the calendar"],
    ),
    "two forms": (["2023-02-27", "28/02/2023"], {}, [":3", "'28/02/2023'", "like the others"]),
    "one without an offset": (
        ["2024-01-01 00:00:00+01:00", "2024-01-01 01:00:00", "2024-01-01 02:00:00+01:00"],
        {},
        [":3", "like the others"],
    ),
    "clocks going back": ([f"{t:%Y-%m-%d %H:%M}" for t in BERLIN], {}, [":7", "appears twice", "in UTC"]),
    "infinite": (["1", "2", "inf"], {}, [":4", "'inf'"]),
    "too large": (["1", "2", "1e999"], {}, [":4", "'1e999'"]),
    "nan": (["1", "nan", "3"], {}, [":3", "missing time"]),
    "empty": (["2020-01-01", "", "2020-01-03"], {}, [":3", "missing time"]),
    "backwards": (dates("%Y-%m-%d")[::-1], {}, [":3", "comes after", "sort"]),
    "other digits": (["٢٠٢٠-٠١-٠١", "٢٠٢٠-٠١-٠٢"], {}, [":2", "not a time that can be read"]),
    "no such month": (["2023-13-01", "2023-14-01"], {}, [":2", "not a time that can be read"]),
    "no such day, ever": (
        ["2023-02-30 10:00", "2023-02-30 11:00"],
        {},
        [":2", "not a time that can be read"],
    ),
    "no such offset": (["2023-01-01 10:00+99:99", "2023-01-02 10:00+99:99"], {}, [":2", "+99:99"]),
    "a zone's name": (["2023-01-01 10:00 EST", "2023-01-02 10:00 EST"], {}, [":2", "10:00 EST"]),
    "before the calendar": (["0000-01-01", "0000-01-02"], {}, [":2", "not a time that can be read"]),
    "after the calendar": (
        ["99999999999999", "99999999999999"],
        {"time_format": "epoch_s"},
        [":2", "not a time of the form epoch_s"],
    ),
    "5000 letters": (["y" * 5000] * 2, {}, [":2", "(5002 characters) is not a time"]),
    "words": (["a", "b"], {}, [":2", "'a'", "data.time_format", "data.time_column"]),
}


@pytest.mark.parametrize(("cells", "style", "bits"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("verb", ["train", "predict"])
def test_times_are_refused_by_name(tmp_path, cells, style, bits, verb):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        column(tmp_path, cells, verb, **style)
    message = str(caught.value)
    assert "\n" not in message
    if verb == "predict":
        # It has no other setting.
        assert "data." not in message.replace("data.time_zone", "")
        bits = bits[:2] if bits[0].startswith(":") else []
    for bit in ["t.csv", *bits]:
        assert bit in message or (verb == "predict" and "data." in bit), message


def test_a_forecast_past_the_last_year_can_be_written():
    times = pd.DatetimeIndex(np.array(["9999-12-31", "10000-01-01"], dtype="datetime64[us]"))
    assert write_times(times, "%d.%m.%Y")[0] == "31.12.9999"
    assert write_times(times, "%d.%m.%Y")[1].startswith("10000-01-01")


def test_a_prediction_reads_times_as_its_run_does(tmp_path):
    """Dates that two formats can read have that of the run; ISO 8601 is taken by any."""
    cells = ["01/02/2010", "01/03/2010", "01/04/2010"]
    for time_format, month in (("%d/%m/%Y", 2), ("%m/%d/%Y", 1)):
        frame, found = column(tmp_path, cells, "predict", time_format=time_format)
        assert (frame.index[0].month, found) == (month, time_format)
    frame, found = column(tmp_path, dates("%Y-%m-%d"), "predict", time_format="%d/%m/%Y")
    assert (frame.index[0], found) == (pd.Timestamp("2020-01-01"), "ISO8601")


@pytest.mark.parametrize(
    ("step", "lookback", "season"),
    [
        ("h", 96, 24),
        ("3h", 96, 8),
        ("D", 96, 7),
        ("B", 96, 5),
        ("MS", 132, 12),
        ("ME", 24, 12),
        ("QS-OCT", 8, 4),
        ("W-SUN", 96, 52),
        ("min", 1500, 1440),
        ("min", 96, 60),
        ("15min", 96, 96),
        ("s", 96, 60),
        ("YS-JAN", 96, 1),
        ("1 month on day 15", 96, 12),
        ("3 months on day 15", 96, 4),
        ("MS", 6, 1),
        ("5h", 96, 1),
        (None, 96, 1),
    ],
)
def test_the_season_of_a_step(step, lookback, season):
    assert season_of(step, lookback) == season


@pytest.mark.parametrize(
    "step", ["h", "3h", "D", "B", "MS", "ME", "QS", "W", "min", "15min", "s", "YS", "YE", "2W"]
)
def test_every_step_that_pandas_infers_has_its_season_looked_up(step):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frequency = infer_frequency(pd.date_range("2024-01-01", periods=60, freq=step))
        assert season_of(frequency, 2000) >= 1
    assert (season_of(frequency, 2000) == 1) == (step in ("YS", "YE"))
