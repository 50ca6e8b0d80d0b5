"""A training that was killed, stopped or finished, and taken up again."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from workplace import (
    PATIENCE,
    Place,
    finish,
    processes_naming,
    read_json,
    test_metrics,
    wait_for_line,
    wait_until,
)

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

DRAWS = ["model.num_layers=2", "model.dropout=0.1", "model.state_dropout=0.2", "model.input_dropout=0.1"]
# A patience of 0 lets the learning rate move within the few epochs.
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "task.dropout=0.2"]
SUNSPOTS = ["data.max_rows=2000", "data.stride=2"]
KING_JAMES = ["data.max_tokens=40000", "data.validation_fraction=0.003", "data.test_fraction=0.003"]

KILLED = [
    pytest.param("speech/japanese_vowels", [*DRAWS, *PLATEAU], id="speech"),
    pytest.param(
        "series/sunspots",
        [*DRAWS, *PLATEAU, *SUNSPOTS, "model=gru"],
        id="series",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "text/king_james",
        [*DRAWS, *KING_JAMES, "scheduler=cosine", "task.dropout=0.2", "threads=1", "model.hidden_size=32"],
        id="text",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "captions/scenes",
        [
            *("data.train_size=40", "data.validation_size=10", "data.test_size=10", "data.picture_size=24"),
            *(
                "task.encoder_sizes=[8,8]",
                "task.dropout=0.2",
                "task.hidden_dropout=0.2",
                "task.word_dropout=0.1",
            ),
        ],
        id="captions",
        marks=pytest.mark.slow,
    ),
]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test, whatever comes."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "settings"), KILLED)
def test_a_killed_training_resumed_is_the_unbroken_one(
    tmp_path: Path, started: list[subprocess.Popen[str]], experiment: str, settings: list[str]
) -> None:
    # W&B as by default: offline.
    argv = [
        "train",
        f"experiment={experiment}",
        "trainer.max_epochs=12",
        "trainer.limit_train_batches=4",
        "callbacks.early_stopping.patience=12",
        *settings,
    ]
    broken = Place(tmp_path / "broken")
    process = broken.start(*argv)
    started.append(process)
    wait_for_line(process, "epoch 3/")
    time.sleep(0.05)  # into the next epoch
    kill(process)

    run = broken.last()
    assert read_json(run.folder / "status.json")["state"] == "running"
    assert run.state() == "interrupted"
    before = read_metrics(run.metrics_file)
    assert 2 <= len(before) < 12
    # Whatever the moment was, the checkpoint is whole.
    assert 1 <= torch.load(run.checkpoint("last"), weights_only=True)["epoch"] <= len(before)

    broken.ok("train", "resume=last")
    whole = Place(tmp_path / "whole").train(*argv[1:])
    assert run.state() == "done"
    assert broken.runs() == [run.folder]
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    if whole.validations_file.exists():
        assert run.validations_file.read_bytes() == whole.validations_file.read_bytes()
    assert test_metrics(run) == test_metrics(whole)
    weights, expected = (
        torch.load(r.checkpoint("last"), weights_only=True)["state_dict"] for r in (run, whole)
    )
    assert all(torch.equal(weights[name], expected[name]) for name in expected)

    folders = sorted((run.folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert all(re.fullmatch(rf"offline-run-\d+_\d+-{run.id}", folder.name) for folder in folders)


HOLDING = """
import signal
from pathlib import Path
import pytorch_lightning as pl
class Holds(pl.Callback):
    # Within the first epoch there is all the time in the world to kill the process.
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if batch_idx == 2:
            Path("holds").touch()
            signal.pause()
"""


@pytest.mark.slow
def test_a_training_killed_before_its_first_checkpoint_starts_afresh_in_its_directory(
    tmp_path: Path, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["train", "wandb.mode=disabled", "trainer.max_epochs=2", "trainer.limit_train_batches=4"]
    place = Place(tmp_path / "broken")
    (place.folder / "holding.py").write_text(HOLDING)
    monkeypatch.syspath_prepend(place.folder)
    process = place.start(*argv, "+callbacks.mine._target_=holding.Holds")
    started.append(process)
    wait_until((place.folder / "holds").exists, process=process)
    kill(process)
    run = place.last()
    assert run.state() == "interrupted"
    assert list(run.checkpoints.iterdir()) == []
    result = place("evaluate", "run=last")
    assert result.code == 1
    assert "has no checkpoint 'best' (found: none)" in result.line()
    place.ok("train", "resume=last", "+callbacks.mine=null")
    whole = Place(tmp_path / "whole").train(*argv[1:])
    assert place.runs() == [run.folder]
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert test_metrics(run) == test_metrics(whole)


AFTER_THE_CHECKPOINT = """
from pytorch_lightning.callbacks import Checkpoint
class Dies(Checkpoint):
    # Lightning calls its kind last, in the order of the config.
    def on_train_epoch_end(self, trainer, task):
        if trainer.current_epoch == 1:
            raise RuntimeError("killed")
"""


@pytest.mark.slow
def test_a_training_that_ends_right_after_its_checkpoint_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "broken")
    (place.folder / "dying.py").write_text(AFTER_THE_CHECKPOINT)
    monkeypatch.syspath_prepend(place.folder)
    argv = ["trainer.max_epochs=3", "trainer.limit_train_batches=3", "test=false", "wandb.mode=disabled"]
    assert place("train", *argv, "+callbacks.mine._target_=dying.Dies").code == 1
    run = place.last()
    assert torch.load(run.checkpoint("last"), weights_only=True)["epoch"] == 1
    assert len(read_metrics(run.metrics_file)) == 2
    place.ok("train", "resume=last", "+callbacks.mine=null")
    whole = Place(tmp_path / "whole").train(*argv)
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_to_go_on_with(place: Place, started: list[subprocess.Popen[str]]) -> None:
    endless = ["trainer.max_epochs=500", "callbacks.early_stopping.patience=500"]
    process = place.start("train", "trainer.limit_train_batches=4", *endless)
    started.append(process)
    wait_for_line(process, "epoch 2/")
    process.send_signal(signal.SIGINT)
    rest = finish(process)
    assert process.returncode == 130
    run = place.last()
    status = read_json(run.folder / "status.json")
    assert (status["state"], status["reason"]) == ("interrupted", "stopped by the user")
    assert f"Go on with: python -m gatewise train resume=runs/speech/japanese_vowels/{run.id}" in rest
    assert rest.strip().endswith("gatewise: interrupted")
    assert "Traceback" not in rest
    assert torch.load(run.checkpoint("last"), weights_only=True)["epoch"] >= 0
    assert (run.plots / "learning_curves.png").is_file()
    # Nothing goes on behind the user's back.
    wait_until(lambda: not processes_naming(str(run.folder)))
    # As it stands it can be used.
    place.ok("evaluate", "run=last")
    epochs = len(read_metrics(run.metrics_file))
    place.ok("train", "resume=last", f"trainer.max_epochs={epochs + 1}", "wandb.mode=disabled")
    assert (run.state(), len(read_metrics(run.metrics_file))) == ("done", epochs + 1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("done") / "work")
    place.train("trainer.max_epochs=2", "trainer.limit_train_batches=3")
    return place


def files_of(run: Run) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.folder)): path.read_bytes()
        for path in run.folder.rglob("*")
        if path.is_file() and path.name != "config.yaml"
    }


@pytest.mark.parametrize("again", [[], ["trainer.max_epochs=2"], ["model=bilstm", "trainer=cpu"], ["seed=1"]])
def test_a_done_run_says_so(done: Place, again: list[str]) -> None:
    before = files_of(done.last())
    result = done("train", "resume=last", *again)
    assert result.code == 1
    assert result.line() == (
        f"gatewise: error: resume=runs/speech/japanese_vowels/{done.last().id} is done; "
        f"train on with trainer.max_epochs=..."
    )
    assert files_of(done.last()) == before
    assert len(done.runs()) == 1


@pytest.mark.slow
def test_a_job_started_again_after_its_end_is_content(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["train", "debug=one_batch", "test=false"]
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    place.ok(*argv)
    before = files_of(place.last())
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert "is done; train on with" in place.ok(*argv).out
    assert files_of(place.last()) == before
    assert len(place.runs()) == 1


@pytest.mark.parametrize(
    ("again", "line"),
    [
        (
            ["model=gru"],
            "model=gru: the run was started with model=bilstm, and only",
        ),
        (["optimizer.lr=0.5"], "optimizer.lr=0.5: the run was started with optimizer.lr=0.00"),
        (["data=sunspots"], "data=sunspots: the run was started with data=japanese_vowels"),
        (["experiment=series/sunspots"], "experiment=series/sunspots: the run was started with"),
        (["trainer.max_epochs=many"], "trainer.max_epochs must be a whole number of at least -1, got 'many'"),
        (["~callbacks.timer"], "~callbacks.timer: a resumed run takes plain settings"),
        (["trainer.max_epoch=9"], "was started without trainer.max_epoch; did you mean trainer.max_epochs?"),
    ],
)
def test_what_cannot_change_is_refused(done: Place, again: list[str], line: str) -> None:
    before = files_of(done.last())
    result = done("train", "resume=last", *again)
    assert result.code == 1
    assert line in result.line()
    assert files_of(done.last()) == before
    assert len(done.runs()) == 1


def test_it_is_about_the_runs_config_where_hydra_tells_all(
    done: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``hydra.verbose=true`` Hydra composes what it prints once more, from the words of a resume."""
    with caplog.at_level(logging.DEBUG, "hydra"):
        result = done("train", "resume=last", "trainer.max_epoch=9")
    assert "was started without trainer.max_epoch; did you mean trainer.max_epochs?" in result.err


def test_more_epochs_train_on(place: Place) -> None:
    short = ["trainer.limit_train_batches=3", "trainer.limit_test_batches=2", *PLATEAU]
    run = place.train("trainer.max_epochs=2", *short)
    two = read_metrics(run.metrics_file)
    place.ok("train", f"resume={run.folder}", "trainer.max_epochs=4")
    four = read_metrics(run.metrics_file)
    assert four[:2] == two
    assert [row["epoch"] for row in four] == [1, 2, 3, 4]
    assert run.config().trainer.max_epochs == 4
    assert run.summary()["final"] == four[-1]
    assert (
        place.train("trainer.max_epochs=4", *short).metrics_file.read_bytes() == run.metrics_file.read_bytes()
    )


@pytest.mark.slow
def test_an_early_stopped_run_is_done(place: Place) -> None:
    run = place.train(
        "trainer.max_epochs=50", "callbacks.early_stopping.patience=1", "optimizer.lr=0",
        "trainer.limit_train_batches=1", "test=false",
    )  # fmt: skip
    assert len(read_metrics(run.metrics_file)) < 5
    before = files_of(run)
    assert "is done; train on" in place("train", "resume=last").line()
    assert files_of(run) == before


def test_a_run_that_another_process_trains_is_left_alone(done: Place) -> None:
    with done.last().lock():
        result = done("train", "resume=last", "trainer.max_epochs=3")
    assert result.code == 1
    assert f"is being trained by process {os.getpid()} on " in result.line()


@pytest.mark.slow
def test_a_moved_run_is_resumed_and_knows_its_best(tmp_path: Path) -> None:
    place = Place(tmp_path / "here")
    # The highest loss is the best: that of the first epoch.
    short = ["trainer.limit_train_batches=3", "task.monitor=val/loss", "task.mode=max"]
    run = place.train("trainer.max_epochs=2", *short)
    best = run.checkpoint("best").read_bytes()
    run.folder.rename(tmp_path / "moved")
    other = Place(tmp_path / "there")
    other.ok("train", "resume=../moved", "trainer.max_epochs=3")
    moved = Run(tmp_path / "moved")
    rows = read_metrics(moved.metrics_file)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert moved.summary()["best"]["epoch"] == 1
    assert moved.checkpoint("best").read_bytes() == best
    assert moved.state() == "done"
    assert list(place.folder.glob("runs/speech/*/*")) == []
