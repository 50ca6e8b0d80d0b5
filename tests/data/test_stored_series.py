"""Tables read in blocks into files, against the same read into memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.series import SeriesWindows, stored
from gatewise.data.series.panel import Roles
from gatewise.data.series.style import Reading
from gatewise.data.series.table import read_table
from gatewise.tasks.forecast_baselines import NAMES


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 1)
    monkeypatch.setattr(stored, "BLOCK", 700)
    monkeypatch.setattr("gatewise.data.series.features.WHOLE", 90)
    for name in ("BLOCK", "WHOLE"):
        monkeypatch.setattr(f"gatewise.data.series.scaling.{name}", 90)


def table(rows=200, series=("a",), zone=None) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    times = pd.date_range("2024-02-20", periods=rows, freq="h", tz=zone)

    def one(name: str) -> pd.DataFrame:
        x, y, c = rng.normal(size=rows), rng.integers(0, 9, rows), rng.choice([*"pqr"], rows)
        return pd.DataFrame({"u": name, "t": times, "x": x, "y": y, "c": c})

    parts = [one(name) for name in series]
    return pd.concat(parts, ignore_index=True)


def both(path: Path, roles: Roles, may_miss: bool = False):
    found = stored.stored_table(path, roles, Reading(), may_miss, path.parent / "cache")
    return found, read_table(path, roles, Reading(), may_miss)


def assert_same(found, whole):
    (panel, time_format), (expected, expected_format) = found, whole
    assert time_format == expected_format
    assert panel.times.equals(expected.times)
    assert panel.times.name == expected.times.name
    np.testing.assert_array_equal(panel.values, expected.values)
    np.testing.assert_array_equal(panel.starts, expected.starts)
    np.testing.assert_array_equal(panel.lines, expected.lines)
    assert (panel.columns, panel.names) == (expected.columns, expected.names)
    assert {n: c.tolist() for n, c in panel.categories.items()} == {
        n: c.tolist() for n, c in expected.categories.items()
    }


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 90), count=st.integers(1, 4), missing=st.booleans(), ends=st.booleans())
def test_a_table_in_files_is_the_table_in_memory(tmp_path_factory, rows, count, missing, ends):
    path = tmp_path_factory.mktemp("stored", numbered=True) / "a.csv"
    frame = table(rows, [f"s{n}" for n in range(count)])
    if missing:
        frame.loc[rows // 2, "x"] = np.nan
    path.write_text(frame.to_csv(index=False).rstrip("\n") + "\n" * ends)
    roles = Roles("t", "u", ["y", "x"], ["c"])
    for _ in range(2):  # made, and found again
        assert_same(*both(path, roles, may_miss=True))


@pytest.mark.parametrize("zone", ["UTC", "+02:00", None])
def test_dates_have_their_offset(tmp_path, zone):
    table(60, zone=zone).drop(columns=["u", "c"]).to_csv(tmp_path / "a.csv", index=False)
    assert_same(*both(tmp_path / "a.csv", Roles("t")))


def test_a_training_from_files_has_the_batches_of_one_from_memory(tmp_path):
    table(400, ("a", "b")).to_csv(tmp_path / "a.csv", index=False)
    made = [
        SeriesWindows(
            file="a.csv", folders=[str(tmp_path)], time_column="t", series_column="u", columns=["x", "y"],
            targets=["y"], categories=["c"], calendar=["hour"], lookback=7, horizon=3, cache_dir=folder,
        )
        for folder in (tmp_path / "cache", None)
    ]  # fmt: skip
    for data in made:
        data.setup("fit")
    # Sums of blocks may differ in the last digit.
    for name in ("mean", "std"):
        np.testing.assert_allclose(*(getattr(data.facts, name) for data in made), rtol=1e-12)
    for part in ("train_data", "validation_data", "test_data"):
        first, second = (getattr(data, part) for data in made)
        assert len(first) == len(second)
        one, other = (windows[list(range(len(first)))] for windows in (first, second))
        for name in ("inputs", "targets", "future", "categories", "series"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6)
    # The windows are of a file without a name, which is gone when they are.
    assert f"{tmp_path}/cache/series/" in Path("/proc/self/maps").read_text().replace("#", "")
    assert [path.name for path in (tmp_path / "cache" / "series").iterdir() if path.is_file()] == [
        path.name for path in (tmp_path / "cache" / "series").glob(".*.lock")
    ]


MISTAKES = {
    "time": ({150: ("t", "soon")}, ":152: column 't': 'soon'"),
    "number": ({150: ("x", "inf")}, ":152: column 'x': 'inf'"),
    "twice": ({150: ("t", "2024-02-26 05:00:00")}, ":152: the time '2024-02-26 05:00:00' appears twice"),
    "missing": ({150: ("x", "")}, ":152: column 'x' has 1 missing"),
}


@pytest.mark.parametrize(("changes", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_the_line_of_the_file(tmp_path, changes, said):
    frame = table(200).drop(columns=["u", "c"]).astype(str)
    for row, (column, cell) in changes.items():
        frame.loc[row, column] = cell
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=said):
        stored.stored_table(tmp_path / "a.csv", Roles("t"), Reading(), False, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "series").iterdir() if path.is_dir()]


def test_what_is_not_plain_is_read_whole(tmp_path, caplog):
    frame = table(50, ("a", "b"))
    frame.sort_values("t").to_csv(tmp_path / "a.csv", index=False)
    roles = Roles("t", "u", ["x"])
    assert stored.stored_table(tmp_path / "a.csv", roles, Reading(), False, tmp_path) is None
    assert "a.csv: the rows of a series do not lie together, and so it is read into memory" in caplog.text
    (tmp_path / "a.csv").write_text('t,x\n2024-01-01,"1"\n2024-01-02,"2"\n')
    assert stored.stored_table(tmp_path / "a.csv", Roles("t"), Reading(), False, tmp_path) is None
    assert "without quotes, and so it is read into memory whole" in caplog.text


def test_without_a_folder_to_write_to_all_is_in_memory(tmp_path, caplog):
    table(60).drop(columns=["u", "c"]).to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "cache").write_text("no folder")
    data = SeriesWindows(
        file="a.csv",
        folders=[str(tmp_path)],
        time_column="t",
        lookback=7,
        horizon=3,
        cache_dir=tmp_path / "cache",
    )
    data.setup("fit")
    assert len(data.train_data) == 42 - 9
    assert "a.csv is read into memory whole" in caplog.text
    assert "the table is kept in memory" in caplog.text


def test_a_damaged_table_is_made_anew(tmp_path):
    table(60).drop(columns=["u", "c"]).to_csv(tmp_path / "a.csv", index=False)
    both(tmp_path / "a.csv", Roles("t"))
    (values,) = (tmp_path / "cache" / "series").glob("*/values")
    os.truncate(values, 100)
    assert_same(*both(tmp_path / "a.csv", Roles("t")))


WITHIN = """
import resource, sys, torch
from functools import partial
from gatewise.cells import GRU
from gatewise.data.series import SeriesWindows
from gatewise.nn import Recurrent
from gatewise.tasks.forecasting import Forecasting
from gatewise.training.tested import tested

def trained_on(file, folder):
    data = SeriesWindows(file=file, time_column="t", folders=[sys.argv[1]], cache_dir=folder)
    data.setup("fit")
    for batch in data.train_dataloader():
        assert torch.isfinite(batch.inputs).all()
        break
    return len(data.train_data)

def compared(file, folder):
    targets = [f"x{column}" for column in range(40) if column != 1]
    data = SeriesWindows(
        file=file, time_column="t", targets=targets, folders=[sys.argv[1]], cache_dir=folder,
        lookback=24, horizon=6, season=12, train_fraction=0.93, validation_fraction=0.02, batch_size=256,
    )
    data.setup()
    model = partial(Recurrent, hidden_size=4, cell=GRU(), engine="function")
    metrics = tested(Forecasting(model, data.facts), data, data.test_dataloader(), "cpu")
    return len([name for name in metrics if name.startswith("baseline/") and name.endswith("/mse")])

work = {"train": trained_on, "compare": compared}[sys.argv[3]]
work("small.csv", None)  # all is imported
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (int(sys.argv[4]) << 20),) * 2)
print(work("large.csv", sys.argv[2] or None))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A folder with 200 MB of text, whose 96 MB of numbers do not fit into 90 MB either."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    rows = [",".join(f"{value:.13f}" for value in row) for row in rng.normal(size=(2000, 40))]
    times = np.datetime_as_string(np.datetime64("2000-01-01T00:00") + np.arange(300_000).astype("m8[m]"))
    for name, count in (("small.csv", 2000), ("large.csv", len(times))):
        with (folder / name).open("w") as file:
            file.write("t," + ",".join(f"x{column}" for column in range(40)) + "\n")
            file.writelines(f"{times[row]},{rows[row % 2000]}\n" for row in range(count))
    assert (folder / "large.csv").stat().st_size > 190e6
    return folder


def within(folder: Path, cache: str, work: str, megabytes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHIN, str(folder), cache, work, str(megabytes)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_table_may_be_larger_than_memory(large):
    ran = [within(large, folder, "train", 90) for folder in (str(large / "cache"), "")]
    assert ran[0].returncode == 0, ran[0].stderr
    assert int(ran[0].stdout) == round(300_000 * 0.7) - 96 - 24 + 1
    assert "MemoryError" in ran[1].stderr or "memory" in ran[1].stderr


@pytest.mark.slow
def test_simple_forecasts_of_a_table_larger_than_memory(large):
    """All of them, of targets that lie apart in the table."""
    ran = within(large, str(large / "cache"), "compare", 130)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[-1]) == len(NAMES)
