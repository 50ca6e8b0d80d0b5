"""The progress bar of a training: one line that is gone when its work is done."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_EVERY_SECONDS = 0.125


class EpochBar(ProgressBar):
    """Shows the epoch, its batches and the loss of its last steps, and in turn validation and test.

    Lightning's own counts epochs from 0, and leaves the last bar behind. Lines that are logged meanwhile
    stand above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: Progress | None = None
        self._training: TaskID | None = None
        self._evaluation: TaskID | None = None
        self._refreshed = 0.0

    def enable(self) -> None:
        """Show it, as in rank 0."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, as in the other ranks."""
        self._enabled = False

    @property
    def is_disabled(self) -> bool:
        return not self._enabled

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        print(*args, **kwargs)  # what goes to the standard output is put above it

    # ---- training

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        name = f"epoch {trainer.current_epoch + 1}"
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            name += f"/{trainer.max_epochs}"
        self._remove(self._training)
        self._training = self._begin(name, self.total_train_batches)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        if self._bar is None or self._training is None:
            return
        loss = trainer.progress_bar_metrics.get("step/loss")
        shown = "" if loss is None else f"loss {float(loss):.4g}"
        self._bar.update(self._training, completed=batch_idx + 1, shown=shown)
        self._refresh()

    # ---- validation and test

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if not trainer.sanity_checking:
            self._begin_evaluation("  validation", trainer.num_val_batches)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._begin_evaluation("test", trainer.num_test_batches)

    def _begin_evaluation(self, name: str, batches: Any) -> None:
        total = sum(batches) if isinstance(batches, list) else batches
        self._evaluation = self._begin(name, total)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._advance_evaluation()

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._advance_evaluation()

    def _advance_evaluation(self) -> None:
        if self._bar is not None and self._evaluation is not None:
            self._bar.advance(self._evaluation)
            self._refresh()

    # ---- beginning and ending

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._remove(self._evaluation)
        self._evaluation = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._stop()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._stop()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._stop()

    def _begin(self, name: str, batches: float) -> TaskID | None:
        if self.is_disabled:
            return None
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                transient=True,
                # A thread of rich's own that draws while a line is logged leaves a part of the bar behind.
                auto_refresh=False,
            )
            self._bar.start()
        total = float(batches) if batches != float("inf") else None
        return self._bar.add_task(name, total=total, shown="")

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._bar is not None and now - self._refreshed >= _EVERY_SECONDS:
            self._refreshed = now
            self._bar.refresh()

    def _remove(self, begun: TaskID | None) -> None:
        if self._bar is not None and begun is not None:
            self._bar.remove_task(begun)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._training = self._evaluation = None
