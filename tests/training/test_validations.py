"""Several validations in an epoch: their file, what of them is the epoch's, and both after a resumption."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from gatewise.cells import GRU
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent
from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.training.loggers import MetricsFile, RowsBeforeCheckpoints
from gatewise.training.validations import ValidationsFile

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
BATCHES = 7


class Losses(pl.Callback):
    """Keeps the loss of every step, and what callbacks were shown by every validation."""

    def __init__(self):
        self.training, self.validations, self.epochs = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):  # noqa: ARG002
        self.training.append(float(outputs["loss"]))

    def on_validation_end(self, trainer, pl_module):  # noqa: ARG002
        self.validations.append((trainer.global_step - 1, float(trainer.callback_metrics["val/loss"])))

    def on_train_epoch_end(self, trainer, pl_module):  # noqa: ARG002
        self.epochs.append(float(trainer.callback_metrics["val/loss"]))


def batches():
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 5, (BATCHES, 2, 4), generator=draw)
    return DataLoader([TextBatch(t[:, :-1], t[:, 1:]) for t in tokens], batch_size=None)


def train(folder, epochs=2, resumed=False, seed=0, **settings):
    """Train in a folder, from its checkpoint where ``resumed``; returns the task and what was noted."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    task = LanguageModelling(
        partial(Recurrent, hidden_size=4, cell=GRU()),
        TextFacts(tuple("abcde"), (3, 3, 3, 3, 3), "char", False),
        partial(torch.optim.SGD, lr=0.1),
        embedding_size=3,
    )
    metrics, losses = MetricsFile(folder / "metrics.csv"), Losses()
    if resumed:
        metrics.keep_first(torch.load(folder / "last.ckpt", weights_only=True)["epoch"] + 1)
    last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=[metrics], log_every_n_steps=1, num_sanity_val_steps=0,
        callbacks=[
            losses, RowsBeforeCheckpoints(metrics), ValidationsFile(folder / "validations.csv", metrics), last
        ],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **settings,
    )  # fmt: skip
    trainer.fit(
        task, batches(), batches(), ckpt_path=folder / "last.ckpt" if resumed else None, weights_only=True
    )
    return task, losses


# Validations after so many steps of an epoch of 7; always after the last one.
INTERVALS = {
    "a share": ({"val_check_interval": 0.4}, [3, 6, 7]),
    "that divides the epoch but for a step": ({"val_check_interval": 0.5}, [4, 7]),
    "steps": ({"val_check_interval": 2}, [2, 4, 6, 7]),
    "every step": ({"val_check_interval": 0.01}, [1, 2, 3, 4, 5, 6, 7]),
    "every step by number": ({"val_check_interval": 1}, [1, 2, 3, 4, 5, 6, 7]),
    "less data": ({"val_check_interval": 0.5, "limit_train_batches": 3}, [2, 3]),
}


@pytest.mark.parametrize(("settings", "after"), INTERVALS.values(), ids=INTERVALS)
def test_each_validation_stands_beside_the_training_since_the_one_before(tmp_path, settings, after):
    _, losses = train(tmp_path, **settings)
    steps = after[-1]
    rows = read_validations(tmp_path / "validations.csv")
    assert [row["step"] for row in rows] == [epoch * steps + a - 1 for epoch in (0, 1) for a in after]
    assert [row["epochs"] for row in rows] == [epoch + a / steps for epoch in (0, 1) for a in after]
    assert [(row["step"], row["val/loss"]) for row in rows] == losses.validations
    begin = 0
    for row in rows:
        # Batches are equally large: the mean of their means.
        since = torch.tensor(losses.training[begin : row["step"] + 1]).mean()
        begin = row["step"] + 1
        assert row["train/loss"] == pytest.approx(float(since), rel=1e-5)
        assert row["train/perplexity"] == pytest.approx(float(since.exp()), rel=1e-5)
    # An epoch's row is that of its end.
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in metrics] == [steps - 1, 2 * steps - 1]
    assert [row["val/loss"] for row in metrics] == [rows[len(after) - 1]["val/loss"], rows[-1]["val/loss"]]
    assert [row["val/loss"] for row in metrics] == losses.epochs
    whole = torch.tensor(losses.training[:steps]).mean()
    assert metrics[0]["train/loss"] == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"val_check_interval": 1.0},
        {"val_check_interval": 7},
        {"val_check_interval": 3, "check_val_every_n_epoch": None},
    ],
    ids=str,
)
def test_there_is_no_file_where_validations_do_not_divide_epochs(tmp_path, settings):
    _, losses = train(tmp_path, **settings)
    expected = [2, 5, 8, 11] if "check_val_every_n_epoch" in settings else [6, 13]
    assert [step for step, _ in losses.validations] == expected
    assert not (tmp_path / "validations.csv").exists()
    assert len(read_metrics(tmp_path / "metrics.csv")) == 2


class KilledError(Exception):
    pass


@pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty.*")  # it is resumed
@pytest.mark.parametrize("at", [9, 10, 12, 13])
def test_a_resumed_training_ends_with_the_files_of_an_unbroken_one(tmp_path, monkeypatch, at):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected, _ = train(whole, 3, val_check_interval=0.4)

    def dies(self, *_):
        if len(self.training) == at:
            raise KilledError
        Losses.kept(self, *_)

    with monkeypatch.context() as patch:
        patch.setattr(Losses, "kept", Losses.on_train_batch_end, raising=False)
        patch.setattr(Losses, "on_train_batch_end", dies)
        with pytest.raises(KilledError):
            train(broken, 3, val_check_interval=0.4)
    assert len(read_validations(broken / "validations.csv")) == 3 + (at > 9) + (at > 12)
    task, _ = train(broken, 3, resumed=True, seed=1, val_check_interval=0.4)
    for name in ("metrics.csv", "validations.csv"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert all(map(torch.equal, task.parameters(), expected.parameters()))


def test_a_damaged_file_is_named_by_its_line(tmp_path):
    path = tmp_path / "validations.csv"
    path.write_text("epochs,step,val/loss\n0.5,1,2.0\n1.0,3,much\n")
    with pytest.raises(ValueError, match=f"{path}:3: a cell is not a number"):
        read_validations(path)
    path.write_text("epoch,step\n0,1\n")
    with pytest.raises(ValueError, match=f"{path}:1: there is no column epochs"):
        read_validations(path)
