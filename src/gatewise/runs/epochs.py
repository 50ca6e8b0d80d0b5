"""Epochs whose random draws depend on (seed, epoch, rank) alone."""

from __future__ import annotations

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
        pl_module: pl.LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        # Not at the epoch's start: a DataLoader draws a number when it begins to iterate, which comes before
        # that in the first epoch of a process and after it in the others.
        if batch_idx > 0:
            return
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        for_torch, for_numpy, for_python = (int(word) for word in sequence.generate_state(3))
        torch.manual_seed(for_torch)
        np.random.seed(for_numpy)
        random.seed(for_python)
