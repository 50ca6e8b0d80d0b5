"""Several processes of one training."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pandas as pd
import pytest
from workplace import Place, finish, processes_naming, read_json, test_metrics, wait_for_line, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

SHORT = ["wandb.mode=disabled", "trainer.max_epochs=2"]
# Sizes that two cannot share equally: every step has shares of its own, and so has every split's end.
EXPERIMENTS = [
    # 216 to train on, in batches of 14 and 13, three or two to a step; 370 to test on, the last as 10 and 9.
    pytest.param(
        "speech/japanese_vowels", ["data.batch_size=27", "trainer.accumulate_grad_batches=3"], id="speech"
    ),
    pytest.param(
        "series/sunspots",
        [
            *("data.max_rows=1500", "data.batch_size=63", "task.dropout=0", "model.state_dropout=0"),
            "task.output=quantiles",
        ],
        id="series",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "text/king_james",
        ["data.max_tokens=8000", "data.validation_fraction=0.003", "data.test_fraction=0.003", "threads=1"],
        id="text",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("experiment", "settings"), EXPERIMENTS)
def test_two_processes_do_what_one_does(tmp_path: Path, experiment: str, settings: list[str]) -> None:
    argv = ["train", f"experiment={experiment}", *SHORT, *settings]
    place = Place(tmp_path / "two")
    process = place.start(*argv, "trainer=ddp_cpu")
    out = finish(process)
    assert process.returncode == 0, out
    run = place.last()
    assert place.runs() == [run.folder]
    assert run.state() == "done"
    # What each prints appears once: a line for the epoch, or for each of its validations.
    lines = [line for line in out.splitlines() if "epoch 1/2" in line]
    assert lines
    assert len(set(lines)) == len(lines)
    assert out.count("Run directory") == 1
    assert processes_naming(str(run.folder)) == []

    one = Place(tmp_path / "one").train(*argv[1:])
    rows, expected = read_metrics(run.metrics_file), read_metrics(one.metrics_file)
    assert len(rows) == 2
    # A perplexity is exp of the loss, and so off by more than that.
    close = 1e-4 if experiment.startswith("text") else 1e-5
    for row, other in zip(rows, expected, strict=True):
        assert row == {name: pytest.approx(value, abs=1e-5, rel=close) for name, value in other.items()}
    scores, others = test_metrics(run), test_metrics(one)
    assert scores["test"] == pytest.approx(others["test"], abs=1e-5, rel=close)
    for name, baseline in others["baselines"].items():
        assert scores["baselines"][name] == pytest.approx(baseline, rel=1e-5)
    tables = sorted(path.name for path in one.tables.glob("*.csv"))
    assert sorted(path.name for path in run.tables.glob("*.csv")) == tables
    for name in tables:
        read, other = pd.read_csv(run.tables / name), pd.read_csv(one.tables / name)
        pd.testing.assert_frame_equal(read, other, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_an_error_in_training_ends_every_process(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    process = place.start("train", *SHORT, "trainer=ddp_cpu", "data.batch_size=1")
    out = finish(process)
    assert process.returncode == 1
    assert "data.batch_size=1 is shared by 2 processes: make it at least 2" in out
    assert place.last().state() == "failed"
    assert processes_naming(str(place.folder)) == []


@pytest.mark.slow
def test_a_sweep_of_trainings_in_two_processes_has_one_directory_each(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    process = place.start("train", "-m", *SHORT, "trainer=ddp_cpu", "model=lstm,rnn")
    out = finish(process)
    assert process.returncode == 0, out
    runs = [Run(folder) for folder in place.runs()]
    assert sorted(run.choices()["model"] or "" for run in runs) == ["lstm", "rnn"]
    assert {run.state() for run in runs} == {"done"}
    assert processes_naming(str(place.folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize("with_what", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_training_leaves_no_process_behind(tmp_path: Path, with_what: signal.Signals) -> None:
    place = Place(tmp_path / "work")
    process = place.start("train", "wandb.mode=disabled", "trainer=ddp_cpu", "trainer.max_epochs=300")
    try:
        wait_for_line(process, "epoch 2/")
        process.send_signal(with_what)
        finish(process)
        assert process.returncode == (130 if with_what == signal.SIGINT else -with_what)
        run = place.last()
        wait_until(lambda: not processes_naming(str(run.folder)))
        assert run.state() == "interrupted"
        assert read_json(run.folder / "facts.json")["kind"] == "features"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # And goes on in two processes.
    epochs = len(read_metrics(run.metrics_file))
    again = place.start("train", "resume=last", f"trainer.max_epochs={epochs + 2}")
    out = finish(again)
    assert again.returncode == 0, out
    assert (run.state(), len(read_metrics(run.metrics_file))) == ("done", epochs + 2)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu"])
def test_a_pruned_training_is_stopped_in_all_its_processes(place: Place, trainer: str) -> None:
    argv = ["train", "-m", "wandb.mode=disabled", f"trainer={trainer}", "trainer.max_epochs=40"]
    argv += ["trainer.limit_train_batches=2", "callbacks.early_stopping.patience=40", "model.hidden_size=4"]
    argv += ["optimizer.lr=0.01,0.0001", "sweep.lag=1", "+sweep.pruner.n_startup_trials=1"]
    process = place.start(*argv, "+sweep.pruner._target_=optuna.pruners.MedianPruner")
    out = finish(process)
    assert process.returncode == 0, out
    done, pruned = (Run(folder) for folder in sorted(place.runs(), key=lambda path: path.stat().st_ctime))
    assert (done.state(), pruned.state()) == ("done", "pruned")
    assert done.summary()["processes"] == (2 if trainer == "ddp_cpu" else 1)
    rows = read_metrics(pruned.metrics_file)
    # The median of one trial is its best so far.
    best = min(row["val/loss"] for row in read_metrics(done.metrics_file)[: len(rows)])
    assert len(rows) < 40
    assert min(row["val/loss"] for row in rows) > best
    assert pruned.reason() == (
        f"worse than earlier trials after epoch {len(rows)}: val/loss {rows[-1]['val/loss']:.4g}"
    )
    assert pruned.summary()["test"] == {}
    assert processes_naming(str(place.folder)) == []
