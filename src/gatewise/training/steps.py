"""A Trainer that stops, saves and resumes after any step."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

KNOWN = "2.6."
"""Start of the versions of Lightning whose loop is known from within."""


def make_interruptible(trainer: pl.Trainer, last: Path) -> None:
    """Have a Trainer stop, save and resume after any step, in the checkpoint ``last``.

    Under a version of Lightning that is not known it does so when an epoch has ended.
    """
    if pl.__version__.startswith(KNOWN):
        from gatewise.training.mid_epoch import InterruptibleEpochs

        trainer.fit_loop.epoch_loop = InterruptibleEpochs(trainer, last)
