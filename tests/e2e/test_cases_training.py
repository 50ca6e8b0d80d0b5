"""What was found by use: which weights are tested, what a step is over, what a validation is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from workplace import Place, read_json

from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.runs.run import Run

FILES = [
    "experiment=speech/features", "logger=none", "model.hidden_size=8", "data.train_file=two.npz",
    "callbacks.early_stopping.patience=100", "callbacks.progress=null", "callbacks.learning_curves=null",
]  # fmt: skip


@pytest.fixture
def two(place: Place) -> Place:
    """A folder with forty noisy sequences of two classes, which a quick training overfits."""
    draw = np.random.default_rng(4)
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    sequences = draw.normal(size=(40, 7, 2)) + 0.7 * (np.arange(40) % 2)[:, None, None]
    np.savez(place.folder / "two.npz", sequences=sequences, lengths=np.full(40, 7), labels=labels)
    return place


def train(place: Place, *overrides: str) -> tuple[Run, str]:
    said = place.ok("train", *FILES, *overrides).out
    return place.last(), said


OVERFIT = ["optimizer.lr=0.1", "trainer.max_epochs=12"]
KEPT = {
    "checkpoint_filename": ["callbacks.best_checkpoint.filename='best-{epoch}'"],
    "checkpoint_filename with a folder": ["callbacks.best_checkpoint.filename='best-{val/loss:.3f}'"],
    "save_top_k": ["callbacks.best_checkpoint.save_top_k=3"],
    "save_top_k of all": ["callbacks.best_checkpoint.save_top_k=-1"],
    "rare validations": ["trainer.check_val_every_n_epoch=2", "callbacks.best_checkpoint.save_top_k=3"],
    "another monitor": [
        "callbacks.best_checkpoint.monitor=val/accuracy", "callbacks.best_checkpoint.mode=max",
    ],
}  # fmt: skip


QUICK = {"save_top_k"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, settings in KEPT.items()
    ],
)
def test_the_tested_weights_are_the_best_whatever_their_file_is_called(
    two: Place, settings: list[str]
) -> None:
    every = (
        "+callbacks.every={_target_: pytorch_lightning.callbacks.ModelCheckpoint, filename: 'at-{epoch}', "
    )
    every += "save_top_k: -1, every_n_train_steps: 1}"
    run, said = train(two, *OVERFIT, *settings, every)
    rows = [row for row in read_metrics(run.metrics_file) if "val/loss" in row]
    by_accuracy = any("accuracy" in word for word in settings)
    best = (
        max(rows, key=lambda r: r["val/accuracy"]) if by_accuracy else min(rows, key=lambda r: r["val/loss"])
    )
    epoch = int(best["epoch"]) - 1
    assert epoch < 11, "the last weights are the best: nothing would be shown"

    def weights(path: Path) -> dict[str, torch.Tensor]:
        loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
        return loaded

    (then,) = run.checkpoints.glob(f"at-epoch={epoch}.ckpt")
    found, wanted = weights(run.checkpoint("best")), weights(then)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert f"best weights: epoch {epoch + 1} of 12" in said

    tested = run.summary()["test"]["loss"]
    two.ok("evaluate", "run=last", "output=again.json")
    again = read_json(two.folder / "again.json")["test"]["loss"]
    assert again == pytest.approx(tested, rel=1e-6)
    run.set_status("interrupted")  # as if stopped: what is best is known all the same
    assert run.checkpoint("best").samefile(run.checkpoints / run.summary()["best_checkpoint"])


def test_the_best_of_the_validations_within_epochs(two: Place) -> None:
    every = ["data.batch_size=4", "trainer.val_check_interval=2", "optimizer.lr=0.3", "trainer.max_epochs=4"]
    run, said = train(two, *every, "callbacks.best_checkpoint.save_on_train_epoch_end=false")
    best = min(read_validations(run.validations_file), key=lambda row: row["val/loss"])
    assert best["epochs"] % 1, "the best is that of an epoch's end: nothing would be shown"
    words = f"best weights: epoch {best['epochs']:g} of 4, val/loss {best['val/loss']:.4g}"
    assert f"test results of the {words}" in said
    assert run.summary()["best"]["val/loss"] == best["val/loss"]
    assert torch.load(run.checkpoint("best"), weights_only=True)["global_step"] == best["step"] + 1


def test_the_best_by_a_metric_of_single_steps(two: Place) -> None:
    """Which ``metrics.csv`` does not have."""
    by = ["callbacks.best_checkpoint.monitor=step/loss", "trainer.log_every_n_steps=1"]
    module = "import pytorch_lightning as pl\n\n\nclass Keep(pl.Callback):\n"
    module += "    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):\n"
    module += "        task.log('step/loss', outputs['loss'], batch_size=1)\n"
    (two.folder / "conf").mkdir()
    (two.folder / "keep.py").write_text(module)
    _, said = train(two, "trainer.max_epochs=2", *by, "+callbacks.keep._target_=keep.Keep")
    assert "test results of the best weights by step/loss" in said


@pytest.mark.slow
@pytest.mark.parametrize("none", ["~callbacks.best_checkpoint", "callbacks.best_checkpoint.save_top_k=0"])
def test_where_no_best_is_kept_the_table_says_so(two: Place, none: str) -> None:
    run, said = train(two, "trainer.max_epochs=2", none)
    assert "test results of the last weights" in said
    assert run.summary()["best_checkpoint"] is None
    assert "checkpoint=last takes the last weights" in two("evaluate", "run=last").line()
    two.ok("evaluate", "run=last", "checkpoint=last")


def test_two_checkpoints_that_cannot_be_told_apart_are_refused(two: Place) -> None:
    result = two("train", *FILES, "+callbacks.mine={_target_: pytorch_lightning.callbacks.ModelCheckpoint}")
    assert "callbacks: last_checkpoint and mine" in result.line()
    assert two.runs() == []


def test_a_last_checkpoint_of_another_name_is_refused(two: Place) -> None:
    result = two("train", *FILES, "callbacks.last_checkpoint.filename=latest")
    assert "callbacks.last_checkpoint.filename=latest: must be last" in result.line()
    assert two.runs() == []


def moved(run: Run, start: Run) -> torch.Tensor:
    """How far the weights have gone, as one vector."""
    now, then = (torch.load(r.checkpoint("last"), weights_only=True)["state_dict"] for r in (run, start))
    return torch.cat([(now[name] - then[name]).flatten().double() for name in now if "metrics" not in name])


@pytest.mark.slow
def test_accumulate_last_group(two: Place) -> None:
    """All in one batch, and as what is left of four batches; in batches of 20 and the rest, of 5."""
    sgd = ["optimizer=sgd", "trainer.gradient_clip_val=null", "trainer.max_epochs=1", "test=false"]
    start, _ = train(two, *sgd, "optimizer.lr=0.0")
    steps = []
    for size, accumulate in ((30, 1), (30, 4), (20, 2), (5, 8)):
        run, _ = train(
            two,
            *sgd,
            "optimizer.lr=0.1",
            f"data.batch_size={size}",
            f"trainer.accumulate_grad_batches={accumulate}",
        )
        steps.append(moved(run, start))
    for step in steps[1:]:
        torch.testing.assert_close(step, steps[0], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_plateau_between_validations(two: Place) -> None:
    """Patience counts validations; an epoch without one has no validation metrics."""
    run, said = train(
        two, "trainer.max_epochs=16", "trainer.check_val_every_n_epoch=5", "scheduler=plateau",
        "scheduler.patience=3", "test=false",
    )  # fmt: skip
    rows = read_metrics(run.metrics_file)
    assert [int(row["epoch"]) for row in rows if "val/loss" in row] == [5, 10, 15]
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert losses == sorted(losses, reverse=True), "each validation is to be better than the one before"
    last = torch.load(run.checkpoint("last"), weights_only=True)
    assert last["scheduler"]["num_bad_epochs"] == 0
    assert last["scheduler"]["last_epoch"] == 3
    assert len({row["lr-Adam"] for row in rows}) == 1
    lines = [line for line in said.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1].partition("/")[0] for line in lines if "val/loss" in line] == ["5", "10", "15"]
