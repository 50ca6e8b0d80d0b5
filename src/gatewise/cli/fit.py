"""Fit a run and test it, as one of its processes."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import EarlyStopping, Timer
from pytorch_lightning.loggers import WandbLogger

from gatewise.cli import console
from gatewise.cli.assemble import make_trainer
from gatewise.data.module import SequenceDataModule
from gatewise.runs import wandb
from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.epochs import StopTogether
from gatewise.runs.metrics import MetricsFile, read_metrics
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row, split_metrics, versions
from gatewise.tasks import Task


def fit_and_test(run: Run, data: SequenceDataModule, task: Task, pruning: StopTogether | None = None) -> None:
    """Train the run from where it stands and test its best checkpoint, as the rank this process is.

    One that ``pruning`` stopped is not tested. Raises KeyboardInterrupt where the user stopped it, ValueError
    where the loss is no number any more.
    """
    started = time.monotonic()
    config = run.config()
    assert data.facts is not None
    trainer = make_trainer(config, run, [] if pruning is None else [pruning])
    exit_code = 1
    try:
        if trainer.is_global_zero:
            run.save_facts(data.facts)
            console.print_head(run, config, data.describe())
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    wandb.start(logger, run)
                    wandb.describe(logger, config, task.monitor, task.mode)
        seconds = _fit(run, trainer, task, data)
        metrics: dict[str, Any] = {}
        if config.test and (pruning is None or pruning.reason is None):
            best = run.checkpoints / "best.ckpt"
            weights = best if best.is_file() else None
            _stoppable(
                trainer,
                lambda: trainer.test(
                    task, datamodule=data, ckpt_path=weights, weights_only=True, verbose=False
                ),
            )
            metrics = dict(trainer.callback_metrics)
        if trainer.is_global_zero:
            seconds["wall_seconds"] = round(time.monotonic() - started, 2)
            _summarise(run, config, trainer, task, metrics, seconds, data.save_example(run.folder))
        exit_code = 0
    finally:
        wandb.finish(trainer.loggers, exit_code)


def _fit(run: Run, trainer: pl.Trainer, task: Task, data: SequenceDataModule) -> dict[str, float]:
    """Train to the end, from the last checkpoint where there is one; returns the training's seconds."""
    last = run.checkpoints / "last.ckpt"
    checkpoint = read_checkpoint(last) if last.is_file() else None
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        metrics_file = next(logger for logger in trainer.loggers if isinstance(logger, MetricsFile))
        metrics_file.drop_from(int(checkpoint["epoch"]) + 1 if checkpoint else 0)
    if checkpoint is not None and _had_stopped(checkpoint, callbacks):
        # Killed after it had stopped early: one more epoch would make it another training.
        task.load_state_dict(checkpoint["state_dict"])
        return {}
    ckpt_path = last if checkpoint is not None else None
    _stoppable(trainer, lambda: trainer.fit(task, datamodule=data, ckpt_path=ckpt_path, weights_only=True))
    timers = [callback for callback in callbacks if isinstance(callback, Timer)]
    # Read before the test, which restores the best checkpoint with the time that had passed then.
    return {"training_seconds": round(timers[0].time_elapsed("train"), 2)} if timers else {}


def _had_stopped(checkpoint: dict[str, Any], callbacks: list[pl.Callback]) -> bool:
    patience = [callback.patience for callback in callbacks if isinstance(callback, EarlyStopping)]
    waits = [
        state["wait_count"]
        for name, state in checkpoint.get("callbacks", {}).items()
        if name.startswith("EarlyStopping")
    ]
    return any(wait >= most for wait, most in zip(waits, patience, strict=False))


def _stoppable(trainer: pl.Trainer, work: Any) -> None:
    """Lightning turns Ctrl-C into ``exit(1)``; give the KeyboardInterrupt back."""
    try:
        work()
    except SystemExit as leave:
        if trainer.interrupted and leave.code == 1:
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        if "conditioned on metric" in str(error):
            raise ValueError(f"callbacks.early_stopping.monitor: {error}") from error
        raise


def _summarise(
    run: Run,
    config: DictConfig,
    trainer: pl.Trainer,
    task: Task,
    metrics: dict[str, Any],
    seconds: dict[str, float],
    example: str,
) -> None:
    rows = read_metrics(run.metrics_file)
    test, baselines = split_metrics(metrics)
    run.save_summary(
        {
            "name": config.name,
            "id": run.id,
            "seed": config.seed,
            "choices": run.choices(),
            "monitor": task.monitor,
            "mode": task.mode,
            "best": best_row(rows, task.monitor, task.mode),
            "final": rows[-1] if rows else {},
            "test": test,
            "baselines": baselines,
            "parameters": sum(p.numel() for p in task.parameters()),
            **seconds,
            "processes": trainer.world_size,
            "example_input": example,
            "git_commit": run.commit(),
            "versions": versions(),
        }
    )
