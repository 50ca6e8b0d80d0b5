"""A training that is stopped in the middle of an epoch, and gone on with, ends as if it never had been."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from workplace import Place, read_json, test_metrics, write_labelled_texts, write_spoken

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.training.mid_epoch import epochs_in, is_mid_epoch

STOPPING = """
import json, os, signal
import pytorch_lightning as pl

class Heard(pl.loggers.Logger):
    "Writes down all that a logger is told."
    name, version = "heard", "0"
    def __init__(self, path):
        super().__init__()
        self.path = path
    def log_hyperparams(self, *args, **kwargs):
        pass
    def log_metrics(self, metrics, step=None):
        with open(self.path, "a") as file:
            print(json.dumps({name: float(value) for name, value in metrics.items()}), file=file)

class At(pl.Callback):
    "Sends this process a signal within a step, or within a batch of a validation."
    def __init__(self, step=None, batch=None, validation=None, signal="SIGTERM"):
        self.step, self.batch, self.validation, self.signal = step, batch, validation, signal
        self.validations = 0
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if task.global_step == self.step or [trainer.current_epoch, batch_idx] == self.batch:
            self.send()
    def on_validation_start(self, trainer, task):
        self.validations += 1
    def on_validation_batch_start(self, trainer, task, batch, batch_idx):
        if [self.validations, batch_idx] == self.validation:
            self.send()
    def send(self):
        if self.signal is None:
            raise RuntimeError("as good as killed: nothing is saved any more")
        os.kill(os.getpid(), getattr(signal, self.signal))
"""

SPEECH = ["experiment=speech/japanese_vowels", "data.batch_size=27", "trainer.max_epochs=3"]
SERIES = [
    "experiment=series/sunspots", "data.max_rows=1500", "data.batch_size=128", "trainer.max_epochs=2",
    "model.hidden_size=8",
]  # fmt: skip
TEXT = [
    "experiment=text/king_james", "data.max_tokens=4000", "data.validation_fraction=0.002", "threads=1",
    "data.test_fraction=0.002", "trainer.max_epochs=2", "model.hidden_size=16", "task.embedding_size=16",
]  # fmt: skip
CLASSES = [
    "experiment=text/labels", "data.files=[mine.jsonl]", "data.batch_size=16", "trainer.max_epochs=3",
    "model.hidden_size=8", "task.embedding_size=8", "data.linear_baseline=false",
]  # fmt: skip
SOUND = [
    "experiment=speech/files", "data.files=[mine.tsv]", "data.sample_rate=8000", "data.batch_size=2",
    "trainer.max_epochs=3", "model.hidden_size=8", "data.neighbours=false", "data.augmentation.speed=0.2",
    "data.augmentation.noise=0.5",
]  # fmt: skip
ONCE = "trainer.val_check_interval=1.0"
HALVES = "trainer.val_check_interval=0.5"
THREE = "trainer.accumulate_grad_batches=3"  # eight batches are three steps, of which the last has two
STEPS = ["trainer.max_epochs=-1", "+trainer.max_steps=20", "scheduler=step", "scheduler.step_size=1"]
OVERFIT = ["+trainer.overfit_batches=4"]
RANDOM = ["data.random_window=true", "data.window=20", "task.rate_window=20", "optimizer=sgd"]
EVERY_OTHER = ["trainer.check_val_every_n_epoch=2", "scheduler=plateau"]
CASES = {
    # settings, where the signal comes, batches of the epoch that are behind it, whether validation is due
    "speech, first step of all": (SPEECH, {"step": 0}, 0, 1, False),
    "speech, first step of an epoch": (SPEECH, {"step": 8}, 1, 1, False),
    "speech, in the middle": (SPEECH, {"step": 12}, 1, 5, False),
    "speech, last step": (SPEECH, {"step": 15}, 1, 8, True),
    "speech, in validation": (SPEECH, {"validation": [2, 0]}, 1, 8, True),
    "series, in the middle": (SERIES, {"step": 12}, 1, 5, False),
    "text, first step": ([*TEXT, ONCE], {"step": 6}, 1, 1, False),
    "text, in the middle": ([*TEXT, ONCE], {"step": 8}, 1, 3, False),
    "text, in validation": ([*TEXT, ONCE], {"validation": [1, 1]}, 0, 6, True),
    "text, as it comes": (TEXT, {"step": 8}, 1, 3, True),
    "text, between two validations": ([*TEXT, HALVES], {"step": 4}, 0, 5, False),
    "speech, last batch of a validation": (SPEECH, {"validation": [2, 1]}, 2, 0, False),
    "speech, gradients of two batches": ([*SPEECH, THREE], {"batch": [1, 4]}, 1, 5, False),
    "speech, last batch of a step": ([*SPEECH, THREE], {"batch": [1, 5]}, 1, 6, False),
    "speech, epochs without validation": ([*SPEECH, *EVERY_OTHER], {"batch": [2, 3]}, 2, 4, False),
    "text, fewer batches": ([*TEXT, ONCE, "trainer.limit_train_batches=4"], {"step": 5}, 1, 2, False),
    "speech, one batch is left": (SPEECH, {"step": 14}, 1, 7, False),
    "speech, a number of steps": ([*SPEECH[:2], *STEPS], {"step": 12}, 1, 5, False),
    "speech, a number of steps, first step": ([*SPEECH[:2], *STEPS], {"validation": [2, 1]}, 2, 0, False),
    # Whose loader has no sampler that can leave out batches.
    "speech, the same batches in all epochs": ([*SPEECH, *OVERFIT], {"step": 6}, 1, 3, False),
    "text, in a validation in mid-epoch": ([*TEXT, HALVES], {"validation": [3, 1]}, 1, 3, True),
    "text, an average of the weights": ([*TEXT, ONCE, "callbacks=ema"], {"step": 8}, 1, 3, False),
    "text, an average, in validation": ([*TEXT, HALVES, "callbacks=ema"], {"validation": [3, 1]}, 1, 3, True),
    "text, windows of random length": ([*TEXT, ONCE, *RANDOM], {"step": 12}, 1, 3, False),
    "classes, batches by length": (CLASSES, {"step": 7}, 1, 3, False),
    "recordings, changed in training": (SOUND, {"step": 9}, 1, 4, False),
    "recordings, by other processes": ([*SOUND, "data.workers=2"], {"step": 9}, 1, 4, False),
    "classes, adversarial": ([*CLASSES, "task.adversarial=1"], {"step": 7}, 1, 3, False),
}  # fmt: skip


QUICK = {
    "speech, in the middle",
}


@pytest.fixture(autouse=True)
def _stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stopping.py").write_text(STOPPING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


_WHOLE: dict[tuple[str, ...], Run] = {}


def whole(argv: list[str], folder: Path) -> Run:
    """The run that nothing interrupts; trained once."""
    key = tuple(argv)
    if key not in _WHOLE:
        write_labelled_texts(folder)
        write_spoken(folder)
        _WHOLE[key] = Place(folder).train(*argv)
    return _WHOLE[key]


def stop(place: Place, argv: list[str], at: dict[str, Any]) -> Run:
    """Train until the signal comes."""
    words = [f"+callbacks.mine.{name}={value}" for name, value in at.items()]
    result = place("train", "wandb.mode=disabled", *argv, "+callbacks.mine._target_=stopping.At", *words)
    assert result.code == 128 + signal.SIGTERM, result.err
    run = place.last()
    status = read_json(run.folder / "status.json")
    assert (status["state"], status["reason"]) == ("interrupted", "stopped by SIGTERM")
    return run


def same(run: Run, expected: Run) -> None:
    assert run.state() == "done"
    assert run.metrics_file.read_text() == expected.metrics_file.read_text()
    assert test_metrics(run) == test_metrics(expected)
    for kind in ("last", "best"):
        found, wanted = (torch.load(r.checkpoint(kind), weights_only=True) for r in (run, expected))
        for part in ("state_dict", "optimizer_states"):
            torch.testing.assert_close(found[part], wanted[part], rtol=0, atol=0)
        assert (found["epoch"], found["global_step"]) == (wanted["epoch"], wanted["global_step"])


@pytest.mark.slow
def test_loggers_hear_of_an_epoch_that_was_stopped_in_its_validation(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    heard = tmp_path / "heard.jsonl"
    run = stop(
        place,
        [*SPEECH, "+logger.mine._target_=stopping.Heard", f"+logger.mine.path={heard}"],
        {"validation": [2, 0]},
    )
    place.ok("train", "resume=last", "+callbacks.mine=null", f"+logger.mine.path={heard}")
    told = [json.loads(line) for line in heard.read_text().splitlines()]
    losses = [(values["epoch"], values["train/loss"]) for values in told if "train/loss" in values]
    assert losses == [(row["epoch"] - 1, row["train/loss"]) for row in read_metrics(run.metrics_file)]


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # of epochs without validation
@pytest.mark.parametrize(
    ("argv", "at", "epochs", "batches", "due"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, case in CASES.items()
    ],
)
def test_it_goes_on_to_the_same_digits(argv, at, epochs, batches, due, tmp_path, tmp_path_factory):
    place = Place(tmp_path / "work")
    write_labelled_texts(place.folder)
    write_spoken(place.folder)
    run = stop(place, argv, at)
    checkpoint = torch.load(run.checkpoint("last"), weights_only=True)
    assert (epochs_in(checkpoint), is_mid_epoch(checkpoint)) == (epochs, True)
    place_in_epoch = checkpoint["mid_epoch"]
    assert (place_in_epoch["batches"], place_in_epoch["validation_due"]) == (batches, due)
    place.ok("train", "resume=last", "+callbacks.mine=null")
    assert place.runs() == [run.folder]
    same(run, whole(argv, tmp_path_factory.mktemp("whole")))


TWO = "trainer=ddp_cpu"
IN_TWO = {
    "speech": ([*SPEECH, TWO], {"step": 12}),
    "speech, in validation": ([*SPEECH, TWO], {"validation": [2, 0]}),
    "speech, gradients of two batches": ([*SPEECH, TWO, THREE], {"batch": [1, 4]}),
    "series": ([*SERIES, TWO], {"step": 12}),
    "text": ([*TEXT, TWO], {"step": 8}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("argv", "at"), IN_TWO.values(), ids=IN_TWO)
def test_two_processes_go_on_to_the_same_digits(argv, at, tmp_path):
    """The signal comes to rank 0 alone, as the others are deaf to it."""
    place = Place(tmp_path / "work")
    run = stop(place, argv, at)
    checkpoint = torch.load(run.checkpoint("last"), weights_only=True)
    assert is_mid_epoch(checkpoint)
    assert len(checkpoint["mid_epoch"]["ranks"]) == 2
    place.ok("train", "resume=last", "+callbacks.mine=null")
    same(run, Place(tmp_path / "whole").train(*argv))


STILL = [*TEXT, "task.dropout=0", "model.dropout=0"]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on(before, after, tmp_path):
    """With the carried lanes of all; what is drawn is not what one process would draw, so without dropout."""
    place = Place(tmp_path / "work")
    run = stop(place, [*STILL, "trainer.strategy=ddp", f"trainer.devices={before}"], {"step": 8})
    place.ok("train", "resume=last", "+callbacks.mine=null", f"trainer.devices={after}")
    expected = Place(tmp_path / "whole").train(*STILL)
    assert run.summary()["processes"] == after
    for row, other in zip(read_metrics(run.metrics_file), read_metrics(expected.metrics_file), strict=True):
        assert row == {name: pytest.approx(value, rel=1e-5) for name, value in other.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_between_two_batches_of_a_step(before, after, tmp_path):
    """The gradients that wait for the step are those of all processes there were."""
    argv = [*SPEECH, THREE, "task.dropout=0", "model.state_dropout=0"]
    place = Place(tmp_path / "work")
    run = stop(place, [*argv, "trainer.strategy=ddp", f"trainer.devices={before}"], {"batch": [1, 4]})
    assert "gradients" in torch.load(run.checkpoint("last"), weights_only=True)["mid_epoch"]["ranks"][0]
    place.ok("train", "resume=last", "+callbacks.mine=null", f"trainer.devices={after}")
    expected = Place(tmp_path / "whole").train(*argv)
    for row, other in zip(read_metrics(run.metrics_file), read_metrics(expected.metrics_file), strict=True):
        assert row == {name: pytest.approx(value, rel=1e-4) for name, value in other.items()}


PERIODIC = {
    "after every step": ["callbacks.timed_checkpoint.every_minutes=0"],
    # Lightning's own way, in the step that ends.
    "by time": ["+callbacks.last_checkpoint.train_time_interval={seconds: 0}"],
    "by steps": ["+callbacks.last_checkpoint.every_n_train_steps=4"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "settings"),
    [
        pytest.param(
            argv,
            settings,
            id=f"{kind}, {name}",
            marks=[] if (kind, name) == ("speech", "after every step") else [pytest.mark.slow],
        )
        for kind, argv in (("speech", SPEECH), ("text", [*TEXT, HALVES]))
        for name, settings in PERIODIC.items()
    ],
)
def test_what_is_killed_goes_on_from_the_last_checkpoint_in_its_epoch(
    argv, settings, tmp_path, tmp_path_factory
):
    place = Place(tmp_path / "work")
    words = ["+callbacks.mine._target_=stopping.At", "+callbacks.mine.step=9", "+callbacks.mine.signal=null"]
    result = place("train", "wandb.mode=disabled", *argv, *settings, *words)
    assert result.code != 0
    run = place.last()
    checkpoint = torch.load(run.checkpoint("last"), weights_only=True)
    assert is_mid_epoch(checkpoint)
    assert checkpoint["global_step"] == (8 if settings == PERIODIC["by steps"] else 9)
    place.ok("train", "resume=last", "+callbacks.mine=null")
    same(run, whole(argv, tmp_path_factory.mktemp("whole")))


@pytest.mark.slow
def test_a_number_of_steps_goes_on_from_the_end_of_an_epoch(tmp_path, tmp_path_factory):
    place, argv = Place(tmp_path / "work"), [*SPEECH[:2], *STEPS]
    words = ["+callbacks.mine._target_=stopping.At", "+callbacks.mine.step=9", "+callbacks.mine.signal=null"]
    assert place("train", "wandb.mode=disabled", *argv, *words).code != 0
    run = place.last()
    checkpoint = torch.load(run.checkpoint("last"), weights_only=True)
    assert (epochs_in(checkpoint), is_mid_epoch(checkpoint)) == (1, False)
    place.ok("train", "resume=last", "+callbacks.mine=null")
    same(run, whole(argv, tmp_path_factory.mktemp("whole")))


EVERY = "+callbacks.last_checkpoint.train_time_interval"
PERIODS = {
    "callbacks.timed_checkpoint.every_minutes=-1": "every_minutes must be a number of 0 or more, got -1",
    f"{EVERY}=10": f"{EVERY[1:]} must be a time, 00:12:00:00 (days, hours, minutes, seconds)",
    f"{EVERY}={{minute: 1}}": "got {'minute': 1}",
}


@pytest.mark.parametrize(("setting", "line"), PERIODS.items())
def test_a_period_that_is_none_is_refused(setting, line, place):
    result = place("train", setting)
    assert result.code == 1
    assert line in result.line()
    assert place.runs() == []
