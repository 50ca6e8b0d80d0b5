"""An epoch that is left after any of its steps, and gone on with there to the same digits.

Lightning restores how far an epoch had come, but not what its steps had gathered, nor the draws to come, nor
where its data stood, and it skips the hooks that begin an epoch. Here a resumed epoch begins like any other
and is then put where it was left. The loop is no part of Lightning's interface: see
:func:`gatewise.training.steps.make_interruptible`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from gatewise.settings import NotNegative, checked

_KEY = "mid_epoch"
_SAVE, _STOP = 1, 100
"""What processes tell each other: that it is time for a checkpoint; to stop, added to a signal's number."""


class InterruptibleEpochs(_TrainingEpochLoop):
    """The steps of an epoch; between two of them it saves when it is time, and stops when asked to.

    All processes do so after the same step. ``last`` is the checkpoint that is written.
    """

    def __init__(self, trainer: pl.Trainer, last: Path) -> None:
        replaced = trainer.fit_loop.epoch_loop
        super().__init__(trainer, replaced.min_steps, replaced.max_steps)
        self.val_loop = _Validation(
            trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
        )
        self.last = last
        self.asked = 0
        """The signal that asks for the end; 0 for none."""
        self.leaving = False
        """Whether it has begun to stop."""
        self.before_validation: dict[str, Any] | None = None
        """Where the epoch stood before the validation that runs."""
        self._period = self._due = math.inf
        self._running = False
        self._alone = True
        self._resumed: dict[str, Any] | None = None
        self._metrics: dict[str, Any] = {}
        self._validation_due = False

    def save_every(self, seconds: float) -> None:
        """Save when so many seconds have passed from now, and again and again."""
        self._period, self._due = seconds, time.monotonic() + seconds

    def ask(self, number: int) -> bool:
        """Stop after this step, for the signal ``number``; False where there is no step to wait for."""
        if self._running:
            self.asked = number
        return self._running

    # ---- leaving

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self._validation_due:
            return
        if not self._alone:
            self._attend(self._agreed())
        elif self.asked or time.monotonic() >= self._due:
            self._attend(self._wish())
        super().advance(data_fetcher)

    def _broadcast_sigterm_tensor(self) -> None:
        """Lightning's own agreement of the processes, in every step; ours has been made."""

    def _wish(self) -> int:
        return _STOP + self.asked if self.asked else _SAVE if time.monotonic() >= self._due else 0

    def _agreed(self) -> int:
        wish = torch.tensor(self._wish(), device=self.trainer.strategy.root_device)
        torch.distributed.all_reduce(wish, op=torch.distributed.ReduceOp.MAX)
        return int(wish)

    def _attend(self, wish: int) -> None:
        """Between two steps: do what is wished. Raises KeyboardInterrupt where that is to stop."""
        if wish == 0:
            return
        self.leaving = wish >= _STOP
        if self.global_step > 0:
            self.trainer.save_checkpoint(self.last)
        self._due = time.monotonic() + self._period
        if self.leaving:
            self.asked = wish - _STOP
            raise KeyboardInterrupt

    def leave_validation(self) -> None:
        """Between two batches of a validation: stop where that is asked for; it is begun anew then.

        The other processes are not asked, as they ask nobody here: they end with this one.
        """
        trainer = self.trainer
        if self.before_validation is None or not trainer.is_global_zero:
            return
        if isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            self.leaving = True
            trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(False), self.last)
            raise KeyboardInterrupt

    def teardown(self) -> None:
        self._running = False
        super().teardown()

    # ---- what is kept

    def on_save_checkpoint(self) -> dict[str, Any]:
        state = super().on_save_checkpoint()
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        if epochs.started > epochs.processed:
            state[_KEY] = self.before_validation or self.standing()
        # What a callback looks up that has no new value in an epoch without a validation.
        known = self.trainer._logger_connector._callback_metrics
        state["metrics"] = {name: torch.as_tensor(value).detach().cpu() for name, value in known.items()}
        return state

    def standing(self, validation_due: bool = False) -> dict[str, Any]:
        """How far the epoch is and what every process has of it, as plain values; all have to ask for it."""
        trainer: Any = self.trainer
        now: Any = self.batch_progress.current
        stepped = self._batches_that_stepped
        # A ModelCheckpoint may ask at the end of a step or of its validation, before the loop has counted it.
        ending = now.processed > now.completed
        if ending:
            fetcher = trainer.fit_loop._data_fetcher
            assert fetcher is not None
            validation_due = self._should_check_val_fx(fetcher)
        if (ending or trainer.validating) and not validation_due and not self._should_accumulate():
            stepped += 1
        own: dict[str, Any] = {"random": _generators(trainer.strategy.root_device)}
        own.update(trainer.lightning_module.epoch_state())
        if self._should_accumulate():
            own["gradients"] = [parameter.grad for parameter in trainer.lightning_module.parameters()]
        ranks: list[Any] = [own]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, own)
        return {
            "batches": now.processed,
            "is_last_batch": self.batch_progress.is_last_batch,
            "validation_due": validation_due,
            "stepped": stepped,
            "ranks": ranks,
        }

    # ---- coming back

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        self._resumed, self._metrics = state_dict.get(_KEY), state_dict.get("metrics", {})
        if self._resumed is not None:
            # Not begun, that is: Lightning begins it with all its hooks.
            begun = self.trainer.fit_loop.epoch_progress
            for count in (begun.total, begun.current):
                _set_all(count, count.completed)

    def reset(self) -> None:
        resumed = self._resumed
        if resumed is not None:
            self.restarting = False
        super().reset()
        if resumed is not None:
            _set_all(self.batch_progress.current, resumed["batches"])
            _set_all(self.batch_progress.total, self.batch_progress.total.ready)
            self.batch_progress.is_last_batch = resumed["is_last_batch"]
            self._batches_that_stepped = resumed["stepped"]
            self._validation_due = resumed["validation_due"]

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        resumed, self._resumed = self._resumed, None
        trainer = self.trainer
        if resumed is not None and not resumed["is_last_batch"]:
            _skip(data_fetcher, resumed["batches"])
        super().on_run_start(data_fetcher)
        self._alone, self._running = trainer.world_size == 1, True
        trainer._logger_connector._callback_metrics.update(self._metrics)
        self._metrics = {}
        if resumed is not None:
            self._restore(resumed["ranks"])

    def _restore(self, ranks: list[dict[str, Any]]) -> None:
        trainer: Any = self.trainer
        task = trainer.lightning_module
        task.load_epoch_state(ranks)
        own = ranks[trainer.global_rank % len(ranks)]
        same = len(ranks) == trainer.world_size
        if "gradients" in own and same:
            for parameter, gradient in zip(task.parameters(), own["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)
        _set_generators(own["random"], trainer.strategy.root_device)
        if not same:
            # Two processes that go on from the draws of one would draw the same.
            pl.seed_everything(int(torch.randint(2**31, ())) + trainer.global_rank, verbose=False)

    @property
    def done(self) -> bool:
        return not self._validation_due and super().done

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        if self._validation_due:
            self._validation_due = False
            return True
        return super()._should_check_val_fx(data_fetcher)


class _Validation(_EvaluationLoop):
    """The validation in or after an epoch, which can be left between two batches."""

    def run(self) -> list[Any]:
        epochs = self.trainer.fit_loop.epoch_loop
        if isinstance(epochs, InterruptibleEpochs) and not self.trainer.sanity_checking:
            epochs.before_validation = epochs.standing(validation_due=True)
        shown: list[Any] = super().run()
        return shown

    def _evaluation_step(self, *batch: Any) -> None:
        epochs: Any = self.trainer.fit_loop.epoch_loop
        if epochs.asked:
            epochs.leave_validation()
        super()._evaluation_step(*batch)

    def on_run_end(self) -> list[Any]:
        # From here on callbacks take notice of the result: too late to begin it anew.
        self.trainer.fit_loop.epoch_loop.before_validation = None  # type: ignore[attr-defined]
        return super().on_run_end()


class TimedCheckpoint(pl.Callback):
    """Saves ``checkpoints/last.ckpt`` in the middle of an epoch, when the last one is so many minutes old."""

    @checked
    def __init__(self, every_minutes: NotNegative) -> None:
        self.seconds = 60 * every_minutes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        epochs = trainer.fit_loop.epoch_loop
        if isinstance(epochs, InterruptibleEpochs):
            epochs.save_every(self.seconds)


def epochs_in(checkpoint: Mapping[str, Any]) -> int:
    """How many whole epochs a checkpoint holds."""
    return int(checkpoint["epoch"]) + (not is_mid_epoch(checkpoint))


def is_mid_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was written before its epoch had ended."""
    loops = checkpoint.get("loops", {})
    return _KEY in loops.get("fit_loop", {}).get("epoch_loop.state_dict", {})


def _set_all(count: Any, value: int) -> None:
    count.ready = count.started = count.processed = count.completed = value


def _skip(data_fetcher: _DataFetcher, batches: int) -> None:
    """Have a fetcher that was just made give the batches after the first so many."""
    (loader,) = data_fetcher.combined_loader.flattened
    sampler: Any = getattr(loader, "sampler", None)
    if hasattr(sampler, "start"):
        sampler.start = batches
        return
    before = data_fetcher.fetched
    for _ in range(batches):
        next(data_fetcher)
    data_fetcher.fetched = before  # the loop adds them


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of all random number generators, as plain values."""
    state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = state
    found = {
        "torch": torch.get_rng_state(),
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def _set_generators(states: Mapping[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(states["python"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
