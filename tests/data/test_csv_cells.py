"""Cells of a series file: numbers are read by a setting or refused by name, columns never dropped unsaid."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_tables import read_csv

from gatewise.data.series import SeriesWindows
from gatewise.data.series.numbers import numbers, what_is_wrong
from gatewise.data.series.style import CHARACTERS, CsvStyle, Reading
from gatewise.kinds.series import SeriesFacts

MARKS = st.sampled_from(["point", "comma"])
GROUPS = st.sampled_from([None, "comma", "point", "space", "apostrophe"])


def written(value, decimal, thousands):
    """By Python's own formatting, with other marks put in."""
    text = f"{value:,.3f}" if thousands else f"{value:.3f}"
    marks = {",": CHARACTERS[thousands] if thousands else "", ".": CHARACTERS[decimal]}
    return "".join(marks.get(c, c) for c in text)


VALUES = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6)


@given(values=VALUES, decimal=MARKS, thousands=GROUPS)
def test_numbers_are_read_as_they_were_written(values, decimal, thousands):
    if decimal == thousands:
        return
    cells = pd.Series([written(value, decimal, thousands) for value in values], dtype=object)
    np.testing.assert_array_equal(numbers(cells, decimal, thousands), [float(f"{v:.3f}") for v in values])


@given(values=VALUES, decimal=MARKS, thousands=GROUPS)
def test_numbers_in_another_style_are_refused_with_the_setting_that_reads_them(values, decimal, thousands):
    if decimal == thousands:
        return
    cells = pd.Series([written(value, decimal, thousands) for value in values], dtype=object)
    read = numbers(cells, "point", None)
    expected = [float(f"{v:.3f}") for v in values]
    if not np.isnan(read).any():
        np.testing.assert_array_equal(read, expected)
        return
    said = what_is_wrong(cells, read, "a.csv", "x", [], Reading())
    grouped = thousands is not None and any(abs(v) >= 999.9995 for v in values)
    # Nothing is said of a mark that none of the cells has.
    assert ("data.decimal=comma" in said) == (decimal == "comma"), said
    assert (f"data.thousands={thousands}" in said) == grouped, said


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_nearest_float(value):
    """As Python reads it; pandas' own reader is off by a last digit now and then."""
    assert numbers(pd.Series([repr(value)], dtype=object), "point", None)[0] == value


TABLES = {
    "thousands": ('t,x\n1,"1,000.5"\n2,"2,000"\n', {"thousands": "comma"}, [1000.5, 2000.0]),
    "indian groups": ('t,x\n1,"1,00,000"\n2,5\n', {"thousands": "comma"}, [100000.0, 5.0]),
    "german": (
        "t;x\n1;1.000,5\n2;2,5\n",
        {"separator": "semicolon", "decimal": "comma", "thousands": "point"},
        [1000.5, 2.5],
    ),
    "french": (
        "t;x\n1;1 000,5\n2;2\u202f000\n",
        {"separator": "semicolon", "decimal": "comma", "thousands": "space"},
        [1000.5, 2000.0],
    ),
    "swiss": ("t,x\n1,1'000.5\n2,2\u2019000\n", {"thousands": "apostrophe"}, [1000.5, 2000.0]),
    "tabs": ("t\tx\n1\t2\n2\t3\n", {"separator": "tab"}, [2.0, 3.0]),
    "pipes": ("t|x\n1|2\n2|3\n", {"separator": "pipe"}, [2.0, 3.0]),
    "byte-order mark": ("\ufefft,x\n1,2\n2,3\n", {}, [2.0, 3.0]),
    "line ends of Windows": ("t,x\r\n1,2\r\n2,3\r\n", {}, [2.0, 3.0]),
    "spaces": ("t , x\n 1 , 2 \n2,3\n", {}, [2.0, 3.0]),
    "an empty column at the end": ("t,x,\n1,2,\n2,3,\n", {}, [2.0, 3.0]),
    "commas at the end": ("t,x\n1,2,\n2,3,\n", {}, [2.0, 3.0]),
    "row numbers, saved twice": ("Unnamed: 0,,t,x\n0,0,1,2\n1,1,2,3\n", {}, [2.0, 3.0]),
    "blank lines": ("\nt,x\n\n1,2\n\n2,3\n\n", {}, [2.0, 3.0]),
}


@pytest.mark.parametrize(("content", "style", "values"), TABLES.values(), ids=TABLES)
def test_files_are_read_by_a_setting(tmp_path, content, style, values):
    (tmp_path / "a.csv").write_bytes(content.encode())
    frame, _ = read_csv(tmp_path / "a.csv", "t", reading=Reading(CsvStyle(**style)))
    assert frame.to_dict("list") == {"x": values}


def test_an_index_without_a_name_can_be_the_time(tmp_path):
    pd.DataFrame({"x": [1.0, 2.0]}, index=pd.to_datetime(["2020-01-01", "2020-01-02"])).to_csv(
        tmp_path / "a.csv"
    )
    frame, _ = read_csv(tmp_path / "a.csv", "Unnamed: 0")
    assert frame["x"].tolist() == [1.0, 2.0]


REFUSED = {
    "thousands": ('t,x,y\n1,"1,000.5",1\n', [":2", "'x'", "set data.thousands=comma", "'data.columns=[y]'"]),
    "thousands or decimals": ('t,x\n1,"20,000"\n', [":2", "data.thousands=comma or data.decimal=comma"]),
    "spaces": ("t,x\n1,1 000\n", [":2", "set data.thousands=space"]),
    "percent": ("t,x\n1,5%\n", [":2", "'5%' is not a number"]),
    "currency": ("t,x\n1,5\n2,€6\n", [":3", "'€6' is not a number"]),
    "parentheses": ("t,x\n1,(5)\n", [":2", "'(5)'"]),
    "underscore": ("t,x\n1,1_000\n", [":2", "'1_000'"]),
    "hexadecimal": ("t,x\n1,0x10\n", [":2", "'0x10'"]),
    "another minus": ("t,x\n1,\u22125\n", [":2", "'\u22125'"]),
    "too large": ("t,x\n1,1e400\n", [":2", "'1e400' is not a finite number"]),
    "words beside numbers": ("t,x,y\n1,a,1\n2,b,2\n", [":2", "'x'", "'a' is text", "'data.columns=[y]'"]),
    "true and false": ("t,x,y\n1,True,1\n2,False,2\n", [":2", "'True' is text", "'data.columns=[y]'"]),
    "an empty column": ("t,x,y\n1,,1\n2,,2\n", [":2", "'x' has 2 missing", "'data.columns=[y]'"]),
    "a dash": ("t,x\n1,-\n2,1\n", [":2", "1 missing", "('-')"]),
    "semicolons": ("t;x\n1;2\n", [":1", "separated by a semicolon", "data.separator=semicolon"]),
    "semicolons beside a comma": ("t;x;a,b\n1;2;3\n", [":1", "data.separator=semicolon"]),
    "tabs": ("t\tx\n1\t2\n", [":1", "data.separator=tab"]),
    "a column without a name": (",t,x\na,1,2\nb,2,3\n", [":1", "without a name", "'a'", "data.columns"]),
    "a name twice": ("t,x,x\n1,2,3\n", [":1", "'x' twice"]),
    "no header": ("2020-01-01,2\n2020-01-02,3\n", [":1", "first line has to name the columns"]),
    "the time alone": ("t\n1\n2\n", ["no column beside the time"]),
    "an open quote": ('t,x\n1,"2\n2,3\n', [":2", "quotes"]),
    "after a quoted line end": ('t,"x"\n1,"2"\n"2","\n3"\n3,q\n', [":5", "'q'"]),
    "NUL": ("t,x\n1,2\n2,3\0\n", [":3", "NUL"]),
    "a control character": ("t,\x1b[31mx\n1,2\n", [":1", "'\\x1b[31mx' has a control character"]),
    "a line end in a name": ('t,"a\nb"\n1,2\n', [":1", "'a\\nb' has a control character"]),
    "a long name": ("t," + "x" * 2000 + "\n1,2\n", [":1", "2000 characters"]),
    "a very long name": ("t," + "x" * 200_000 + "\n1,2\n", [":1"]),
}


@pytest.mark.parametrize(("content", "bits"), REFUSED.values(), ids=REFUSED)
def test_files_are_refused_by_name(tmp_path, content, bits):
    (tmp_path / "a.csv").write_bytes(content.encode())
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_csv(tmp_path / "a.csv", "t")
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    for bit in ("a.csv", *bits):
        assert bit in message, message


PREDICTED = {
    "separator": ("t;x\n1;2\n", ["separated by a semicolon", "write a comma"]),
    "thousands": ('t,x\n1,"2,000"\n', [":2", "'2,000'", "a point for decimals and no separator"]),
    "word": ("t,x\n1,a\n", [":2", "'a'"]),
    "missing": ("t,x\n1,\n", [":2", "missing"]),
    "no such column": ("t,y\n1,2\n", [":1", "'x'", "trained on a column of that name"]),
    "no time column": ("d,x\n1,2\n", [":1", "'t'", "trained on a column of that name"]),
}


@pytest.mark.parametrize(("content", "bits"), PREDICTED.values(), ids=PREDICTED)
def test_a_prediction_is_told_of_no_setting_that_it_has_not(tmp_path, content, bits):
    (tmp_path / "a.csv").write_text(content)
    facts = SeriesFacts("t", ("x",), ("x",), None, 1, 1, 1, (0.0,), (1.0,))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        SeriesWindows.read_input(tmp_path / "a.csv", facts)
    message = str(caught.value)
    assert "data." not in message
    for bit in bits:
        assert bit in message, message


OFFSETS = st.sampled_from([0.0, -1e7, 1e9, 1e12])


@given(offset=OFFSETS, spread=st.floats(1e-3, 1e3), data=st.data())
def test_what_is_scaled_comes_back(offset, spread, data):
    """To a millionth of the standard deviation, however far from zero."""
    numbers_ = data.draw(st.lists(st.floats(-1, 1), min_size=4, max_size=20, unique=True))
    values = offset + spread * np.array(numbers_)
    mean, std = values.mean(), values.std()
    if len(set(values)) == 1:
        return
    facts = SeriesFacts("t", ("x",), ("x",), None, 1, 1, 1, (float(mean),), (float(std),))
    scaled = ((values - mean) / std).astype(np.float32)
    np.testing.assert_allclose(
        facts.unscaled(scaled[:, None])[:, 0], values, rtol=4e-16, atol=1e-6 * std * max(1, abs(scaled).max())
    )


def test_a_tiny_spread_around_a_large_mean_is_kept_and_a_constant_column_left(tmp_path):
    rows = "".join(f"{n},{10_000_000 + 0.001 * (n % 7):.3f},0.1\n" for n in range(60))
    (tmp_path / "a.csv").write_text("t,x,same\n" + rows)
    module = SeriesWindows(file="a.csv", time_column="t", lookback=4, horizon=2, folders=[tmp_path])
    module.setup()
    train = 10_000_000 + np.array([float(f"{0.001 * (n % 7):.3f}") for n in range(42)])
    assert module.facts.std == (pytest.approx(train.std(), rel=1e-6), 1.0)
    assert module.train_data.values[:, 0].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decimal": "comma", "thousands": "comma"}, "thousands=comma is data.decimal as well"),
        ({"time_format": "%d/%m/%Y", "day_first": True}, "time_format=%d/%m/%Y says itself"),
        ({"time_format": "DD/MM/YYYY"}, "time_format must be number, .* got 'DD/MM/YYYY', which has no %"),
        ({"time_format": "%Y%m%Y"}, "time_format must be .* which has %Y twice"),
        ({"time_format": "%d/%m/%Q"}, "time_format must be .* which has an unknown %Q"),
        ({"separator": ";"}, "separator=';' is unknown; choose one of: comma, semicolon, tab, pipe"),
        ({"train_fraction": 0.9, "validation_fraction": 0.1}, "leave nothing to test on"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        SeriesWindows(file="a.csv", time_column="t", **settings)


def test_shares_are_of_all_rows(tmp_path):
    (tmp_path / "a.csv").write_text("t,x\n" + "".join(f"{n},{n % 5}\n" for n in range(200)))
    settings = {"file": "a.csv", "time_column": "t", "lookback": 4, "horizon": 1, "folders": [tmp_path]}
    module = SeriesWindows(train_fraction=0.5, validation_fraction=0.2, **settings)
    module.setup()
    # 100, 40 and 60 of 200 rows; the first four of the training have no lookback.
    sizes = [len(part) for part in (module.train_data, module.validation_data, module.test_data)]
    assert sizes == [96, 40, 60]
    # With a test file of its own, no row of the file has to be left to test on.
    SeriesWindows(train_fraction=0.9, validation_fraction=0.1, test_file="b.csv", **settings)


def test_a_stride_beyond_the_rows_takes_the_first_window(tmp_path):
    (tmp_path / "a.csv").write_text("t,x\n" + "".join(f"{n},{n % 5}\n" for n in range(60)))
    module = SeriesWindows(
        file="a.csv", time_column="t", lookback=4, horizon=2, stride=10**18, folders=[tmp_path]
    )
    module.setup()
    assert module.train_data.starts.tolist() == [0]
