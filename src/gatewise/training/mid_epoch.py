"""An epoch that is stopped after any of its steps, and resumed there to the same digits.

Lightning restores how far an epoch had come, but not what its steps had gathered, nor the state of the random
number generators, nor the place in its data. A callback keeps these, with what every process has of them.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import CombinedLoader

from gatewise.settings import NotNegative, checked
from gatewise.training import lightning_internals as internals
from gatewise.training.checkpoints import AND_STOP

_KEY, _METRICS = "mid_epoch", "callback_metrics"
_SAVE, _STOP = 1, 100
"""What processes request of each other: a checkpoint; to stop, added to a signal's number."""


@dataclass
class _Position:
    """A place in an epoch: after ``batches`` batches."""

    batches: int
    is_last_batch: bool = False
    validation_due: bool | None = False
    """None where Lightning has not come to decide it."""
    is_counted: bool = True
    """Whether Lightning has counted the last batch for its loggers."""


class MidEpochCheckpoint(pl.Callback):
    """Saves a checkpoint between two steps when it is time, and stops there when that is requested.

    All processes do so after the same step. A training that is given the checkpoint, which is written to
    ``last``, resumes there. It has to be the first of the callbacks: to the others an epoch that was resumed
    is like any other.
    """

    def __init__(self, last: Path) -> None:
        self.last = last
        self.requested = 0
        """The signal that requests the end; 0 for none."""
        self.stopping = False
        """Whether it has begun to stop."""
        self._period = self._due = math.inf
        self._running = False
        self._position: _Position | None = None
        self._before_validation: dict[str, Any] | None = None
        """The epoch's state when the validation that runs began."""
        self._loaded: _Position | None = None
        """Where the first epoch after a checkpoint was read begins."""
        self._resumed: dict[str, Any] | None = None
        """What that epoch had gathered, until it is put back."""
        self._metrics: dict[str, Any] = {}

    @classmethod
    def of(cls, trainer: pl.Trainer) -> MidEpochCheckpoint | None:
        """That of a Trainer, where it has one."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        return next((callback for callback in callbacks if isinstance(callback, cls)), None)

    def save_every(self, seconds: float) -> None:
        """Save when so many seconds have passed from now, and again and again."""
        self._period, self._due = seconds, time.monotonic() + seconds

    def request_stop(self, number: int) -> bool:
        """Stop after this step, for the signal ``number``; False where there is no step to wait for."""
        if self._running:
            self.requested = number
        return self._running

    # ---- where the epoch is

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # What a callback looks up that has no new value in an epoch without a validation.
        trainer.callback_metrics.update(self._metrics)
        self._metrics = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._running = True
        if self._loaded is not None:
            internals.continue_epoch(
                trainer, self._loaded.batches, self._loaded.is_last_batch, self._loaded.validation_due
            )
            self._loaded = None

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        self._position = _Position(batch_idx)
        if self._resumed is not None:
            with internals.before_batch(trainer):
                self._restore(trainer, pl_module)
        if trainer.world_size > 1 or self.requested or time.monotonic() >= self._due:
            self._save_or_stop(trainer, self._agreed(trainer))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        self._position = _Position(batch_idx + 1, trainer.is_last_batch, None, False)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not _in_epoch(trainer):
            return
        if self._resumed is not None:
            self._position = replace(_position(self._resumed), is_counted=False)
            self._restore(trainer, pl_module)
        if self._position is not None:
            self._position.validation_due = True
            self._before_validation = {**self._state(trainer, self._position), "in_validation": True}

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        if self.requested and self._before_validation is not None and trainer.is_global_zero:
            self._stop_in_validation(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        # The callbacks after this one take notice of the result: it is too late to begin it anew.
        self._before_validation = None
        if self._position is not None:
            self._position.validation_due = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._resumed is not None:
            self._restore(trainer, pl_module)  # all was done but the hooks that end the epoch
        self._position = None

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._running = False

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        self._running = False

    # ---- saving and stopping

    def _request(self) -> int:
        return _STOP + self.requested if self.requested else _SAVE if time.monotonic() >= self._due else 0

    def _agreed(self, trainer: pl.Trainer) -> int:
        """The most that any of the processes requests."""
        if trainer.world_size == 1:
            return self._request()
        request = torch.tensor(self._request(), device=trainer.strategy.root_device)
        torch.distributed.all_reduce(request, op=torch.distributed.ReduceOp.MAX)
        return int(request)

    def _save_or_stop(self, trainer: pl.Trainer, request: int) -> None:
        """Do what is requested. Raises KeyboardInterrupt where that is to stop."""
        if request == 0:
            return
        self.stopping = request >= _STOP
        if trainer.global_step > 0:
            trainer.save_checkpoint(self.last, weights_only=False)
        self._due = time.monotonic() + self._period
        if self.stopping:
            self.requested = request - _STOP
            raise KeyboardInterrupt

    def _stop_in_validation(self, trainer: pl.Trainer) -> None:
        """Stop between two batches of a validation, which is begun anew when the training is resumed.

        The other processes may have more batches or fewer; they are not asked and end with this one.
        """
        if isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            self.stopping = True
            trainer.save_checkpoint(self.last, weights_only=False, storage_options=AND_STOP)

    # ---- what is kept

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        if self._position is not None:
            checkpoint[_KEY] = self._before_validation or self._state(trainer, self._position)
        known = trainer.callback_metrics
        checkpoint[_METRICS] = {name: torch.as_tensor(value).detach().cpu() for name, value in known.items()}

    def _state(self, trainer: pl.Trainer, position: _Position) -> dict[str, Any]:
        """How far the epoch is and what every process has of it, as plain values; all have to ask for it."""
        task: Any = trainer.lightning_module
        own: dict[str, Any] = {"random": _generators(trainer.strategy.root_device)}
        own.update(task.epoch_state())
        if not _completes_step(trainer, position):
            own["gradients"] = [parameter.grad for parameter in task.parameters()]
        ranks: list[Any] = [own]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, own)
        return {
            "batches": position.batches,
            "is_last_batch": position.is_last_batch,
            "validation_due": position.validation_due,
            "stepped": internals.logged_steps(trainer),
            "step_is_counted": position.is_counted,
            "ranks": ranks,
        }

    # ---- resuming

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        earlier = internals.state_of_earlier_versions(checkpoint)
        self._metrics = checkpoint.get(_METRICS, earlier.get("metrics", {}))
        self._resumed = mid_epoch_state(checkpoint)
        self._loaded = _Position(0) if self._resumed is None else _position(self._resumed)
        internals.begin_epoch_again(checkpoint, self._loaded.batches, self._loaded.is_last_batch)

    def _restore(self, trainer: pl.Trainer, task: Any) -> None:
        """Put the epoch, which Lightning has begun like any other, where it was stopped."""
        resumed, self._resumed = self._resumed, None
        assert resumed is not None
        internals.forget_validation(trainer)
        position = _position(resumed)
        is_counted_now = not trainer.validating and not position.is_counted
        internals.set_logged_steps(
            trainer, resumed["stepped"] + (is_counted_now and _completes_step(trainer, position))
        )
        ranks = resumed["ranks"]
        task.load_epoch_state(ranks)
        own = ranks[trainer.global_rank % len(ranks)]
        same = len(ranks) == trainer.world_size
        if "gradients" in own:
            gradients = [own["gradients"]] if same else [each["gradients"] for each in ranks]
            for parameter, *parts in zip(task.parameters(), *gradients, strict=True):
                parameter.grad = _mean(parts, parameter)
        _set_generators(own["random"], trainer.strategy.root_device)
        if trainer.validating and not resumed.get("in_validation"):
            # They are from before its loader began to iterate, for which it draws a number.
            iter(CombinedLoader(trainer.val_dataloaders, "sequential"))
        if not same:
            # Two processes that go on from the draws of one would draw the same.
            pl.seed_everything(int(torch.randint(2**31, ())) + trainer.global_rank, verbose=False)


class TimedCheckpoint(pl.Callback):
    """Saves ``checkpoints/last.ckpt`` in the middle of an epoch, when the last one is so many minutes old."""

    @checked
    def __init__(self, every_minutes: NotNegative) -> None:
        self.seconds = 60 * every_minutes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        mid_epoch = MidEpochCheckpoint.of(trainer)
        if mid_epoch is not None:
            mid_epoch.save_every(self.seconds)


def epochs_in(checkpoint: Mapping[str, Any]) -> int:
    """How many whole epochs a checkpoint holds."""
    return int(checkpoint["epoch"]) + (not is_mid_epoch(checkpoint))


def batches_in(checkpoint: Mapping[str, Any]) -> int:
    """How many batches of its unfinished epoch a checkpoint holds."""
    state = mid_epoch_state(checkpoint)
    return 0 if state is None else int(state["batches"])


def is_mid_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was written before its epoch had ended."""
    return mid_epoch_state(checkpoint) is not None


def mid_epoch_state(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint says of the epoch that it was written in; None where that had ended."""
    state: dict[str, Any] | None = checkpoint.get(_KEY)
    return state or internals.state_of_earlier_versions(checkpoint).get(_KEY)


def _in_epoch(trainer: pl.Trainer) -> bool:
    """Whether a validation is one of the training: not before it, and not by itself."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


def _position(state: Mapping[str, Any]) -> _Position:
    """The place that a checkpoint's state tells; earlier versions saved where all was counted."""
    return _Position(
        state["batches"],
        state["is_last_batch"],
        state["validation_due"],
        state.get("step_is_counted", True),
    )


def _completes_step(trainer: pl.Trainer, position: _Position) -> bool:
    """Whether the optimizer has taken a step with the last batch, and no gradients wait for more."""
    accumulated: int = trainer.accumulate_grad_batches
    return position.is_last_batch or position.batches % accumulated == 0


def _mean(parts: list[torch.Tensor | None], parameter: torch.nn.Parameter) -> torch.Tensor | None:
    """The mean gradient of the processes there were, which is that of every process there is now."""
    known = [part.to(parameter.device) for part in parts if part is not None]
    if not known:
        return None
    if len(parts) > 1 and any(part.shape != parameter.shape for part in known):
        raise ValueError(
            "resume: this checkpoint was written between two batches of one optimizer step, by processes "
            "that each had a part of the weights: give it as many processes as before"
        )
    return torch.stack(known).sum(0) / len(parts)


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of all random number generators, as plain values."""
    state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = state
    states = {
        "torch": torch.get_rng_state(),
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_generators(states: Mapping[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(states["python"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
