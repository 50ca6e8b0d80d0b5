"""Many series in one table: read, split, scaled and cut into windows."""

import importlib.util
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.series import SeriesWindows
from gatewise.data.series.datasets import M1_YEARLY, generated, m1_yearly
from gatewise.data.series.missing import filled
from gatewise.data.series.panel import Panel, Roles
from gatewise.data.series.regular import steps_of
from gatewise.data.series.split import Split, window_starts
from gatewise.data.series.style import CsvStyle, Reading
from gatewise.data.series.table import read_table

LENGTHS = {"b": 40, "a": 25, "c": 31}


def long_table(lengths=LENGTHS, seed=0):
    """Daily series that start on different days, with a value, a price and a kind of weather."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, (name, length) in enumerate(lengths.items()):
        days = pd.date_range("2024-01-01", periods=length) + pd.Timedelta(days=7 * number)
        parts.append(
            pd.DataFrame(
                {
                    "shop": name,
                    "day": days.strftime("%Y-%m-%d"),
                    "sales": rng.normal(10 ** (number + 1), 3, length).round(4),
                    "price": rng.uniform(1, 2, length).round(4),
                    "sky": rng.choice(["rain", "sun"], length),
                    "size": float(number),
                    "town": f"town {number % 2}",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def module(folder, table=None, **settings):
    (long_table() if table is None else table).to_csv(folder / "a.csv", index=False)
    defaults = {"file": "a.csv", "series_column": "shop", "time_column": "day", "folders": [folder]}
    defaults |= {"columns": ["sales", "price"], "targets": ["sales"], "lookback": 5, "horizon": 3}
    return SeriesWindows(**{**defaults, "test_steps": 4, **settings})


def loaded(*arguments, **settings):
    data = module(*arguments, **settings)
    data.setup()
    return data


def every(windows):
    return windows[list(range(len(windows)))]


def test_rows_of_a_series_may_be_mixed_with_others(tmp_path):
    table = long_table()
    table.sort_values(["day", "shop"]).to_csv(tmp_path / "mixed.csv", index=False)
    read, _ = read_table(tmp_path / "mixed.csv", Roles("day", "shop", ["sales"]), Reading())
    for name in LENGTHS:
        own = table[table["shop"] == name]
        rows = read.rows_of(read.names.index(name))
        assert read.values[rows, 0].tolist() == own["sales"].tolist()
        assert read.times[rows].strftime("%Y-%m-%d").tolist() == own["day"].tolist()


def test_a_quoted_file_and_a_plain_one_are_read_alike(tmp_path):
    """Unquoted cells take the way without a loop over the rows."""
    table = long_table()
    table.to_csv(tmp_path / "plain.csv", index=False)
    table.to_csv(tmp_path / "quoted.csv", index=False, quoting=1)
    roles = Roles("day", "shop", ["sales", "price"], ["sky"], ["size"], ["town"])
    plain, quoted = (read_table(tmp_path / f"{n}.csv", roles, Reading())[0] for n in ("plain", "quoted"))
    np.testing.assert_array_equal(plain.values, quoted.values)
    np.testing.assert_array_equal(plain.lines, quoted.lines)
    assert plain.times.equals(quoted.times)
    assert plain.names == quoted.names == tuple(LENGTHS)
    assert plain.categories["sky"].tolist() == table["sky"].tolist()
    assert plain.static[:, 0].tolist() == [0, 1, 2]


def test_parquet_gives_what_csv_gives(tmp_path):
    pytest.importorskip("pyarrow")
    table = long_table()
    table.loc[3, "sales"] = np.nan
    table.to_csv(tmp_path / "a.csv", index=False)
    table.assign(day=pd.to_datetime(table["day"])).to_parquet(tmp_path / "a.parquet")
    roles = Roles("day", "shop", ["sales", "price"], ["sky"], ["size"], ["town"])
    csv, parquet = (read_table(tmp_path / f"a.{n}", roles, Reading(), True)[0] for n in ("csv", "parquet"))
    np.testing.assert_array_equal(csv.values, parquet.values)
    assert (csv.times == parquet.times).all()
    assert csv.names == parquet.names
    assert csv.static_categories["town"].tolist() == parquet.static_categories["town"].tolist()
    with pytest.raises(ValueError, match=r"a.parquet:4: column 'sales' has 1 missing value\(s\)"):
        read_table(tmp_path / "a.parquet", roles, Reading())


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    lookback=st.integers(1, 4),
    horizon=st.integers(1, 3),
    stride=st.integers(1, 3),
    data=st.data(),
)
def test_windows_are_those_of_a_loop(lengths, lookback, horizon, stride, data):
    panel = a_panel(lengths)
    start = np.array([data.draw(st.integers(0, n)) for n in lengths])
    end = np.array([data.draw(st.integers(int(s), n)) for s, n in zip(start, lengths, strict=True)])
    wanted = []
    for number, (first, last) in enumerate(zip(start, end, strict=True)):
        rows = range(max(first, lookback), last - horizon + 1, stride)
        wanted += [int(panel.starts[number]) + row - lookback for row in rows]
    assert window_starts(panel, start, end, lookback, horizon, stride).tolist() == wanted


def a_panel(lengths, values=None):
    starts = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.arange(n) for n in lengths])
    values = np.zeros((starts[-1], 1)) if values is None else values
    return Panel("made", pd.Index(times, name="t"), values, ("y",), starts, tuple(map(str, lengths)))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 20), st.integers(0, 20))
def test_every_split_gives_each_row_one_part(lengths, first, second):
    panel = a_panel(lengths)
    low, high = min(first, second), max(first, second) + 1
    for split in (
        Split((0.6, 0.2)),
        Split(rows=[first + 1, second + 1, 100]),
        Split(steps=(first + 1, second + 1)),
        Split(dates=[str(low), str(high)]),
    ):
        ends = split.ends(panel)
        assert (np.diff(ends, axis=0) >= 0).all()
        assert ends.min() >= 0
        assert ends[2].tolist() == lengths
    assert split.ends(panel)[0].tolist() == [min(low, n) for n in lengths]


def test_split_of_each_series_and_scales_of_its_training_rows(tmp_path):
    table = long_table()
    data = loaded(tmp_path, scaling="series")
    train = table.groupby("shop", sort=False)["sales"].apply(lambda each: each.iloc[:-8])
    assert (data.facts.mean[0], data.facts.std[0]) == (0, 1)
    batch = every(data.test_data)
    assert batch.series.tolist() == [0, 0, 1, 1, 2, 2]
    for number, name in enumerate(LENGTHS):
        scales = batch.scales[2 * number, :, 0].tolist()
        assert scales == pytest.approx([train[name].mean(), train[name].std(ddof=0)])
        whole = table.loc[table["shop"] == name, "sales"].to_numpy()
        unscaled = data.facts.unscaled(batch.targets, batch.scales)[2 * number : 2 * number + 2, :, 0]
        np.testing.assert_allclose(unscaled, [whole[-4:-1], whole[-3:]], rtol=1e-5)
        inputs = data.facts.unscaled(batch.inputs[..., :1], batch.scales)[2 * number, :, 0]
        np.testing.assert_allclose(inputs, whole[-9:-4], rtol=1e-5)
    said = data.describe()
    assert said["test rows"] == "12, of each series the last 4"
    assert said["series"] == "3 of 25 to 40 rows"


def test_a_small_series_beside_a_large_one_is_scaled_by_its_own_size(tmp_path):
    """Its numbers once seemed to be constant, and a forecast was off by the size of the large one."""
    values = {
        "large": 1e9 + 1e8 * np.sin(np.arange(30)),
        "small": 5 + np.cos(np.arange(30)),
        "same": [7.0] * 30,
    }
    rows = [(name, step, value) for name, of_series in values.items() for step, value in enumerate(of_series)]
    table = pd.DataFrame(rows, columns=["shop", "time", "sales"])
    table.to_csv(tmp_path / "a.csv", index=False)
    data = SeriesWindows(
        file="a.csv", time_column="time", series_column="shop", folders=[tmp_path], lookback=6, horizon=2,
        test_steps=4, validation_steps=4, scaling="series",
    )  # fmt: skip
    data.setup()
    batch = every(data.test_data)
    assert batch.targets.abs().max() < 3
    for number, of_series in enumerate(values.values()):
        mean, std = batch.scales[3 * number, :, 0].tolist()
        assert mean == pytest.approx(np.mean(of_series[:22]))
        assert std == pytest.approx(np.std(of_series[:22]) or 7.0)
        unscaled = data.facts.unscaled(batch.targets, batch.scales)[3 * number, :, 0]
        np.testing.assert_allclose(unscaled, of_series[26:28], rtol=1e-6)


def test_the_split_of_ett_by_rows_and_by_date_is_the_same(tmp_path):
    hours = pd.date_range("2016-07-01", periods=60, freq="h").strftime("%Y-%m-%d %H:%M:%S")
    pd.DataFrame({"date": hours, "x": np.arange(60.0)}).to_csv(tmp_path / "a.csv", index=False)
    settings = {"file": "a.csv", "time_column": "date", "folders": [tmp_path], "lookback": 6, "horizon": 2}
    rows = SeriesWindows(**settings, split_rows=[24, 12, 12])
    dates = SeriesWindows(**settings, split_dates=["2016-07-02", "2016-07-02 12:00"], max_rows=48)
    for data in (rows, dates):
        data.setup()
        parts = (data.train_data, data.validation_data, data.test_data)
        # The targets of validation begin at row 24, whose lookback reaches into the training part.
        assert [(int(p.starts[0]), int(p.starts[-1]), len(p)) for p in parts] == [
            (0, 16, 17), (18, 28, 11), (30, 40, 11),
        ]  # fmt: skip
        assert data.facts.mean == (11.5,)
    assert rows.describe()["validation rows"] == "25 to 36 (2016-07-02 00:00:00 to 2016-07-02 11:00:00)"


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=20), st.data())
def test_filling_follows_its_words(cells, data):
    """Against pandas; a part never sees into the next."""
    values = np.array([[np.nan if cell is None else cell] for cell in cells], dtype=float)
    border = data.draw(st.integers(0, len(cells)))
    starts, parts = np.array([0, len(cells)]), np.array([0, border, len(cells)])
    series = pd.Series(values[:, 0])
    for how in ("forward", "mask"):
        np.testing.assert_array_equal(filled(values, starts, parts, how)[:, 0], series.ffill())
    first, second = series[:border].interpolate(), series[border:]
    before = first.ffill().iloc[-1] if border else np.nan
    lines = filled(values, starts, parts, "interpolate")[:border, 0]
    np.testing.assert_allclose(lines, first.bfill().ffill() if first.notna().any() else first)
    if second.isna().all():
        np.testing.assert_array_equal(filled(values, starts, parts, "interpolate")[border:, 0], before)


@pytest.mark.parametrize("missing", ["mask", "forward", "interpolate"])
def test_missing_targets_are_never_scored_and_inputs_say_where(tmp_path, missing):
    table = long_table()
    table.loc[[2, 38, 39], "sales"] = np.nan
    data = loaded(tmp_path, table, missing=missing)
    batch = every(data.test_data)
    assert batch.targets[1, :, 0].isnan().tolist() == [False, True, True]
    assert batch.targets.isnan().sum() == 3  # row 38 is in two windows
    assert not any(b.inputs.isnan().any() for b in (batch, every(data.train_data)))
    first = data.train_data[[0]].inputs[0]
    if missing == "mask":
        assert data.facts.features == ("sales", "price", "sales is there")
        assert first[:, 2].tolist() == [1, 1, 0, 1, 1]
        assert first[2, 0] == 0
    else:
        before, after = first[1, 0], first[3, 0]
        assert first[2, 0] == pytest.approx(before if missing == "forward" else (before + after) / 2)
    with pytest.raises(ValueError, match=r"a.csv:4: column 'sales' has 3 missing.*data.missing"):
        loaded(tmp_path, table)


def test_rows_left_out_are_put_in_or_told(tmp_path, caplog):
    table = long_table().drop(index=[10, 11])
    with caplog.at_level(logging.WARNING):
        loaded(tmp_path, table)
    assert "the time steps are irregular in 1 of 3 series: 'b'" in caplog.text
    with pytest.raises(ValueError, match="irregular in 1 of 3 series: 'b': correct them"):
        loaded(tmp_path, table, irregular="refuse")
    data = loaded(tmp_path, table, irregular="fill", missing="forward")
    assert data.describe()["rows"] == 96
    assert data.facts.frequency == "D"
    first = data.train_data.values[:, 0]
    assert first[9] == first[10] == first[11]
    # Rows 10 to 12 are the targets of the window that begins in row 5; the first two were not there.
    assert data.train_data[[5]].targets[0, :, 0].isnan().tolist() == [True, True, False]


def test_series_of_different_steps_are_refused_by_name(tmp_path):
    table = long_table()
    weeks = pd.date_range("2024-01-01", periods=25, freq="7D").strftime("%Y-%m-%d")
    table.loc[table["shop"] == "a", "day"] = weeks
    with pytest.raises(
        ValueError, match=r"different time steps: 'b' of D and 'a' of W-MON: .*irregular=rows"
    ):
        loaded(tmp_path, table)
    loaded(tmp_path, table, irregular="rows")


def test_steps_of_numbers():
    panel = a_panel([4, 5])
    assert not steps_of(panel).irregular.any()
    odd = Panel("x", pd.Index([1, 2, 3, 1, 3, 4]), np.zeros((6, 1)), ("y",), np.array([0, 3, 6]), ("a", "b"))
    assert steps_of(odd).irregular.tolist() == [False, True]


def test_short_series(tmp_path, caplog):
    table = long_table({"b": 40, "a": 5, "c": 7, "d": 30})
    with pytest.raises(ValueError, match=r"2 of 4 series have fewer than 8 rows .* 'a with 5', 'c with 7'"):
        loaded(tmp_path, table)
    with caplog.at_level(logging.WARNING):
        data = loaded(tmp_path, table, short_series="leave_out")
    assert data.facts.series == ("b", "d")
    assert "2 of 4 series have fewer than 8 rows and are left out" in caplog.text
    padded = loaded(
        tmp_path, table, short_series="pad", split_dates=["2024-01-20", "2024-02-01"], test_steps=None
    )
    assert padded.facts.series == ("b", "a", "c", "d")
    first = padded.train_data[[0]]
    # The first window has seen one row of its series, and says of the others that they are not there.
    assert padded.facts.features == ("sales", "price", "sales is there", "price is there")
    assert first.inputs[0, :, 2].tolist() == [0, 0, 0, 0, 1]
    assert first.inputs[0, :4, :2].abs().max() == 0
    np.testing.assert_allclose(padded.facts.unscaled(first.targets)[0, :, 0], table["sales"][1:4], rtol=1e-5)


def test_constant_series_are_told(tmp_path, caplog):
    table = long_table()
    table.loc[table["shop"] == "a", "sales"] = 7.0
    with caplog.at_level(logging.WARNING):
        data = loaded(tmp_path, table, scaling="series")
    assert "1 of 3 series are constant in the training rows: 'a'" in caplog.text
    assert np.isfinite(every(data.train_data).inputs.numpy()).all()


def test_covariates_categories_and_the_calendar(tmp_path):
    data = loaded(
        tmp_path,
        known=["price"], categories=["sky"], known_categories=["sky"], static=["size"],
        static_categories=["town"], calendar=["weekday", "month"],
    )  # fmt: skip
    table, facts = long_table(), data.facts
    assert facts.known_features == ("price", "weekday sine", "weekday cosine", "month sine", "month cosine")
    assert facts.labels == (("rain", "sun"),)
    batch = data.test_data[[0]]
    own = table[table["shop"] == "b"].reset_index(drop=True)
    ahead = own.iloc[36:39]
    np.testing.assert_allclose(
        batch.future[0, :, 0], (ahead["price"] - facts.mean[1]) / facts.std[1], rtol=1e-4, atol=1e-5
    )
    angle = 2 * np.pi * pd.to_datetime(ahead["day"]).dt.dayofweek / 7
    np.testing.assert_allclose(batch.future[0, :, 1], np.sin(angle), atol=1e-6)
    numbers = own["sky"].map({"rain": 1, "sun": 2})
    assert batch.categories[0, :, 0].tolist() == numbers[31:39].tolist()
    assert batch.static_categories.tolist() == [[1]]
    assert batch.static[0, 0].item() == pytest.approx((0 - 1) / np.std([0, 1, 2]))
    hidden = loaded(tmp_path, categories=["sky"]).test_data[[0]]
    assert hidden.categories[0, 5:, 0].tolist() == [0, 0, 0]
    assert hidden.categories[0, :5, 0].tolist() == numbers[31:36].tolist()


def test_generated_series_are_the_same_every_time():
    first, again = generated(30), generated(30)
    np.testing.assert_array_equal(first.values, again.values)
    assert first.lengths.min() >= 60
    assert first.lengths.max() <= 300
    assert steps_of(first).frequency == "MS"


def test_the_m1_series_are_a_known_set_or_those_of_an_installed_aeon(tmp_path, monkeypatch):
    spec = importlib.util.find_spec("aeon")
    wheel = None if spec is None else Path(spec.origin).parent / "datasets/data/m1_yearly_dataset" / M1_YEARLY

    def no_aeon(*_):
        raise ValueError("aeon is not installed")

    monkeypatch.setattr("gatewise.data.series.datasets.installed_file", no_aeon)
    with pytest.raises(ValueError, match=r"gatewise data get m1_yearly.*pip install 'gatewise\[m1\]'"):
        m1_yearly([tmp_path])
    if wheel is None:
        pytest.skip("aeon is not installed")
    (tmp_path / "m1_yearly").mkdir()
    shutil.copy(wheel, tmp_path / "m1_yearly")
    panel = m1_yearly([tmp_path])
    assert len(panel.names) == 181
    assert (panel.lengths.min(), panel.lengths.max()) == (15, 58)
    assert panel.values[:2, 0].tolist() == [3600, 7700]
    with (tmp_path / "m1_yearly" / M1_YEARLY).open("a") as file:
        file.write("T182:1975-01-01 00-00-00:1,2\n")
    with pytest.raises(ValueError, match=M1_YEARLY):
        m1_yearly([tmp_path])


MISTAKES = {
    "two ways": ({"split_rows": [1, 2, 3]}, "test_steps is given beside data.split_rows"),
    "no steps": ({"test_steps": None, "validation_steps": 3}, "validation_steps=3 needs data.test_steps"),
    "three": ({"split_rows": [1, 2], "test_steps": None}, "split_rows must be a list of 3"),
    "no date": ({"split_dates": ["soon", "later"], "test_steps": None}, "split_dates: 'soon' is not a date"),
    "order": ({"split_dates": ["2024-03-01", "2024-02-01"], "test_steps": None}, "must come after"),
    "role": ({"categories": ["price"]}, "categories names 'price', as data.columns does"),
    "known": ({"known": ["prise"]}, "data.known: 'prise' is not an input column (did you mean 'price'?)"),
    "static": ({"static": ["size"], "columns": ["sales"], "series_column": None}, "is for several series"),
    "changes": ({"static": ["price"], "columns": ["sales"]}, "a.csv:3: column 'price' is"),
    "calendar": ({"calendar": ["moon"]}, "calendar='moon' is unknown"),
    "fill": ({"irregular": "fill"}, "set data.missing to mask, forward or interpolate"),
    "horizon": ({"horizon": 0}, "horizon must be a whole number of at least 1, got 0"),
    "series column": ({"series_column": "shpo"}, "no column 'shpo' (did you mean 'shop'?)"),
    "one series": ({"series_column": None}, "several series apart with data.series_column"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(tmp_path, settings, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        loaded(tmp_path, **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


CELLS = {
    "duplicate": ("b,2024-01-02,1\nb,2024-01-02,2\n", ":3: the time '2024-01-02' appears twice"),
    "unsorted": ("b,2024-01-02,1\nc,2024-01-01,5\nb,2024-01-01,2\n", ":4: the time '2024-01-01' comes after"),
    "time": ("b,2024-01-01,1\nb,soon,1\n", ":3: column 'day': 'soon' is not a time"),
    "nameless": ("b,2024-01-01,1\n,2024-01-02,1\n", ":3: column 'shop' names no series"),
    "infinite": ("b,2024-01-01,1\nb,2024-01-02,inf\n", ":3: column 'sales': 'inf' is not a finite number"),
    "zones": ("b,2024-01-01T00:00:00+01:00,1\nb,2024-01-01T01:00:00,2\n", ":3: column 'day'"),
    "comma": ('b,2024-01-01,"1,5"\nb,2024-01-02,"2,5"\n', "set data.decimal=comma"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "said"), CELLS.values(), ids=CELLS)
def test_cells_that_cannot_be_used_are_named(tmp_path, rows, said):
    (tmp_path / "a.csv").write_text("shop,day,sales\n" + rows)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_table(tmp_path / "a.csv", Roles("day", "shop", ["sales"]), Reading())
    assert said in str(caught.value)


def test_times_with_the_offsets_of_summer_and_winter_are_steps_of_an_hour(tmp_path):
    local = pd.date_range("2024-10-26", periods=60, freq="h", tz="Europe/Berlin")
    text = [time.isoformat() for time in local]
    pd.DataFrame({"t": text, "x": np.arange(60.0)}).to_csv(tmp_path / "a.csv", index=False)
    read, _ = read_table(tmp_path / "a.csv", Roles("t"), Reading(CsvStyle(time_zone="utc")))
    assert (read.times == local).all()
    assert steps_of(read).frequency == "h"
