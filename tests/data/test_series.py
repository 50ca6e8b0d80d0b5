"""Time series: the CSV reader, windows and forecasts' times."""

import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from series_tables import read_csv

from gatewise.data.series import SeriesWindows
from gatewise.data.series.steps import future_times
from gatewise.data.series.sunspots import sunspots_monthly
from gatewise.data.series.windows import Windows


def _csv(folder, rows=120, frequency="h", name="a.csv"):
    times = pd.date_range("2024-01-01", periods=rows, freq=frequency)
    values = np.random.default_rng(0).normal(5, 3, size=(rows, 2))
    frame = pd.DataFrame({"time": times, "load": values[:, 0], "heat": values[:, 1], "note": "x"})
    frame.to_csv(folder / name, index=False)
    return frame


def _module(folder, **settings):
    defaults = {"file": "a.csv", "time_column": "time", "columns": ["load", "heat"], "folders": [folder]}
    return SeriesWindows(**{**defaults, "lookback": 6, "horizon": 3, **settings})


def test_sunspots_are_the_months_of_the_file():
    frame = sunspots_monthly()
    # First line of years in the file: 1749 58.0 62.6 …; last: 2009 … 2.6 (June, the sixth value).
    assert (frame.index[0], frame["sunspots"].iloc[0]) == (pd.Timestamp("1749-01-01"), 58.0)
    assert (frame.index[-1], frame["sunspots"].iloc[-1]) == (pd.Timestamp("2009-06-01"), 2.6)
    assert len(frame) == (2009 - 1749) * 12 + 6
    assert frame.index.freqstr == "MS"
    assert frame.loc["1957-10-01", "sunspots"] == 253.8
    assert frame["sunspots"].max() == 253.8


def test_csv_gives_numeric_columns_by_time(tmp_path):
    frame = _csv(tmp_path)
    with pytest.raises(
        ValueError, match=r"a.csv:2: column 'note': 'x' is text.*'data.columns=\[load,heat\]'"
    ):
        read_csv(tmp_path / "a.csv", "time")
    read, _ = read_csv(tmp_path / "a.csv", "time", ["load", "heat"])
    assert list(read.columns) == ["load", "heat"]
    np.testing.assert_allclose(read.to_numpy(), frame[["load", "heat"]].to_numpy())
    pd.testing.assert_index_equal(read.index, pd.Index(frame["time"]), check_names=False, exact="equiv")


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        (["1990", "1991", "1992"], "i"),
        (["0.5", "1.0", "1.5"], "f"),
        (["20240101", "20240102", "20240103"], "M"),
        (["2024-01-01", "2024-01-02", "2024-01-03"], "M"),
        (["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z"], "M"),
        (["1/31/2024 13:00", "1/31/2024 14:00", "2/1/2024 15:00"], "M"),
        (["Jan 2024", "Feb 2024", "Mar 2024"], "M"),
    ],
)
def test_time_columns_in_many_forms(tmp_path, times, kind):
    path = tmp_path / "t.csv"
    path.write_text("t, x\n" + "".join(f"{time}, {i}\n" for i, time in enumerate(times)) + "\n\n")
    frame, _ = read_csv(path, "t")
    index = frame.index
    assert (index.tz_localize(None) if kind == "M" else index).dtype.kind == kind
    assert frame["x"].tolist() == [0.0, 1.0, 2.0]


def test_splits_follow_time_and_targets_stay_in_their_own(tmp_path):
    frame = _csv(tmp_path, rows=100)
    module = _module(tmp_path, train_fraction=0.7, validation_fraction=0.1)
    module.setup()
    first_target = {"train": 6, "validation": 70, "test": 80}
    end = {"train": 70, "validation": 80, "test": 100}
    data = {"train": module.train_data, "validation": module.validation_data, "test": module.test_data}
    for part, windows in data.items():
        targets = [range(s + 6, s + 9) for s in windows.starts.tolist()]
        assert targets[0].start == first_target[part]
        assert targets[-1].stop == end[part]
        assert len(targets) == end[part] - first_target[part] - 2
    train = frame[["load", "heat"]].to_numpy()[:70]
    np.testing.assert_allclose(module.facts.mean, train.mean(0))
    np.testing.assert_allclose(module.facts.std, train.std(0))
    assert module.facts.frequency == "h"


def test_a_test_file_leaves_the_rows_behind_training_for_validation(tmp_path):
    frame = _csv(tmp_path, rows=100)
    other = frame.assign(load=frame["load"] + 1000).iloc[:40]
    other.to_csv(tmp_path / "other.csv", index=False)
    module = _module(tmp_path, train_fraction=0.7, validation_fraction=0.1, test_file="other.csv")
    module.setup()
    # Targets of 3 rows: validation's begin at row 70 and end with the file, the test's with its own.
    assert module.validation_data.starts.tolist() == list(range(64, 92))
    assert module.test_data.starts.tolist() == list(range(32))
    mean, std = np.array(module.facts.mean), np.array(module.facts.std)
    np.testing.assert_allclose(mean, frame[["load", "heat"]].to_numpy()[:70].mean(0))
    scaled = (other[["load", "heat"]].to_numpy() - mean) / std
    np.testing.assert_allclose(module.test_data.values, scaled, rtol=1e-5)


def test_stride_thins_training_windows_only(tmp_path):
    _csv(tmp_path, rows=100)
    module = _module(tmp_path, stride=4)
    module.setup()
    assert module.train_data.starts.tolist() == list(range(0, 62, 4))
    assert module.test_data.starts.diff().unique().tolist() == [1]


@given(
    lookback=st.integers(1, 7),
    horizon=st.integers(1, 5),
    columns=st.integers(1, 3),
    data=st.data(),
)
def test_windows_equal_naive_slices(lookback, horizon, columns, data):
    rows = lookback + horizon + data.draw(st.integers(0, 8))
    values = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns)
    starts = torch.arange(rows - lookback - horizon + 1)
    targets = data.draw(st.permutations(range(columns)))[:2]
    indices = data.draw(st.lists(st.integers(0, len(starts) - 1), min_size=1, max_size=4))
    batch = Windows(values, starts, targets, lookback, horizon)[indices]
    for row, i in enumerate(indices):
        assert torch.equal(batch.inputs[row], values[i : i + lookback])
        assert torch.equal(batch.targets[row], values[i + lookback : i + lookback + horizon][:, targets])


def test_unscale_undoes_the_scaler(tmp_path):
    frame = _csv(tmp_path)
    module = _module(tmp_path, targets=["heat"])
    module.setup()
    batch = module.test_data[[0]]
    start = int(module.test_data.starts[0]) + 6
    assert batch.targets.shape == (1, 3, 1)
    np.testing.assert_allclose(
        module.facts.unscaled(batch.targets)[0, :, 0], frame["heat"][start : start + 3], rtol=1e-5
    )


def test_max_rows_gives_the_usual_split_of_ett(tmp_path):
    _csv(tmp_path, rows=200)
    module = _module(tmp_path, max_rows=100)
    module.setup()
    assert module.describe()["rows"] == 100


def test_prediction_takes_the_last_rows_and_continues_their_times(tmp_path):
    frame = _csv(tmp_path, rows=120, frequency="MS")
    module = _module(tmp_path, targets="heat")
    module.setup()
    given = SeriesWindows.read_input(tmp_path / "a.csv", module.facts)
    batch, times = given.batch, given.columns[module.facts.time_column]
    assert (batch.inputs.shape, batch.targets.shape) == ((1, 6, 2), (1, 3, 1))
    assert batch.targets.isnan().all()
    expected = (frame["load"].to_numpy()[-6:] - module.facts.mean[0]) / module.facts.std[0]
    np.testing.assert_allclose(batch.inputs[0, :, 0].numpy(), expected, rtol=1e-5)
    assert times == ["2034-01-01", "2034-02-01", "2034-03-01"]


@pytest.mark.parametrize(
    ("times", "frequency", "expected"),
    [
        (pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"]), None, ["2024-04-01", "2024-05-01"]),
        (pd.to_datetime(["2024-01-31"]), "ME", ["2024-02-29", "2024-03-31"]),
        # Five days of one week look daily; training knew that they are business days.
        (pd.date_range("2024-01-01", "2024-01-05"), "B", ["2024-01-08", "2024-01-09"]),
        (pd.date_range("2024-01-01", "2024-01-05"), None, ["2024-01-06", "2024-01-07"]),
        (pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-08"]), None, ["2024-01-09"]),
        (pd.Index([1998, 1999, 2000]), None, [2001, 2002]),
        (pd.Index([0.5, 1.0]), None, [1.5, 2.0]),
    ],
)
def test_future_times(times, frequency, expected):
    future = future_times(times, len(expected), frequency)
    wanted = pd.to_datetime(expected) if isinstance(times, pd.DatetimeIndex) else pd.Index(expected)
    assert future.tolist() == wanted.tolist()
    assert future.dtype.kind == times.dtype.kind


def test_irregular_times_are_warned_about_and_still_used(tmp_path, caplog):
    frame = _csv(tmp_path)
    frame.drop(index=[3, 50]).to_csv(tmp_path / "a.csv", index=False)
    module = _module(tmp_path)
    with caplog.at_level(logging.WARNING):
        module.setup()
        module.setup()
    assert module.facts.frequency is None
    assert caplog.text.count("irregular") == 1


def test_facts_choose_columns_lookback_and_scaler(tmp_path):
    _csv(tmp_path)
    module = _module(tmp_path, targets=["heat"])
    module.setup()
    again = _module(tmp_path, columns=None, lookback=50, horizon=20)
    again.facts = dataclasses.replace(module.facts, mean=(0.0, 0.0), std=(1.0, 1.0))
    again.setup()
    batch = again.test_data[[0]]
    assert (batch.inputs.shape, batch.targets.shape) == ((1, 6, 2), (1, 3, 1))
    assert batch.inputs.mean() > 2  # unscaled values lie around 5


GOOD = "2024-01-0{},1,2\n"
CSV_MISTAKES = {
    "time column": ("Time,x\n1,2\n", {}, [":1", "'time'", "did you mean 'Time'", "data.time_column"]),
    "column": (
        "time,load\n1,2\n",
        {"columns": ["lod"]},
        [":1", "'lod'", "did you mean 'load'", "data.columns"],
    ),
    "time as input": ("time,x\n1,2\n", {"columns": ["time"]}, ["data.columns", "'time'"]),
    "word": ("time,x\n1,2\n2,3\n3,abc\n4,5\n", {}, [":4", "'x'", "'abc'", "correct it"]),
    "missing": ("time,x\n1,2\n2,\n3,nan\n4,5\n5,6\n", {}, [":3", "'x'", "2 missing", "fill them in"]),
    "infinite": ("time,x\n1,2\n2,inf\n3,4\n", {}, [":3", "'inf'", "finite"]),
    "backwards": ("time,x\n1,2\n3,3\n2,4\n", {}, [":4", "'2'", "after '3'", "sort"]),
    "twice": ("time,x\n2024-01-01,2\n\n2024-01-01,3\n", {}, [":4", "'2024-01-01'", "twice"]),
    "no time": ("time,x\n2024-01-01,2\nsoon,3\n2024-01-03,4\n", {}, [":3", "'soon'", "not a time"]),
    "text only": ("time,x\n1,a\n2,b\n", {}, ["no numeric column", "x"]),
    "empty": ("", {}, ["empty"]),
    "header only": ("time,x\n", {}, ["no row"]),
    "semicolons": ("time;x\n1;2\n", {}, [":1", "data.separator=semicolon"]),
    "long row": ("time,x\n1,2\n2,3,4\n", {}, [":3", "3 cells"]),
    "long rows": ("time,x\n1,2,3\n2,3,4\n", {}, [":2", "cells"]),
    "bytes": (b"time,x\n1,\xff\n", {}, [":2", "0xff", "offset 9", "UTF-8"]),
    "short": ("time,x\n1,2\n2,3\n", {}, ["data.lookback=6", "data.horizon=3", "rows 0 to 1 of 2"]),
    "target": ("time,x\n1,2\n2,3\n", {"targets": ["y"]}, ["data.targets", "'y'", "x"]),
}


@pytest.mark.parametrize(("content", "settings", "bits"), CSV_MISTAKES.values(), ids=CSV_MISTAKES)
def test_mistakes_in_csv_files_are_named(tmp_path, content, settings, bits):
    (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    module = _module(tmp_path, **{"columns": None, **settings})
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        module.setup()
    message = str(caught.value)
    assert "\n" not in message
    for bit in ([] if "data.t" in bits[0] or "data.c" in bits[0] else ["a.csv"]) + bits:
        assert bit in message, message


def test_dataset_columns_and_short_prediction_files_are_reported(tmp_path):
    with pytest.raises(ValueError, match=r"no column 'sunspot'.*did you mean 'sunspots'"):
        SeriesWindows(dataset="sunspots_monthly", columns=["sunspot"]).setup()
    _csv(tmp_path)
    module = _module(tmp_path)
    module.setup()
    _csv(tmp_path, rows=5, name="short.csv")
    with pytest.raises(ValueError, match=r"short.csv: 5 rows, but the model needs 6 \(its lookback\)"):
        SeriesWindows.read_input(tmp_path / "short.csv", module.facts)
