"""Fit a run and test it, as one of its processes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, Timer

from gatewise.data.module import SequenceDataModule
from gatewise.launch.signals import Stop
from gatewise.nn import Recurrent, engines_used, masks
from gatewise.runs.checkpoints import check_finite, read_checkpoint
from gatewise.runs.metrics import read_metrics
from gatewise.runs.reading import is_there
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row, split_metrics, versions
from gatewise.tasks import Task
from gatewise.tasks.task import MASKS
from gatewise.training import logged, wandb
from gatewise.training.checkpoints import Chosen, chosen
from gatewise.training.display import ResultTable, forget_test, how_it_ended, where_it_goes_on
from gatewise.training.epochs import StopTogether, smaller_steps
from gatewise.training.lightning_internals import logged_steps, set_logged_steps
from gatewise.training.loggers import MetricsFile
from gatewise.training.mid_epoch import MidEpochCheckpoint, epochs_in, is_mid_epoch
from gatewise.training.opened import load_weights
from gatewise.training.parts import parts_for_test
from gatewise.training.resumable import check_optimizer_finite
from gatewise.training.trainer import make_trainer
from gatewise.views import screen

_log = logging.getLogger(__name__)


def fit_and_test(
    run: Run,
    data: SequenceDataModule,
    task: Task,
    stop: Stop | None = None,
    pruning: StopTogether | None = None,
) -> None:
    """Train the run from where it stands and test its best checkpoint, as the rank this process is.

    One that ``pruning`` stopped is not tested. Raises KeyboardInterrupt where the user, or a signal that
    ``stop`` knows of, stopped it, ValueError where the loss is no number any more.
    """
    started = time.monotonic()
    config = run.config()
    assert data.facts is not None
    trainer = make_trainer(config, run, [] if pruning is None else [pruning])
    exit_code = 1
    try:
        if trainer.is_global_zero:
            run.save_facts(data.facts)
            cells = sorted({m.cell_name for m in task.modules() if isinstance(m, Recurrent)})
            screen.print_head(run, config, data.describe(), cells)
            logged.begin(trainer.loggers, run, config, task)
        with _graceful_stop(trainer, stop), engines_used() as engines:
            seconds = _fit(run, trainer, task, data)
        metrics: dict[str, Any] = {}
        best = chosen(trainer, run)
        if trainer.is_global_zero:
            for line in how_it_ended(trainer, seconds.get("training_seconds"), best.words):
                _log.info(line)
        if config.test and (pruning is None or pruning.reason is None):
            ResultTable.name_weights(trainer, best.words)
            task.parts = parts_for_test(data)
            interruptible(
                trainer,
                lambda: trainer.test(
                    task, datamodule=data, ckpt_path=best.path, weights_only=True, verbose=False
                ),
            )
            metrics = dict(trainer.callback_metrics)
        elif trainer.is_global_zero:
            forget_test(run)
        if trainer.is_global_zero:
            seconds["wall_seconds"] = round(time.monotonic() - started, 2)
            example = data.save_example(run.folder)
            _summarise(run, config, trainer, task, metrics, seconds, example, best, engines.names)
            logged.end(trainer.loggers, run, config, task, best, logged_steps(trainer))
        exit_code = 0
    finally:
        wandb.finish(trainer.loggers, exit_code)


def _fit(run: Run, trainer: pl.Trainer, task: Task, data: SequenceDataModule) -> dict[str, float]:
    """Train to the end, from the last checkpoint where there is one; returns the training's seconds."""
    last = run.checkpoints / "last.ckpt"
    checkpoint = read_checkpoint(last) if is_there(last) else None
    if checkpoint is not None:
        stored = checkpoint["state_dict"]
        check_finite(last, {name: stored.get(name) for name, _ in task.named_parameters()})
        check_optimizer_finite(last, checkpoint)
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        metrics_file = next(logger for logger in trainer.loggers if isinstance(logger, MetricsFile))
        metrics_file.keep_first(epochs_in(checkpoint) if checkpoint else 0)
        step = int(checkpoint["global_step"]) if checkpoint else 0
        logged.go_on_from(trainer.loggers, step, metrics_file.rows)
    if checkpoint is not None and not is_mid_epoch(checkpoint) and _had_stopped(checkpoint, callbacks):
        # Killed after it had stopped early: one more epoch would make it another training.
        load_weights(task, last, checkpoint)
        set_logged_steps(trainer, checkpoint["global_step"])
        return {}
    if checkpoint is not None and trainer.is_global_zero:
        _log.info("%s", where_it_goes_on(checkpoint, trainer.max_epochs))
    if checkpoint is None:
        task.begin(parts_for_test(data))
    ckpt_path = last if checkpoint is not None else None
    # What was begun with other masks goes on with those.
    is_earlier = checkpoint is not None and not checkpoint.get(MASKS)
    with masks.as_torch_draws_them() if is_earlier else contextlib.nullcontext():
        interruptible(
            trainer, lambda: trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        )
    timers = [callback for callback in callbacks if isinstance(callback, Timer)]
    # Read before the test, which restores the best checkpoint with the time that had passed then.
    return {"training_seconds": round(timers[0].time_elapsed("train"), 2)} if timers else {}


@contextlib.contextmanager
def _graceful_stop(trainer: pl.Trainer, stop: Stop | None) -> Iterator[None]:
    """Have a training end after its step where a signal requests it, here or in another process of it."""
    training = MidEpochCheckpoint.of(trainer)
    if stop is None or training is None:
        yield
        return
    stop.training = training
    try:
        yield
        if training.requested:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        stop.learn(training.requested)
        raise
    finally:
        stop.training = None


def _had_stopped(checkpoint: dict[str, Any], callbacks: list[pl.Callback]) -> bool:
    patience = [callback.patience for callback in callbacks if isinstance(callback, EarlyStopping)]
    waits = [
        state["wait_count"]
        for name, state in checkpoint.get("callbacks", {}).items()
        if name.startswith("EarlyStopping")
    ]
    return any(wait >= most for wait, most in zip(waits, patience, strict=False))


def interruptible(trainer: pl.Trainer, work: Any) -> None:
    """Do what trains; Lightning turns Ctrl-C into ``exit(1)``: give the KeyboardInterrupt back.

    Backward passes run in this thread. For a GPU autograd has one of its own, and to wake it and wait for it
    takes a quarter of a small model's step.
    """
    try:
        with torch.autograd.set_multithreading_enabled(False):
            work()
    except SystemExit as leave:
        if trainer.interrupted and leave.code == 1:
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        if "conditioned on metric" in str(error):
            raise ValueError(f"callbacks.early_stopping.monitor: {error}") from error
        if "without overflow" in str(error):  # a number that torch gives an operation is no float32
            epoch = trainer.current_epoch + 1
            raise ValueError(
                f"a step of epoch {epoch} is too large for the weights: {smaller_steps(trainer)}"
            ) from error
        raise


def _summarise(
    run: Run,
    config: DictConfig,
    trainer: pl.Trainer,
    task: Task,
    metrics: dict[str, Any],
    seconds: dict[str, float],
    example: str,
    best: Chosen,
    engines: list[str],
) -> None:
    rows = read_metrics(run.metrics_file)
    row = best.row if best.monitor == task.monitor else {}
    test, baselines = split_metrics(metrics)
    run.save_summary(
        {
            "name": config.name,
            "id": run.id,
            "seed": config.seed,
            "choices": run.choices(),
            "monitor": task.monitor,
            "mode": task.mode,
            "best": row or best_row(rows, task.monitor, task.mode),
            "best_checkpoint": None if best.path is None else os.path.relpath(best.path, run.checkpoints),
            "final": rows[-1] if rows else {},
            "test": test,
            "baselines": baselines,
            "parameters": logged.parameters_of(task),
            **seconds,
            "processes": trainer.world_size,
            **({"engine": "+".join(engines)} if engines else {}),
            "example_input": example,
            "git_commit": run.commit(),
            "versions": versions(),
        }
    )
