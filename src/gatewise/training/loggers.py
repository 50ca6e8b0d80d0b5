"""``metrics.csv`` as Lightning fills it: one row per epoch, written whole after each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from gatewise.runs.metrics import read_metrics, write_table

STEP_PREFIX = "step/"


def epoch_values(trainer: pl.Trainer, task: pl.LightningModule) -> dict[str, float]:
    """The training and validation metrics of the epoch that ends, by full name.

    Without a validation in it, ``trainer.callback_metrics`` still has the values of an earlier epoch.
    """
    splits = ("train/", "val/") if getattr(task, "validated", True) else ("train/",)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(splits)}


def from_one(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metrics as Lightning logs them, with the number of their epoch: Lightning counts from 0.

    After a training its number is that of the last epoch.
    """
    if "epoch" not in metrics or any(name.startswith("test/") for name in metrics):
        return metrics
    return {**metrics, "epoch": metrics["epoch"] + 1}


class MetricsFile(Logger):
    """A Lightning logger that keeps one row per epoch and can take up where an earlier process stopped.

    Lightning's own CSVLogger starts afresh in a directory it has written before. Values of single steps
    (named ``step/…``) and of the test are left to the other loggers and to ``summary.json``. No clock time
    is written: the same command gives the same file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows = read_metrics(path)
        self.between = False
        """Whether what comes is of a validation before the epoch's end, and no part of its row."""
        # The learning-rate monitor speaks before its epoch has a row.
        self._pending: dict[str, float] = {}
        self._written = ""

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return self.path.parent.name

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is stored in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take up the values of an epoch; called several times for each."""
        if self.between:
            return
        epoch = metrics.get("epoch")
        kept = {
            name: float(value)
            for name, value in metrics.items()
            if not name.startswith((STEP_PREFIX, "test/", "baseline/")) and name != "epoch"
        }
        if epoch is None:
            self._pending.update(kept)
        elif kept:
            self._row(int(epoch) + 1, step).update({**self._pending, **kept})
            self._pending = {}
            self._write()

    def keep_first(self, epochs: int) -> None:
        """Forget the rows after so many epochs: training goes on behind these."""
        self.rows = [row for row in self.rows if row["epoch"] <= epochs]
        self._write()

    def _row(self, epoch: int, step: int | None) -> dict[str, float]:
        if not self.rows or self.rows[-1]["epoch"] != epoch:
            self.rows.append({"epoch": epoch})
        if step is not None:
            self.rows[-1]["step"] = step
        return self.rows[-1]

    def _write(self) -> None:
        # The values of an epoch come more than once, and a disk takes longer than all the rest of this.
        self._written = write_table(self.path, self.rows, ("epoch", "step"), self._written)


def new_points(metrics: Mapping[str, Any], step: int | None, last: dict[str, int]) -> dict[str, Any]:
    """The metrics that were not logged at this step yet, which ``last`` (of each name) takes note of.

    Lightning gives the epoch with whatever it logs, and a step's loss for each of the batches whose gradients
    it accumulates.
    """
    if step is None:
        return dict(metrics)
    new = {name: value for name, value in metrics.items() if step > last.get(name, -1)}
    last.update(dict.fromkeys(new, step))
    return new


class RowsBeforeCheckpoints(pl.Callback):
    """Writes an epoch's row before its checkpoint, which Lightning does after it.

    A training killed in between would go on after that epoch and never fill in its row.
    """

    def __init__(self, file: MetricsFile) -> None:
        self.file = file

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # The step under which Lightning logs an epoch's end.
        step = trainer.global_step - 1
        values = epoch_values(trainer, pl_module)
        self.file.log_metrics({**values, "epoch": trainer.current_epoch}, step)
