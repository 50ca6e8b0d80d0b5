"""Many runs read without torch and OmegaConf, whatever state they are in."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from gatewise.runs.collection import find, read_all
from gatewise.runs.metrics import read_metrics
from gatewise.runs.record import read_columns, read_record
from gatewise.runs.settings_file import read_settings
from made_runs import made_run


def test_reading_runs_imports_nothing_heavy(tmp_path):
    made_run(tmp_path / "runs" / "a" / "1")
    code = (
        "import sys; from pathlib import Path; from gatewise.runs.collection import find, read_all; "
        f"runs = list(read_all(find([], Path({str(tmp_path / 'runs')!r}), Path('/nowhere')).places)); "
        "assert runs[0][1].state == 'done'; "
        "print({'torch', 'pytorch_lightning', 'omegaconf', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_finished_run(tmp_path):
    record = read_record(made_run(tmp_path / "2026-11-26_10-00-00_abc", {"optimizer.lr": 1e-05}))
    assert (record.state, record.reason, record.problems) == ("done", None, [])
    assert record.settings["optimizer.lr"] == 1e-05
    assert record.settings["optimizer.betas"] == [0.9, 0.999]
    assert record.choices == {"model": "lstm", "task": "classification"}
    assert record.best["val/loss"] == 0.5
    assert record.best["epoch"] == 2
    assert record.test == {"accuracy": 0.9, "loss": 0.5}
    assert record.baselines == {"majority class": {"accuracy": 0.2}}
    assert (record.seconds, record.parameters, record.processes) == (12.5, 1000, 1)
    assert list(record.epochs.columns["val/loss"]) == [0.9, 0.5, 0.6]


def test_the_engine_that_ran_where_the_run_says_it(tmp_path):
    ran = made_run(tmp_path / "a", {"model.engine": "auto"}, summary={"engine": "native+torch"})
    old = made_run(tmp_path / "b", {"model.engine": "auto"})
    odd = made_run(tmp_path / "c", {"model.engine": "loop"}, summary={"engine": ["native"]})
    assert [read_record(folder).engine for folder in (ran, old, odd)] == ["native+torch", "auto", "loop"]


def test_the_best_epoch_of_a_run_that_goes_on_or_failed(tmp_path):
    record = read_record(made_run(tmp_path / "a", state="failed", reason="ValueError: nan\nin epoch 3"))
    assert (record.state, record.reason) == ("failed", "ValueError: nan\\nin epoch 3")
    assert (record.best["epoch"], record.final["epoch"]) == (2, 3)
    highest = made_run(tmp_path / "b", {"task.mode": "max"}, state="failed")
    assert read_record(highest).best["epoch"] == 1
    # Nobody holds it: it was killed.
    assert read_record(made_run(tmp_path / "c", state="running")).state == "interrupted"


def test_settings_are_those_that_omegaconf_reads(tmp_path):
    text = (
        "a: 1e-3\nb: 1.0e-05\nc: 2020-01-01\nd: '1'\ne: null\nf: {}\ng: [1, [2, x]]\nh: true\ni: .nan\n"
        "j: -.inf\nk: 1_000\nl: 0x10\nm: 5e2\nn: on\no: ~\np: {q: {r: text}}\ns: 12:30:45\nt: ''\n"
    )
    (tmp_path / "config.yaml").write_text(text)
    found = read_settings(tmp_path / "config.yaml")
    expected = OmegaConf.to_container(OmegaConf.create(text))
    expected["p.q.r"] = expected.pop("p")["q"]["r"]
    assert math.isnan(found.pop("i"))
    assert math.isnan(expected.pop("i"))
    assert found == expected
    assert [type(v) for v in found.values()] == [type(expected[k]) for k in found]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "config.yaml:2: not YAML"),
        ("- a\n- b\n", "must hold settings"),
        ("a: !!python/object/apply:os.system [ls]\n", "config.yaml"),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\n"
            + "".join(f"c{i}: &c{i} [{'*b, ' * 50}]\nb: &b [{f'*c{i}, ' * 50}]\n" for i in range(4)),
            "values",
        ),
        ("[" * 200, "nested more than"),
    ],
)
def test_a_damaged_config_is_a_broken_run(tmp_path, text, message):
    folder = made_run(tmp_path / "a")
    (folder / "config.yaml").write_text(text)
    record = read_record(folder)
    assert record.state == "broken"
    assert message in record.reason
    assert record.epochs.rows == 3  # what can be read is shown


def test_damaged_files_are_named_and_hide_nothing_else(tmp_path):
    folder = made_run(tmp_path / "a")
    (folder / "metrics.csv").write_text("epoch,step,val/loss\n1,10,0.5\n2,20,zero\n")
    (folder / "summary.json").write_text('{"best": ')
    record = read_record(folder)
    assert record.state == "done"
    assert any("metrics.csv:3: a cell is not a number" in line for line in record.problems)
    assert any("summary.json" in line for line in record.problems)
    (folder / "status.json").write_bytes(b"\xff\xfe")
    assert read_record(folder).state == "broken"
    (folder / "metrics.csv").unlink()
    os.mkfifo(folder / "metrics.csv")  # it is not waited for
    assert any("FIFO" in line for line in read_record(folder).problems)


def test_numbers_that_are_none(tmp_path):
    summary = {"best": {"epoch": 1, "val/loss": True}, "test": {"loss": "0.5", "f1": None}, "parameters": [3]}
    record = read_record(made_run(tmp_path / "a", summary=summary))
    assert record.best == {"epoch": 1.0}
    assert record.test == {}
    assert record.parameters is None


def test_columns_are_the_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/loss,lr\n1,10,,0.1\n2,20,nan,\n3,,inf,0.3\n")
    columns, rows = read_columns(path).columns, read_metrics(path)
    for name, column in columns.items():
        for value, row in zip(column, rows, strict=True):
            expected = row.get(name, math.nan)
            assert value == expected or (math.isnan(value) and math.isnan(expected))
    path.write_text("epoch,step\n0,5\n1,9\n")
    assert list(read_columns(path).columns["epoch"]) == [1, 2]
    assert read_columns(tmp_path / "none.csv").rows == 0
    for text, message in (
        ("step\n1\n", "no column epoch"),
        ("epoch,step\n,3\n", "no epoch"),
        ("epoch,a\n1\n2,3\n", ""),
    ):
        path.write_text(text)
        if message:
            with pytest.raises(ValueError, match=message):
                read_columns(path)
        else:
            assert read_columns(path).rows == 2


def made_tree(tmp_path):
    runs = tmp_path / "runs"
    made_run(runs / "speech" / "1")
    made_run(runs / "speech" / "deep" / "2")
    made_run(runs / ".hidden" / "3")
    (runs / "last").symlink_to(runs / "speech" / "1")
    other = runs / "other"
    other.mkdir()
    (other / "config.yaml").write_text("theirs: 1\n")
    return runs


def test_runs_below_a_folder(tmp_path):
    runs = made_tree(tmp_path)
    found = find([], runs, tmp_path / "sweeps")
    records = {record.id: record for _, record in read_all(found.places)}
    assert sorted(records) == ["1", "2", "other"]
    assert records["other"].reason == "not a run of Gatewise: its config.yaml is another program's"
    (runs / "speech" / "1" / "status.json").unlink()
    (_, record), *_ = read_all(find([str(runs / "speech" / "1")], runs, tmp_path).places)
    assert record.state == "broken"
    assert "copied in part" in record.reason


def test_a_folder_without_a_run_is_said(tmp_path):
    runs = tmp_path / "runs"
    made_run(runs / "speech" / "1")
    (runs / "mlruns" / "0").mkdir(parents=True)
    (runs / "mlruns" / "0" / "meta.yaml").write_text("name: other\n")
    (runs / ".hidden").mkdir()
    (runs / "notes.txt").write_text("mine")
    assert find([], runs, tmp_path / "sweeps").problems == [f"{runs / 'mlruns'}: no run of Gatewise is in it"]


def test_runs_that_are_named(tmp_path, monkeypatch):
    runs = made_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [place.folder.name for place in find(["last"], runs, tmp_path).places] == ["1"]
    assert [place.folder.name for place in find(["runs/sp*"], runs, tmp_path).places] == ["1", "2"]
    twice = find(["runs/speech", "runs/speech/1"], runs, tmp_path)
    assert len(twice.places) == 2
    for reference, message in (
        ("runs/speach", "did you mean runs/speech"),
        ("runs/x*", "no folder has such a name"),
        ("runs/speech/1/metrics.csv", "is a file"),
    ):
        with pytest.raises(ValueError, match=message):
            find([reference], runs, tmp_path)
    with pytest.raises(ValueError, match="no run has been started"):
        find(["last"], tmp_path / "none", tmp_path)


def test_runs_of_a_sweep(tmp_path):
    runs = made_tree(tmp_path)
    sweep = tmp_path / "sweeps" / "speech" / "2026"
    sweep.mkdir(parents=True)
    (sweep / "sweep.yaml").write_text("name: speech\n")
    (sweep / "runs.csv").write_text(
        "trial,seed,state,run\n0,1,done,../../../runs/speech/1\n1,1,done,../../../runs/gone\n"
    )
    found = find([str(sweep)], runs, tmp_path / "sweeps")
    assert [(p.folder.name, p.sweep, p.trial) for p in found.places] == [("1", "speech/2026", 0)]
    assert "that was removed" in found.problems[0]
    assert [p.trial for p in find([str(tmp_path / "sweeps")], runs, tmp_path / "sweeps").places] == [0]
    all_of_them = find([], runs, tmp_path / "sweeps")
    assert {p.folder.name: p.trial for p in all_of_them.places} == {"1": 0, "2": None, "other": None}


def test_json_with_half_a_character(tmp_path):
    folder = made_run(tmp_path / "a")
    (folder / "summary.json").write_text(json.dumps({"name": "x"}) + " " * 10)
    assert read_record(folder).state == "done"
