"""What Lightning does around every training step, kept small: a step of a small model takes milliseconds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from pytorch_lightning.core.hooks import DataHooks
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)

BATCH_HOOKS = ("transfer_batch_to_device", "on_after_batch_transfer")

KNOWN = "2.6."
"""Start of the versions of Lightning whose loop is known from within."""


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own does, without a generator for each of a step's forty actions."""

    def __init__(self) -> None:
        super().__init__()
        self._nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:  # noqa: ARG002
        return self._nothing


def skip_empty_hooks(part: pl.Callback | pl.LightningModule) -> None:
    """Have Lightning pass over the step hooks that a callback or task leaves empty: many calls a step."""
    base = pl.Callback if isinstance(part, pl.Callback) else pl.LightningModule
    for hook in STEP_HOOKS:
        if getattr(type(part), hook) is getattr(base, hook):
            setattr(part, hook, None)


def skip_idle_hooks(callback: pl.Callback, settings: Mapping[Any, Any]) -> None:
    """As :func:`skip_empty_hooks`, for Lightning's callbacks that do nothing in a step by their settings."""
    kind = type(callback)
    if kind is LearningRateMonitor and settings.get("logging_interval") == "epoch":
        callback.on_train_batch_start = None  # type: ignore[assignment, method-assign]
    each_step = ("every_n_train_steps", "train_time_interval", "duration")
    if kind in (ModelCheckpoint, Timer) and all(settings.get(name) is None for name in each_step):
        callback.on_train_batch_end = None  # type: ignore[assignment, method-assign]


class BatchesStay(pl.Callback):
    """Has batches stay on the CPU, where they are read, unless task or DataModule would change them there.

    Lightning asks both of them three times a batch, and looks into the batch for tensors to move.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        strategy: Any = trainer.strategy
        if type(strategy) is not SingleDeviceStrategy or strategy.root_device.type != "cpu":
            return
        kinds = [type(part) for part in (pl_module, trainer.datamodule) if part is not None]  # type: ignore[attr-defined]
        if all(getattr(kind, hook) is getattr(DataHooks, hook) for kind in kinds for hook in BATCH_HOOKS):
            strategy.batch_to_device = _as_it_is  # type: ignore[method-assign]
        else:
            vars(strategy).pop("batch_to_device", None)


def _as_it_is(batch: Any, device: Any = None, dataloader_idx: int = 0) -> Any:  # noqa: ARG001
    return batch


def make_interruptible(trainer: pl.Trainer, last: Path) -> None:
    """Have a Trainer stop, save and resume after any step, in the checkpoint ``last``.

    Under a version of Lightning that is not known it does so when an epoch has ended.
    """
    if pl.__version__.startswith(KNOWN):
        from gatewise.training.mid_epoch import InterruptibleEpochs

        trainer.fit_loop.epoch_loop = InterruptibleEpochs(trainer, last)


def make_steps_plain(trainer: pl.Trainer) -> None:
    """Have a Trainer take steps by :class:`plain_steps.PlainSteps`, where they know Lightning's version."""
    if pl.__version__.startswith(KNOWN):
        from gatewise.training.plain_steps import PlainSteps

        trainer.fit_loop.epoch_loop.automatic_optimization = PlainSteps(trainer)
