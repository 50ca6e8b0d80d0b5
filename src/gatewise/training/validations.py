"""``validations.csv``: a row per validation, where an epoch has several of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from gatewise.runs.metrics import read_validations, write_table
from gatewise.tasks import Task
from gatewise.training.loggers import MetricsFile


class ValidationsFile(pl.Callback):
    """Keeps what each validation within an epoch showed, beside the training since the one before.

    The last of them is at the epoch's end, where it judges the checkpoint: Lightning counts batches from the
    epoch's start and leaves out what remains. ``metrics`` gets that one alone.
    """

    def __init__(self, path: Path, metrics: MetricsFile) -> None:
        self.path, self.metrics = path, metrics
        self.rows: list[dict[str, float]] = []
        self._every = 0
        # Epoch, sum of losses and count of predictions at the last validation.
        self._before = {"epoch": -1, "loss": 0.0, "count": 0}

    @classmethod
    def of(cls, trainer: pl.Trainer) -> ValidationsFile | None:
        """That of a Trainer, where it has one."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next((callback for callback in callbacks if isinstance(callback, cls)), None)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = dict(state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        every, batches = trainer.val_check_interval, int(trainer.num_training_batches)
        if isinstance(every, float):
            every = math.ceil(every * batches)
        # Validations counted over epochs, or one for each, are left to Lightning.
        self._every = every if trainer.check_val_every_n_epoch is not None and every < batches else 0
        if self._every and trainer.is_global_zero:
            self.rows = [row for row in read_validations(self.path) if row["step"] < trainer.global_step]
            self._write()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # Of an epoch that is resumed after batches: whether a validation is due there.
        self._set_interval(trainer, trainer.fit_loop.batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._every = 0  # a validation by itself is no training's

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        self._set_interval(trainer, batch_idx)

    def _set_interval(self, trainer: pl.Trainer, batch_idx: int) -> None:
        if self._every:
            trainer.val_check_batch = batch_idx + 1 if trainer.is_last_batch else self._every

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.metrics.between = bool(self._every) and not trainer.is_last_batch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.metrics.between = False
        if not self._every or not isinstance(pl_module, Task):
            return
        training = pl_module.training_epoch
        training.gather()
        same = self._before["epoch"] == trainer.current_epoch
        loss, count = (self._before["loss"], self._before["count"]) if same else (0.0, 0)
        shown = pl_module.training_means(training.loss - loss, training.count - int(count))
        self._before = {"epoch": trainer.current_epoch, "loss": training.loss, "count": training.count}
        if not trainer.is_global_zero:
            return
        shown.update({n: v for n, v in trainer.callback_metrics.items() if n.startswith("val/")})
        passed = trainer.current_epoch + (trainer.fit_loop.batch_idx + 1) / int(trainer.num_training_batches)
        step = trainer.global_step - 1
        row: dict[str, float] = {"epochs": passed, "step": step}
        row.update((name, float(value)) for name, value in shown.items())
        # A checkpoint of before this validation has it repeated.
        self.rows = [*(earlier for earlier in self.rows if earlier["step"] < step), row]
        self._write()

    def _write(self) -> None:
        write_table(self.path, self.rows, ("epochs", "step"))
