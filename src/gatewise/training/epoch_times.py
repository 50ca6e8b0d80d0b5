"""``times.csv``: the seconds of training after which each epoch was done."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer

from gatewise.runs.metrics import read_times, write_table
from gatewise.runs.run import Run


class EpochTimes(pl.Callback):
    """Writes them after every epoch; a resumed training counts on from where it was left.

    They have a file of their own, because ``metrics.csv`` is the same for the same command.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.times_file
        self.rows: list[dict[str, float]] = []
        self._before = self._started = 0.0
        self._written = ""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Forget the epochs after the checkpoint that training goes on from."""
        if trainer.is_global_zero:
            self.rows = [row for row in read_times(self.path) if row["epoch"] <= trainer.current_epoch]
            self._before = self.rows[-1]["seconds"] if self.rows else 0.0
            self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Write the row of the epoch that has ended."""
        if trainer.is_global_zero:
            seconds = _timed(trainer)
            if seconds is None:
                seconds = self._before + time.monotonic() - self._started
            self.rows.append({"epoch": trainer.current_epoch + 1, "seconds": round(seconds, 3)})
            self._written = write_table(self.path, self.rows, ("epoch", "seconds"), self._written)


def _timed(trainer: pl.Trainer) -> float | None:
    """Seconds by Lightning's own timer, which checkpoints keep; None without one."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    timer = next((callback for callback in callbacks if isinstance(callback, Timer)), None)
    return None if timer is None else float(timer.time_elapsed("train"))
