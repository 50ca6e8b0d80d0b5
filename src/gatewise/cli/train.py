"""``gatewise train``: compose a run, train it, test it; or take up one that was interrupted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console

from gatewise.cli import console
from gatewise.cli.assemble import make_data, make_task, make_trainer, stored_config
from gatewise.cli.resume import with_overrides
from gatewise.data.module import SequenceDataModule
from gatewise.data.settings import optional_whole_number, whole_number
from gatewise.runs import wandb
from gatewise.runs.metrics import MetricsFile, read_metrics
from gatewise.runs.ranks import all_ranks, number_of_processes
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row, git_commit, split_metrics, versions
from gatewise.tasks import Task


def main(config: DictConfig) -> float | None:
    """Train what the config says; returns the best monitored value, a sweep's objective."""
    hydra = HydraConfig.get()
    runs_dir = Path(config.paths.runs_dir)
    overrides = list(hydra.overrides.task)
    if config.resume is not None:
        run = Run.open(config.resume, runs_dir)
        with run.lock():
            changed = with_overrides(run, overrides)
            if run.state() == "done" and not (changed and _epochs_left(run)):
                message = f"{console.short(run.folder)} is done; train on with trainer.max_epochs=..."
                Console().print(message, highlight=False)
                return best_value(run)
            return _train(run, *prepare(stored_config(run), run.choices()))
    # Whatever is wrong with the settings or the data shows before there is a run directory.
    choices = {group: chosen for group, chosen in hydra.runtime.choices.items() if "hydra/" not in group}
    data, task = prepare(config, choices)
    make_trainer(config, Run(runs_dir / "none"))
    run = Run.create(runs_dir, config.name, config, overrides, choices)
    with run.lock():
        return _train(run, data, task)


def prepare(config: DictConfig, choices: dict[str, str | None]) -> tuple[SequenceDataModule, Task]:
    """Seed this process and make the data and the task of a config.

    Raises ValueError for settings, devices or data that cannot be used.
    """
    number_of_processes(config.trainer)
    console.quiet()
    optional_whole_number("trainer.max_epochs", config.trainer.max_epochs, least=-1)
    if config.threads is not None:
        torch.set_num_threads(whole_number("threads", config.threads))
    pl.seed_everything(whole_number("seed", config.seed, least=0), workers=True, verbose=False)
    data = make_data(config)
    assert data.facts is not None
    return data, make_task(config, data.facts, choices)


def _train(run: Run, data: SequenceDataModule, task: Task) -> float | None:
    count = number_of_processes(run.config().trainer)
    run.set_status("running")
    try:
        with console.logged_to(run.log_file), all_ranks(run, count):
            fit_and_test(run, data, task)
    except KeyboardInterrupt:
        run.set_status("interrupted", "stopped by the user")
        again = f"{console.program()} train resume={console.short(run.folder)}"
        Console(soft_wrap=True).print(f"Interrupted. Go on with: {again}", highlight=False)
        raise
    except BaseException as error:
        run.set_status("failed", f"{type(error).__name__}: {error}")
        raise
    run.set_status("done")
    console.print_places(run)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        console.print_next_steps(run)
    return best_value(run)


def fit_and_test(run: Run, data: SequenceDataModule, task: Task) -> None:
    """Train the run from where it stands and test its best checkpoint, as the rank this process is.

    Raises KeyboardInterrupt where the user stopped it.
    """
    started = time.monotonic()
    config = run.config()
    assert data.facts is not None
    trainer = make_trainer(config, run)
    exit_code = 1
    try:
        if trainer.is_global_zero:
            run.save_facts(data.facts)
            console.print_head(run, config, data.describe())
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    wandb.describe(logger, config, task.monitor, task.mode)
        last = run.checkpoints / "last.ckpt"
        resumed = last.is_file()
        metrics_file = next(logger for logger in trainer.loggers if isinstance(logger, MetricsFile))
        if trainer.is_global_zero:
            metrics_file.drop_from(_epochs_trained(last) if resumed else 0)
        _stoppable(
            trainer,
            lambda: trainer.fit(
                task, datamodule=data, ckpt_path=last if resumed else None, weights_only=True
            ),
        )
        # Before the test: it restores the best checkpoint with the time that had passed then.
        trained = _training_seconds(trainer)
        metrics: dict[str, Any] = {}
        if config.test:
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
            seconds = {"wall_seconds": round(time.monotonic() - started, 2), **trained}
            _summarise(run, config, task, metrics, seconds, data.save_example(run.folder))
        exit_code = 0
    finally:
        wandb.finish(trainer.loggers, exit_code)


def _stoppable(trainer: pl.Trainer, work: Any) -> None:
    """Lightning turns Ctrl-C into SystemExit; give the KeyboardInterrupt back."""
    try:
        work()
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    except RuntimeError as error:
        if "conditioned on metric" in str(error):
            raise ValueError(f"callbacks.early_stopping.monitor: {error}") from error
        raise


def _epochs_trained(checkpoint: Path) -> int:
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return int(stored["epoch"]) + 1


def _epochs_left(run: Run) -> bool:
    rows = read_metrics(run.metrics_file)
    return not rows or int(rows[-1]["epoch"]) + 1 < run.config().trainer.max_epochs


def _training_seconds(trainer: pl.Trainer) -> dict[str, float]:
    """Time spent in training, over interruptions (wall_seconds is this process's)."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    timers = [callback for callback in callbacks if isinstance(callback, Timer)]
    return {"training_seconds": round(timers[0].time_elapsed("train"), 2)} if timers else {}


def _summarise(
    run: Run, config: DictConfig, task: Any, metrics: dict[str, Any], seconds: dict[str, float], example: str
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
            "example_input": example,
            "git_commit": git_commit(Path.cwd()),
            "versions": versions(),
        }
    )


def best_value(run: Run) -> float | None:
    """The best monitored value of a run, or None before its first validation."""
    config = run.config()
    row = best_row(read_metrics(run.metrics_file), config.task.monitor, config.task.mode)
    return row.get(config.task.monitor)
