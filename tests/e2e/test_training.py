"""The default training: how good, how repeatable, what it leaves, and what a failure leaves."""

from __future__ import annotations

import re

import pytest
import torch
from workplace import Place, read_json

from gatewise.config.compose import conf_folder
from gatewise.runs.metrics import read_metrics, read_validations

DEBUG = sorted(path.stem for path in (conf_folder() / "debug").glob("*.yaml"))
SHORT = ["trainer.max_epochs=2", "trainer.limit_train_batches=4", "trainer.limit_test_batches=2"]


def test_the_default_experiment_is_good_in_seconds(place: Place) -> None:
    run = place.train()
    summary = run.summary()
    assert summary["test"]["accuracy"] >= 0.95
    assert summary["test"]["accuracy"] > summary["baselines"]["majority class"]["accuracy"] + 0.5
    # Epochs, without test and pictures; not counted twice.
    assert summary["wall_seconds"] / 3 < summary["training_seconds"] < summary["wall_seconds"]
    assert (run.folder / "plots" / "confusion_matrix.png").is_file()


@pytest.mark.slow
def test_the_same_command_gives_the_same_metrics(place: Place) -> None:
    drops = ["model.dropout=0.1", "model.num_layers=2", "model.state_dropout=0.2", "task.dropout=0.2"]
    first = place.train(*SHORT, *drops, "seed=7")
    # What runs in between in the same process changes nothing.
    torch.manual_seed(123)
    torch.rand(100)
    place.train("debug=one_batch", "model=gru", "seed=99", "test=false")
    again, other = (place.train(*SHORT, *drops, f"seed={seed}") for seed in (7, 8))
    assert first.metrics_file.read_bytes() == again.metrics_file.read_bytes()
    assert first.summary()["test"] == again.summary()["test"]
    assert first.metrics_file.read_bytes() != other.metrics_file.read_bytes()
    weights = [torch.load(run.checkpoint("last"), weights_only=True)["state_dict"] for run in (first, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[] if name == "one_batch" else [pytest.mark.slow])
        for name in DEBUG
        if name != "overfit"
    ],
)
def test_a_debug_preset_runs(place: Place, preset: str) -> None:
    result = place.ok("train", f"debug={preset}", "trainer.limit_train_batches=2", "trainer.max_epochs=2")
    run = place.last()
    assert run.state() == "done"
    assert not (run.folder / "wandb").exists()
    assert run.config().trainer.detect_anomaly == (preset == "detect_anomaly")
    if preset == "profiler":
        assert "run_training_epoch" in result.out + run.log_file.read_text()


@pytest.mark.slow
def test_patience_is_one_of_epochs_where_an_epoch_has_several_validations(place: Place) -> None:
    # Nothing improves on the first epoch by 100: the second is one too many.
    result = place.ok(
        "train", "trainer.limit_train_batches=7", "trainer.val_check_interval=0.4", "trainer.max_epochs=4",
        "callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=100", "test=false",
        "wandb.mode=disabled",
    )  # fmt: skip
    run = place.last()
    rows = read_metrics(run.metrics_file)
    assert [row["step"] for row in rows] == [6, 13]
    assert all(f"train/{name}" in row for row in rows for name in ("accuracy", "f1", "loss"))
    assert [row["step"] for row in read_validations(run.validations_file)] == [2, 5, 6, 9, 12, 13]
    lines = re.findall(r"^(epoch \S+(?:, step \S+)?)  .*val/loss", result.out, re.MULTILINE)
    assert lines == [
        f"epoch {epoch}/4{where}" for epoch in (1, 2) for where in (", step 3/7", ", step 6/7", "")
    ]


SEEN: list[list[float]] = []


def record_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what each training step is given in ``SEEN``: one number per example."""
    from gatewise.tasks.classification import SequenceClassification

    SEEN.clear()
    step = SequenceClassification.training_step

    def recording(self, batch, batch_idx):
        SEEN.append(batch.inputs.sum((1, 2)).tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceClassification, "training_step", recording)


@pytest.mark.parametrize("batches", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_overfit_learns_the_same_batches_by_heart(
    place: Place, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    record_batches(monkeypatch)
    run = place.train(
        "debug=overfit", "trainer.max_epochs=20", f"trainer.overfit_batches={batches}", "test=false"
    )
    epochs = [SEEN[i : i + batches] for i in range(0, len(SEEN), batches)]
    assert len(epochs) == 20
    assert all(epoch == epochs[0] for epoch in epochs)
    size = run.config().data.batch_size
    assert [len(batch) for batch in epochs[0]] == [size] * batches
    rows = read_metrics(run.metrics_file)
    # Several classes, so that there is something to learn.
    assert rows[0]["train/accuracy"] < 0.7
    assert rows[-1]["train/accuracy"] == 1.0
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] / 4


@pytest.mark.slow
def test_an_ordinary_epoch_has_an_order_of_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    record_batches(monkeypatch)
    place.train("trainer.max_epochs=2", "test=false")
    half = len(SEEN) // 2
    first, second = ([round(x, 3) for batch in part for x in batch] for part in (SEEN[:half], SEEN[half:]))
    assert first != second
    assert sorted(first) == sorted(second)


@pytest.mark.slow
def test_the_lines_on_the_screen_are_the_rows_of_the_file(place: Place) -> None:
    out = place.ok("train", *SHORT, "wandb.mode=disabled", "test=false").out
    rows = read_metrics(place.last().metrics_file)
    for epoch, row in enumerate(rows, start=1):
        shown = "  ".join(f"{name} {row[name]:.4g}" for name in sorted(row) if "/" in name)
        assert f"epoch {epoch}/2  {shown}\n" in out


def test_the_default_logger_writes_a_wandb_run_offline(place: Place) -> None:
    result = place.ok("train", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    run = place.last()
    folders = list((run.folder / "wandb").glob("offline-run-*"))
    assert len(folders) == 1
    assert folders[0].name.endswith(run.id)
    assert list(folders[0].glob("*.wandb"))
    assert "gatewise sync run=" in result.out
    # Nothing outside of the run directory.
    assert {path.name for path in place.folder.iterdir()} == {"runs"}


@pytest.mark.parametrize(
    ("logger", "with_wandb"),
    [pytest.param("tensorboard", False, marks=pytest.mark.slow), ("all", True), ("none", False)],
)
def test_loggers(place: Place, logger: str, with_wandb: bool) -> None:
    place.ok(
        "train", f"logger={logger}", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false"
    )
    run = place.last()
    assert bool(list(run.folder.glob("wandb/offline-run-*"))) == with_wandb
    events = list(run.folder.rglob("events.out.tfevents*"))
    assert [path.parent.name for path in events] == (
        [] if logger == "none" else ["tensorboard"] * len(events)
    )
    assert bool(events) == (logger != "none")
    assert read_metrics(run.metrics_file)


def test_callbacks_and_loggers_can_be_dropped_and_added(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(place.folder)
    (place.folder / "counting.py").write_text(
        "from pytorch_lightning import Callback\n"
        "class Count(Callback):\n"
        "    def __init__(self, to): self.to = to\n"
        "    def on_train_epoch_end(self, trainer, task):\n"
        "        with open(self.to, 'a') as file: file.write('x')\n"
    )
    place.ok(
        "train", "debug=one_batch", "trainer.max_epochs=3", "~logger.wandb", "~callbacks.learning_curves",
        "callbacks.model_table=null", "+callbacks.mine._target_=counting.Count",
        "+callbacks.mine.to=count.txt",
    )  # fmt: skip
    assert (place.folder / "count.txt").read_text() == "xxx"
    assert not (place.last().plots / "learning_curves.png").exists()


BROKEN = """
from pytorch_lightning import Callback
class Broken(Callback):
    def on_train_batch_start(self, trainer, task, batch, index):
        if trainer.current_epoch == 1:
            raise RuntimeError("out of coffee")
"""


def test_a_failed_training_says_so_everywhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "broken_callback.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(place.folder)
    result = place(
        "train", "trainer.limit_train_batches=2", "+callbacks.mine._target_=broken_callback.Broken"
    )
    run = place.last()
    assert result.code == 1
    assert "gatewise: error: RuntimeError: out of coffee (raised by " in result.err
    assert "broken_callback.py:6)" in result.err
    status = read_json(run.folder / "status.json")
    assert (status["state"], status["reason"]) == ("failed", "RuntimeError: out of coffee")
    assert run.state() == "failed"
    # What there was is kept: an epoch, its checkpoint, its picture and the W&B run.
    assert len(read_metrics(run.metrics_file)) == 1
    assert torch.load(run.checkpoint("last"), weights_only=True)["epoch"] == 0
    assert (run.plots / "learning_curves.png").is_file()
    assert list(run.folder.glob("wandb/offline-run-*/*.wandb"))
    # The next training of the same process is its own W&B run.
    place.ok("train", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "test=false")
    assert len(list(place.last().folder.glob("wandb/offline-run-*"))) == 1
    # And a failed one can be taken up again, without what broke it.
    assert place("train", f"resume={run.folder}", "~callbacks.mine").code == 1
    place.ok("train", f"resume={run.folder}", "+callbacks.mine=null", "trainer.max_epochs=2")
    assert (run.state(), len(read_metrics(run.metrics_file))) == ("done", 2)


def test_settings_of_the_users_own_defaults(place: Place) -> None:
    file = place.folder / "conf" / "local" / "default.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nwandb:\n  mode: disabled\ntrainer:\n  max_epochs: 1\n")
    place.ok("train", "trainer.limit_train_batches=1", "test=false")
    run = place.last()
    assert (run.config().trainer.max_epochs, run.config().wandb.mode) == (1, "disabled")
