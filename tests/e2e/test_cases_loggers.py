"""Cases that users reported of W&B and TensorBoard, each with the right value and its source."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path

import pytest
from wandb_server import serving
from workplace import Place, finish, write_sequences

from gatewise.cli import sync
from gatewise.runs.run import Run
from gatewise.runs.unsent import unsent

ARGV = [
    "experiment=speech/features",
    "data.train_file=mine.ts",
    "model.hidden_size=4",
    "data.batch_size=8",
    "trainer.log_every_n_steps=2",
]
EPOCHS = 4
WORSE = "optimizer.lr=0.3"
"""With so large a step the validation loss is at its best in the first epochs."""


def csv_columns(run: Run) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every column of metrics.csv, as Python's own csv module reads it."""
    columns: dict[str, list[tuple[int, float]]] = {}
    with run.metrics_file.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, cell in row.items():
                if "/" in name and cell:
                    columns.setdefault(name, []).append((int(row["step"]), float(cell)))
    return columns


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Run]:
    """A run that was resumed with more epochs, and again from the checkpoint of before as after a kill."""
    place = Place(tmp_path_factory.mktemp("resumed") / "work")
    write_sequences(place.folder)
    place.ok(
        "train",
        *ARGV,
        WORSE,
        "logger=all",
        "wandb.tags=baseline",
        f"trainer.max_epochs={EPOCHS}",
        "test=false",
    )
    run = place.last()
    shutil.copy(run.checkpoint("last"), place.folder / "earlier.ckpt")
    place.ok("train", "resume=last", f"trainer.max_epochs={EPOCHS + 1}")
    shutil.copy(place.folder / "earlier.ckpt", run.checkpoint("last"))
    run.set_status("running")
    second = int(time.time())
    while int(time.time()) == second:  # TensorBoard reads files in the order of their names: by whole seconds
        time.sleep(0.05)
    place.ok("train", "resume=last", f"trainer.max_epochs={EPOCHS + 2}", "test=true")
    return place, run


@pytest.mark.slow
def test_wandb_offline_resume(resumed: tuple[Place, Run]) -> None:
    place, run = resumed
    columns = csv_columns(run)
    losses = [value for _, value in columns["val/loss"]]
    assert len(losses) == EPOCHS + 2
    assert losses.index(min(losses)) < EPOCHS  # in the first part, which the others must not forget
    assert len(unsent(run)) == 3
    with serving() as server:
        process = place.start("sync", **server.environment)
        out = finish(process)
        assert process.returncode == 0, out
        history, summary = server.history[run.id], server.summary[run.id]
        begun = server.runs[run.id]
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps))
    for name, points in columns.items():
        sent = [(row["trainer/global_step"], row[name]) for row in history if name in row]
        assert sent == [(step, pytest.approx(value)) for step, value in points], name
    training_steps = [row["trainer/global_step"] for row in history if "step/loss" in row]
    last = columns["train/loss"][-1][0]
    assert training_steps == list(range(1, last + 1, 2))
    assert {row["epoch"] for row in history if "val/loss" in row} == set(range(1, EPOCHS + 3))
    monitor = run.config().task.monitor
    best = (min if run.config().task.mode == "min" else max)(value for _, value in columns[monitor])
    assert summary[monitor] == {run.config().task.mode: pytest.approx(best)}
    assert summary["parameters"] == run.summary()["parameters"]
    assert summary["plots/confusion_matrix"]["_type"] == "image-file"
    assert begun["displayName"] == "speech/features/mine bilstm seed 1"


@pytest.mark.slow
def test_tensorboard_resume(resumed: tuple[Place, Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    _, run = resumed
    board = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    scalars = {name: [(e.step, e.value) for e in board.Scalars(name)] for name in board.Tags()["scalars"]}
    for name, points in scalars.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), name
    for name, points in csv_columns(run).items():
        assert scalars[name] == [(step, pytest.approx(value)) for step, value in points], name
    last = scalars["train/loss"][-1][0]
    assert [step for step, _ in scalars["step/loss"]] == list(range(1, last + 1, 2))
    assert "plots/confusion_matrix" in board.Tags()["images"]

    summary, config = run.summary(), run.config()
    assert scalars["result/parameters"] == [(last + 1, summary["parameters"])]
    assert scalars["result/test/loss"][0][1] == pytest.approx(summary["test"]["loss"])
    begun = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(begun).session_start_info.hparams
    assert settings["optimizer.lr"].number_value == 0.3
    assert settings["model.hidden_size"].number_value == config.model.hidden_size
    assert settings["data.train_file"].string_value == str(config.data.train_file)


def test_wandb_tags(resumed: tuple[Place, Run]) -> None:
    _, run = resumed
    assert list(run.config().logger.wandb.tags) == ["baseline"]
    for part in (run.folder / "wandb").glob("offline-run-*/*.wandb"):
        assert b"baseline" in part.read_bytes()


SHORT = [*ARGV, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "test=false"]


@pytest.fixture
def own(place: Place) -> Place:
    write_sequences(place.folder)
    return place


@pytest.mark.parametrize("given", ["['']", "[a,null]"])
def test_wandb_tags_that_are_none(given: str, own: Place) -> None:
    result = own("train", *SHORT, f"wandb.tags={given}")
    assert result.code == 1
    assert "wandb.tags" in result.line()
    assert own.runs() == []


@pytest.mark.slow
def test_wandb_env(own: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in {"MODE": "disabled", "PROJECT": "mine", "DIR": str(own.folder / "else")}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    own.ok("train", *SHORT)
    first = own.last()
    assert not (first.folder / "wandb").exists()
    assert first.config().wandb.mode == "disabled"

    monkeypatch.setenv("WANDB_TAGS", "a, b")
    result = own("train", *SHORT, "wandb.mode=offline")
    assert result.code == 0
    lines = [record.message for record in caplog.records if record.name == "gatewise.config.wandb"]
    assert lines[-2:] == [
        "WANDB_MODE=disabled is not used: wandb.mode=offline is given",
        f"WANDB_DIR={own.folder}/else is not used: W&B's files are in the run directory",
    ]
    settings = own.last().config().logger.wandb
    assert (settings.mode, settings.project, list(settings.tags)) == ("offline", "mine", ["a", "b"])
    assert len(unsent(own.last())) == 1
    assert {path.name for path in own.folder.iterdir()} == {"runs", "mine.ts", "mine.npz"}

    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    result = own("train", *SHORT, "wandb.mode=offline")
    assert (result.code, result.err.splitlines()[-1]) == (
        1,
        "gatewise: error: WANDB_PROJECT=a/b: W&B allows no / in it; leave it out",
    )
    assert len(own.runs()) == 2


def test_a_damaged_run_among_those_to_upload_is_named_and_the_others_go_up(
    own: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.ok("train", *SHORT)
    good = own.last()
    copies = [own.folder / "runs" / name for name in ("bad[/]", "torn")]
    for copy in copies:
        shutil.copytree(good.folder, copy, symlinks=True)
    (copies[0] / "status.json").write_text("{")
    (torn,) = (copies[1] / "wandb").glob("offline-run-*/*.wandb")
    torn.write_bytes(b"rubbish")
    uploaded: list[list[Path]] = []
    monkeypatch.setattr(sync, "_check_connection", lambda _: None)
    monkeypatch.setattr(sync, "_upload", lambda folders, *_: uploaded.extend(folders))
    result = own("sync")
    assert result.code == 1
    assert uploaded == [unsent(good)]
    assert f"left out: {copies[0]}/status.json:1: not JSON" in result.out
    assert f"left out: {torn}: not a file of W&B's" in result.out
    assert "2 of 3 runs could not be read and were left out: runs/bad[/], runs/torn" in result.line()


TERMINATING = """
import os, signal
import pytorch_lightning as pl
class Terminates(pl.Callback):
    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.slow
def test_text_from_outside_is_never_markup(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (own.folder / "mine.ts").read_text()
    for name, other in {"calm": "[/calm]", "brisk": "[red", "storm": "[bold]"}.items():
        text = text.replace(name, other)
    (own.folder / "in[bold].ts").write_text(text)
    (own.folder / "terminating.py").write_text(TERMINATING)
    monkeypatch.syspath_prepend(own.folder)
    settings = ["wandb.mode=disabled", "data.train_file='in[bold].ts'", "name='x[/y]'"]
    result = own("train", *SHORT[:-1], *settings, "test=true", "trainer.max_epochs=2")
    assert (result.code, result.err) == (0, "")
    assert f"\nRun directory  runs/x[/y]/{own.last().id}\n" in result.out
    assert "x[/y]  task=classification" in result.out
    for verb in (
        ["evaluate"],
        ["predict", "input='in[bold].ts'"],
        ["predict", "input='in[bold].ts'", "output='o[red].csv'"],
    ):
        result = own(verb[0], "run=last", *verb[1:])
        assert (result.code, result.err) == (0, "")
    assert "written to o[red].csv" in result.out
    result = own("train", *SHORT, *settings, "+callbacks.ends._target_=terminating.Terminates")
    assert result.code == 143
    assert f"train resume='runs/x[/y]/{own.last().id}'\n" in result.out
    assert own.last().state() == "interrupted"


@pytest.mark.slow
def test_a_trial_is_named_after_its_sweep(own: Place) -> None:
    own.ok(
        "train",
        "-m",
        "wandb.mode=disabled",
        *SHORT,
        "model.hidden_size=2,3",
        "wandb.tags=mine",
        "trainer.limit_val_batches=1",
    )
    sweep = (own.folder / "sweeps" / "last").resolve()
    settings = [Run(folder).config().logger.wandb for folder in own.runs()]
    assert {node.group for node in settings} == {f"speech/features/mine/{sweep.name}"}
    assert {(node.name, node.job_type, *node.tags) for node in settings} == {
        (f"speech/features/mine bilstm seed 1 trial {n}", f"trial {n}", "mine", f"trial {n}") for n in (0, 1)
    }


@pytest.mark.slow
def test_a_resume_without_a_test_leaves_no_test_of_other_weights(place: Place) -> None:
    write_sequences(place.folder)
    place.ok("train", *ARGV, "logger=none", "trainer.max_epochs=1")
    run = place.last()
    shown = [run.folder / "test_report.json", run.plots / "confusion_matrix.png"]
    assert all(path.is_file() for path in shown)
    result = place.ok("train", "resume=last", "trainer.max_epochs=2", "test=false")
    assert not any(path.exists() for path in shown)
    assert "confusion_matrix" not in result.out
    assert run.summary()["test"] == {}
