"""What every training does in its epochs: reproducible draws, and a stop where the loss is no number."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


class ReproducibleEpochs(pl.Callback):
    """Seed every generator when an epoch starts: a resumed one draws what it would have drawn unbroken."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        # Not at the epoch's start: a DataLoader draws a number when it begins to iterate, which comes before
        # that in the first epoch of a process and after it in the others.
        if batch_idx > 0:
            return
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        for_torch, for_numpy, for_python = (int(word) for word in sequence.generate_state(3))
        if pl_module.device.type == "cpu":
            # torch.manual_seed takes a millisecond to note which other devices it may have to seed later.
            torch.default_generator.manual_seed(for_torch)
        else:
            torch.manual_seed(for_torch)
        np.random.seed(for_numpy)
        random.seed(for_python)


class StopTogether(pl.Callback):
    """Stops every process of a training where rank 0 has found a reason to.

    A subclass finds it, in rank 0; the other ranks need no more than this.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it was stopped; the same in every process."""

    def look_back(self, trainer: pl.Trainer) -> None:
        """Look for a reason in the epochs before this training began, or was resumed."""

    def look(self, trainer: pl.Trainer) -> None:
        """Look for a reason in the epoch that ends."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.look_back(trainer)
        self._agree(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.look(trainer)
        self._agree(trainer)

    def _agree(self, trainer: pl.Trainer) -> None:
        self.reason = trainer.strategy.broadcast(self.reason)
        if self.reason is not None:
            trainer.should_stop = True


class StopAtNaN(pl.Callback):
    """Stop the training where its loss, or the monitored metric, is NaN or infinite.

    Raises ValueError with the step, before a checkpoint of that epoch is written.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        value = 0.0 if loss is None else float(loss)
        if not math.isfinite(value):
            self._stop(trainer, "the loss", value, f"step {batch_idx + 1} of epoch")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and not bool(torch.isfinite(value)):
            step = trainer.fit_loop.batch_idx + 1
            where = (
                "the end of epoch" if trainer.is_last_batch else f"the validation after step {step} of epoch"
            )
            self._stop(trainer, self.monitor, float(value), where)

    def _stop(self, trainer: pl.Trainer, what: str, value: float, where: str) -> None:
        raise ValueError(
            f"{what} is {value} at {where} {trainer.current_epoch + 1}: {smaller_steps(trainer)}"
        )


def smaller_steps(trainer: pl.Trainer) -> str:
    """What to do about steps that are too large."""
    rates = ", ".join(f"{group['lr']:g}" for o in trainer.optimizers for group in o.param_groups)
    return (
        f"try a smaller optimizer.lr (it was {rates}) or trainer.gradient_clip_val; checkpoints of the "
        f"epochs before are kept"
    )
