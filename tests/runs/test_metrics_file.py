"""``metrics.csv`` and what is read off it."""

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from torch.utils.data import DataLoader

from gatewise.runs import files
from gatewise.runs.metrics import read_metrics
from gatewise.runs.summary import best_row, split_metrics, versions
from gatewise.training.loggers import MetricsFile

NAN = float("nan")


def same(found, expected):
    """Equal, NaN being itself."""
    return repr(found) == repr(expected)


def two_epochs(path):
    """As Lightning calls it: learning rate, validation, training."""
    file = MetricsFile(path)
    for epoch, rate in enumerate((0.1, 0.05)):
        file.log_metrics({"lr-Adam": rate}, step=10 * epoch)
        file.log_metrics({"step/loss": 1.0, "epoch": epoch}, step=10 * epoch + 4)
        file.log_metrics({"val/loss": 2.0 - epoch, "epoch": epoch}, step=10 * epoch + 9)
        file.log_metrics({"train/loss": torch.tensor(0.5), "epoch": epoch}, step=10 * epoch + 9)
    file.log_metrics({"test/loss": 9.0, "baseline/majority class/f1": 0.1, "epoch": 2}, step=20)
    return file


ROWS = [
    {"epoch": 1, "step": 9, "lr-Adam": 0.1, "train/loss": 0.5, "val/loss": 2.0},
    {"epoch": 2, "step": 19, "lr-Adam": 0.05, "train/loss": 0.5, "val/loss": 1.0},
]


def test_one_row_per_epoch_whatever_the_order_of_calls(tmp_path):
    path = tmp_path / "metrics.csv"
    two_epochs(path)
    # Steps' values, the test's and the baselines' are kept elsewhere.
    assert path.read_text() == (
        "epoch,step,lr-Adam,train/loss,val/loss\n1,9,0.1,0.5,2.0\n2,19,0.05,0.5,1.0\n"
    )
    assert read_metrics(path) == ROWS


def test_a_learning_rate_alone_makes_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.log_metrics({"lr-Adam": 0.1}, step=0)
    assert not path.exists()
    file.log_metrics({"lr-Adam/pg1": 0.2}, step=0)
    file.log_metrics({"val/loss": 1.0, "epoch": 0}, step=3)
    assert read_metrics(path) == [{"epoch": 1, "step": 3, "lr-Adam": 0.1, "lr-Adam/pg1": 0.2, "val/loss": 1}]
    file.log_metrics({"val/loss": 0.5, "epoch": 1}, step=7)  # and it is not an old one's again
    assert read_metrics(path)[1] == {"epoch": 2, "step": 7, "val/loss": 0.5}


def test_columns_that_come_later_leave_earlier_cells_empty(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.log_metrics({"train/loss": 1.0, "epoch": 0}, step=1)
    file.log_metrics({"val/loss": 2.0, "epoch": 1}, step=2)
    assert path.read_text() == "epoch,step,train/loss,val/loss\n1,1,1.0,\n2,2,,2.0\n"
    assert read_metrics(path)[0] == {"epoch": 1, "step": 1, "train/loss": 1.0}


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_a_resumed_training_forgets_the_epochs_it_repeats(epoch, tmp_path):
    path = tmp_path / "metrics.csv"
    two_epochs(path)
    file = MetricsFile(path)
    file.keep_first(epoch)
    assert read_metrics(path) == ROWS[:epoch]
    file.log_metrics({"val/loss": 0.25, "epoch": epoch}, step=99)
    assert read_metrics(path) == [*ROWS[:epoch], {"epoch": epoch + 1, "step": 99, "val/loss": 0.25}]


def test_opening_again_changes_nothing(tmp_path):
    path = tmp_path / "metrics.csv"
    two_epochs(path)
    before = path.read_bytes()
    MetricsFile(path).keep_first(10)
    assert path.read_bytes() == before


def test_an_interrupted_file_goes_on_as_if_it_had_not_been(tmp_path):
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    calls = [
        ({"train/x": 1 / 3, "epoch": 0}, 1),
        ({"val/y": 1e-300, "epoch": 0}, 1),
        ({"val/y": -NAN, "train/x": math.inf, "epoch": 1}, 2),
        ({"val/y": 0.1 + 0.2, "epoch": 2}, 3),
    ]
    one = MetricsFile(whole)
    for metrics, step in calls:
        one.log_metrics(metrics, step)
        MetricsFile(parts).log_metrics(metrics, step)  # a new process for every call
    assert parts.read_bytes() == whole.read_bytes()
    assert same(read_metrics(whole), MetricsFile(parts).rows)
    assert read_metrics(whole)[0] == {"epoch": 1, "step": 1, "train/x": 1 / 3, "val/y": 1e-300}


def test_a_full_disk_leaves_the_rows_written_before(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    file = two_epochs(path)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        file.log_metrics({"val/loss": 0.0, "epoch": 2}, step=29)
    assert read_metrics(path) == ROWS
    assert list(tmp_path.iterdir()) == [path]


UNREADABLE = {
    "a word": ("epoch,val/loss\n0,1.0\n1,much\n", 3),
    "too many cells": ("epoch,val/loss\n0,1.0,7\n", 2),
    "after an empty line": ("epoch,val/loss\n\n0,1.0\n\n1,x\n", 5),
    "no epoch": ("epoch,val/loss\nnan,1.0\n", 2),
    "endless": ("epoch,val/loss\n0,1.0\ninf,1.0\n", 3),
}


@pytest.mark.parametrize(("text", "line"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_cell_that_is_no_number_is_named_by_its_line(text, line, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path}:{line}: a cell is not a number"):
        read_metrics(path)
    with pytest.raises(ValueError, match="a cell is not a number"):
        MetricsFile(path)


NO_METRICS = {
    "other columns": (b"time,value\n1,2\n", r":1: there is no column epoch \(found: time, value\)"),
    "an empty epoch": (b"epoch,val/loss\n0,1\n,2\n", ":3: the row has no epoch"),
    "not text": (b"epoch\n\xff\xfe\n", ": not a CSV file"),
    "a picture": (b"\x89PNG\r\n", ": not a CSV file"),
}


@pytest.mark.parametrize(("content", "message"), NO_METRICS.values(), ids=NO_METRICS)
def test_a_file_without_epochs_is_named(content, message, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}{message}"):
        read_metrics(path)


@pytest.mark.parametrize("text", [None, "", "epoch,step\n"], ids=["no file", "empty", "no rows"])
def test_no_rows(text, tmp_path):
    path = tmp_path / "metrics.csv"
    if text is not None:
        path.write_text(text)
    assert read_metrics(path) == []


def test_lightning_names_it_after_the_run(tmp_path):
    file = MetricsFile(tmp_path / "2024-01-01_abc" / "metrics.csv")
    assert (file.name, file.version) == ("metrics", "2024-01-01_abc")
    file.log_hyperparams({"a": 1})
    assert list(tmp_path.iterdir()) == []


class Counter(pl.LightningModule):
    """Logs numbers that are known beforehand."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):  # noqa: ARG002
        self.log("train/loss", batch.sum(), on_step=False, on_epoch=True, batch_size=len(batch))
        self.log("step/loss", batch.sum(), on_step=True, on_epoch=False)
        return self.weight.square()

    def validation_step(self, batch, batch_idx):  # noqa: ARG002
        self.log("val/epoch_squared", float(self.current_epoch**2), batch_size=1)

    def test_step(self, batch, batch_idx):  # noqa: ARG002
        self.log("test/x", 1.0, batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_what_a_trainer_writes(tmp_path):
    path = tmp_path / "metrics.csv"
    batches = DataLoader([torch.ones(2), torch.ones(4)], batch_size=None)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        check_val_every_n_epoch=2,
        log_every_n_steps=1,
        logger=[MetricsFile(path)],
        callbacks=[LearningRateMonitor("epoch")],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Counter()
    trainer.fit(module, batches, batches)
    trainer.test(module, batches, verbose=False)
    # train/loss: sums 2 and 4 weighted by 2 and 4 values, (2·2 + 4·4) / 6. Step 1 ends epoch 0, two a piece.
    loss = 20 / 6
    rows = read_metrics(path)
    assert [row.pop("train/loss") for row in rows] == pytest.approx([loss] * 3)
    assert rows == [
        {"epoch": 1, "step": 1, "lr-SGD": 0.25},
        {"epoch": 2, "step": 3, "lr-SGD": 0.25, "val/epoch_squared": 1.0},
        {"epoch": 3, "step": 5, "lr-SGD": 0.25},
    ]


BEST = {
    "smallest": ([3.0, 1.0, 2.0], "min", 1),
    "largest": ([3.0, 5.0, 2.0], "max", 1),
    "first of equals": ([1.0, 1.0], "min", 0),
    "nan first": ([NAN, 4.0, 5.0], "min", 1),
    "nan last": ([4.0, 5.0, NAN], "max", 1),
    "nan among": ([4.0, NAN, 3.0], "min", 2),
    "infinite": ([math.inf, 7.0], "min", 1),
    "without validation": ([None, 2.0, None], "max", 1),
    "nan alone": ([NAN, NAN], "min", None),
    "never measured": ([None], "min", None),
    "no rows": ([], "max", None),
}


@pytest.mark.parametrize(("values", "mode", "best"), BEST.values(), ids=BEST)
def test_best_row(values, mode, best):
    rows = [{"epoch": e} if v is None else {"epoch": e, "val/x": v} for e, v in enumerate(values)]
    assert best_row(rows, "val/x", mode) == ({} if best is None else rows[best])


def test_split_metrics():
    flat = {
        "train/loss": 1.0,
        "val/mse": torch.tensor(2.0),
        "test/mse": torch.tensor(3.0),
        "test/per_class/f1": 4.0,
        "baseline/last value/mse": 5.0,
        "baseline/last value/per_class/f1": 6.0,
        "baseline/last season/mse": torch.tensor(7.0),
        "lr-Adam": 8.0,
    }
    assert split_metrics(flat) == (
        {"mse": 3.0, "per_class/f1": 4.0},
        {"last value": {"mse": 5.0, "per_class/f1": 6.0}, "last season": {"mse": 7.0}},
    )
    assert split_metrics({}) == ({}, {})


def test_versions_name_what_computes():
    found = versions()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["pytorch-lightning"] == pl.__version__
    assert set(found) >= {"python", "platform", "gatewise", "hydra-core", "wandb", "numpy", "torchmetrics"}


def test_values_that_come_again_are_not_written_again(tmp_path):
    file = two_epochs(tmp_path / "metrics.csv")
    before = file.path.stat()
    file.log_metrics({"train/loss": 0.5, "epoch": 1}, step=19)
    assert file.path.stat().st_ino == before.st_ino
    file.log_metrics({"train/loss": 0.25, "epoch": 1}, step=19)
    assert file.path.stat().st_ino != before.st_ino
    assert read_metrics(file.path)[-1]["train/loss"] == 0.25


def test_a_file_that_counts_epochs_from_0_is_read_as_one_from_1(tmp_path):
    """As earlier versions wrote it; rows that come are counted on."""
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,val/loss\n0,9,2.0\n1,19,1.0\n")
    assert [row["epoch"] for row in read_metrics(path)] == [1, 2]
    file = MetricsFile(path)
    file.keep_first(1)
    file.log_metrics({"val/loss": 0.5, "epoch": 1}, step=19)
    assert path.read_text() == "epoch,step,val/loss\n1,9,2.0\n2,19,0.5\n"
