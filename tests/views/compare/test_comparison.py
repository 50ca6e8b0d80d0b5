"""What a comparison shows of its runs: settings that differ, curves, the table and the page's data."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import zlib
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.runs.collection import Found, Place
from gatewise.runs.record import Record, Table, read_record
from gatewise.views.compare.columns import ABSENT, differing, shared
from gatewise.views.compare.curves import pack
from gatewise.views.compare.page import page
from gatewise.views.compare.payload import payload
from gatewise.views.compare.table import as_csv, print_runs, table_rows
from gatewise.views.offline.document import to_json
from made_runs import made_run


def read(*folders):
    return [(Place(folder), read_record(folder)) for folder in folders]


def test_settings_that_differ_each_once(tmp_path):
    runs = read(
        made_run(tmp_path / "a", {"seed": 1}),
        made_run(tmp_path / "b", {"seed": 2, "trainer.gradient_clip_val": 1.0}, model="gru"),
        made_run(
            tmp_path / "c",
            {"seed": 3, "optimizer.lr": 0.01, "paths.runs_dir": "/elsewhere", "model.extra": 1},
        ),
    )
    columns = {column.key: column for column in differing([record for _, record in runs])}
    new = [key for key, column in columns.items() if not column.says_nothing_new]
    assert new == ["model", "seed", "optimizer.lr"]  # another setting differs between the same runs
    assert columns["model"].values == ("lstm", "gru", "lstm")
    assert columns["data.seed"].says_nothing_new
    assert columns["model.cell._target_"].says_nothing_new
    assert columns["model.extra"].values == (ABSENT, ABSENT, 1)
    # null is no number, and does not make text of the others.
    assert columns["trainer.gradient_clip_val"].values == (None, 1.0, None)
    assert columns["trainer.gradient_clip_val"].is_number
    assert not any(key.startswith("paths.") for key in columns)
    assert shared([record for _, record in runs])["trainer.max_epochs"] == 3


def unpacked(packed):
    """The curves as the page's script reads them: by run and metric, (steps, epochs, values)."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(packed.data)), np.uint8)
    points = sum(source.points for source in packed.sources)
    values = sum(source.points * len(source.metrics) for source in packed.sources)
    at = 0

    def words(count, planes, lowest):
        nonlocal at
        found = np.zeros((count, 4), np.uint8)
        for plane in range(planes):
            found[:, lowest + plane] = content[at : at + count]
            at += count
        return found.tobytes()

    steps, epochs, times = (np.frombuffer(words(points, 4, 0), "<i4") for _ in range(3))
    floats = np.frombuffer(words(values, 3, 1), "<f4")
    assert at == len(content)
    curves, point, value = {}, 0, 0
    for source in packed.sources:
        mine = slice(point, point + source.points)
        x = np.cumsum(steps[mine]), np.cumsum(epochs[mine]) / 1000, np.cumsum(times[mine]) / 1000
        point += source.points
        for metric in source.metrics:
            curves[source.run, packed.metrics[metric]] = (*x, floats[value : value + source.points])
            value += source.points
    return curves


def record_of(columns, validations=None):
    def table(of):
        return Table({name: array("d", map(float, column)) for name, column in of.items()})

    return Record(Path("/x"), "x", "done", epochs=table(columns), validations=table(validations or {}))


def test_curves_come_out_as_they_went_in():
    records = [
        record_of(
            {
                "epoch": [1, 2, 3],
                "step": [10, 20, 31],
                "val/loss": [1.5, math.nan, 1e-7],
                "lr": [0.1, 0.1, 0.1],
            }
        ),
        record_of({}),
        record_of(
            {"epoch": [1], "step": [100], "train/loss": [3.0], "val/loss": [2.0]},
            {"epochs": [0.25, 0.5, 1], "step": [25, 50, 100], "val/loss": [5.0, math.inf, 2.0]},
        ),
    ]
    records[0].times = Table({"epoch": array("d", [1, 2, 3]), "seconds": array("d", [0.5, 1.25, 1.75])})
    packed = pack(records)
    assert packed.metrics == ["val/loss", "train/loss", "lr"]
    assert not packed.sampled
    curves = unpacked(packed)
    assert set(curves) == {(0, "val/loss"), (0, "lr"), (2, "train/loss"), (2, "val/loss")}
    steps, epochs, seconds, values = curves[0, "val/loss"]
    assert list(steps) == [10, 20, 31]
    assert list(epochs) == [1, 2, 3]
    assert list(seconds) == [0.5, 1.25, 1.75]
    assert values[[0, 2]] == pytest.approx([1.5, 1e-7], rel=2**-16)
    assert math.isnan(values[1])
    steps, epochs, _, values = curves[2, "val/loss"]  # of the table with more points
    assert list(epochs) == [0.25, 0.5, 1]
    assert math.isnan(values[1])  # what cannot be drawn is a gap


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan)), min_size=1, max_size=300),
    st.integers(4, 60),
)
def test_a_spike_never_disappears(values, most):
    from unittest.mock import patch

    with patch("gatewise.views.compare.curves._most_points", lambda _: most):
        packed = pack([record_of({"epoch": range(1, len(values) + 1), "val/loss": values})])
    _, epochs, _, found = unpacked(packed)[0, "val/loss"]
    assert len(found) <= max(most, len(values) if len(values) <= most else 0)
    assert (np.diff(epochs) >= 0).all()
    assert (epochs[0], epochs[-1]) == (1, len(values))
    measured = [value for value in values if not math.isnan(value)]
    assert np.isnan(found).all() == (not measured)
    if measured:
        assert np.nanmin(found) == pytest.approx(min(measured), rel=2**-16, abs=1e-30)
        assert np.nanmax(found) == pytest.approx(max(measured), rel=2**-16, abs=1e-30)


def test_the_many_metrics_of_gates_come_last():
    names = ["inspect/mean/f/layer0", "lr", "val/loss", "inspect/kept/c/layer0", "train/loss"]
    packed = pack([record_of({"epoch": [1, 2], **{name: [1.0, 2.0] for name in names}})])
    assert packed.metrics == ["val/loss", "train/loss", "lr", names[3], names[0]]


def test_a_sampled_curve_keeps_its_order():
    values = [1.0, 5.0, 2.0, 2.0, -3.0, 2.0, 2.0, 2.0]
    from unittest.mock import patch

    with patch("gatewise.views.compare.curves._most_points", lambda _: 6):
        _, epochs, _, found = unpacked(pack([record_of({"epoch": range(1, 9), "val/loss": values})]))[
            0, "val/loss"
        ]
    assert list(found) == [1.0, 5.0, 2.0, -3.0, 2.0, 2.0]
    assert list(epochs) == [1, 2, 4, 5, 7, 8]


def test_the_csv_file(tmp_path):
    runs = read(
        made_run(tmp_path / "a", {"name": "=cmd()", "trainer.gradient_clip_val": 0.5}),
        made_run(tmp_path / "b", state="failed", reason="ValueError: no, not so", model="gru"),
    )
    columns = differing([record for _, record in runs])
    rows = list(csv.DictReader(io.StringIO(as_csv(table_rows(runs, columns), columns))))
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert rows[0]["run"] == "'=cmd()/a"
    assert [row["model"] for row in rows] == ["lstm", "gru"]
    assert [row["trainer.gradient_clip_val"] for row in rows] == ["0.5", "null"]
    assert [row["best"] for row in rows] == ["0.5", "0.5"]
    assert [row["best_epoch"] for row in rows] == ["2", "2"]
    assert [row["test.accuracy"] for row in rows] == ["0.9", ""]
    assert rows[0]["baseline.majority class.accuracy"] == "0.2"
    assert rows[1]["reason"] == "ValueError: no, not so"


def test_the_table_on_the_screen(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    runs = read(
        made_run(tmp_path / "worse", losses=(0.9, 0.8)),
        made_run(tmp_path / "better", {"optimizer.lr": 0.01}, losses=(0.9, 0.1)),
        made_run(tmp_path / "[red]none[b]", state="failed", reason="out of memory", losses=()),
    )
    columns = differing([record for _, record in runs])
    print_runs(runs, columns)
    text = capsys.readouterr().out
    assert text.index("better") < text.index("worse") < text.index("[red]none[b]")
    assert "best val/loss" in text
    assert "lr" in text
    assert "failed: [red]none[b]: out of memory" in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_narrow_screen_shows_settings_first(tmp_path, capsys, monkeypatch):
    names = [f"2026-11-26_10-00-0{i}_abc{i}" for i in range(2)]
    runs = read(*(made_run(tmp_path / name, {"optimizer.lr": 0.1 * (i + 1)}) for i, name in enumerate(names)))
    columns = differing([record for _, record in runs])
    monkeypatch.setenv("COLUMNS", "52")
    print_runs(runs, columns)
    narrow = capsys.readouterr().out
    assert "…abc1" in narrow
    assert " lr " in narrow
    assert "seconds" not in narrow
    monkeypatch.setenv("COLUMNS", "120")
    print_runs(runs, columns)
    wide = capsys.readouterr().out
    assert names[1] in wide
    assert "seconds" in wide


def test_what_differs_is_kept_on_a_narrow_screen_and_cut_if_need_be(tmp_path, capsys, monkeypatch):
    runs = read(
        *(
            made_run(tmp_path / f"r{i}", {"model.kind": name, "data.folder": f"{name}/files", "seed": i})
            for i, name in enumerate(("lstm", "layer_normalised_lstm", "gru"))
        )
    )
    columns = differing([record for _, record in runs])
    columns = [replace(column, says_nothing_new=False) for column in columns]
    for width, wanted in (
        (120, ["kind", "folder", "seed", "epoch", "status"]),
        (70, ["kind", "folder", "seed"]),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        print_runs(runs, columns)
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= width
        assert [name for name in wanted if f" {name} " not in text] == []
    assert "layer_no" in text
    assert "…" in text
    assert "epoch" not in text
    monkeypatch.setenv("COLUMNS", "20")
    print_runs(runs, columns)
    assert "r1" in capsys.readouterr().out


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u2028\u2029\u202e&amp;\"'`",
    "\x1b[31mred\x07",
    "🧠" * 5,
    "x" * 10_000,
]


def test_nothing_in_a_page_ends_its_script(tmp_path):
    runs = read(
        *(made_run(tmp_path / str(i), {"task.note": text, "name": "a"}) for i, text in enumerate(HOSTILE))
    )
    html = page(payload(runs, Found([place for place, _ in runs]), HOSTILE[0]))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    assert not set(data) & set("<>&\u2028\u2029")
    values = json.loads(data)
    note = next(column for column in values["columns"] if column["key"] == "task.note")
    assert [note["values"][place] for place in note["places"]] == HOSTILE
    assert values["title"] == HOSTILE[0]
    assert "<script>alert" not in html
    assert html.count("</script>") == 3


def test_json_of_the_page_is_json():
    values = {"a": math.nan, "b": [math.inf, 0.1234567891], "c": "\ud800", 3: None}
    assert json.loads(to_json(values)) == {"a": None, "b": [None, 0.1234567891], "c": "?", "3": None}


def test_code_and_reports_have_their_room(tmp_path, monkeypatch):
    folders = [made_run(tmp_path / str(i)) for i in range(4)]
    for i, folder in enumerate(folders):
        (folder / "code.diff").write_text(f"commit {i % 2:040x} and changes of /x\n\n+line\n")
        (folder / "test_report.json").write_text(json.dumps({"long": "y" * 400}))
    monkeypatch.setattr("gatewise.views.compare.payload.ALL_REPORTS", 900)
    runs = read(*folders)
    values = payload(runs, Found([place for place, _ in runs]), "x")
    assert len(values["codes"]) == 2
    assert values["codeOfRun"] == [0, 1, 0, 1]
    assert [list(report) for report in values["reports"]] == [["long"], ["long"], ["problem"], ["problem"]]
    assert values["runs"][1]["commit"] == f"{1:040x}+changes"
