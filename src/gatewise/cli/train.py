"""``gatewise train``: compose a run, train it, test it; or take up one that was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from gatewise.cli import console
from gatewise.cli.assemble import make_data, make_task, make_trainer, stored_config
from gatewise.cli.check import group_choices
from gatewise.cli.fit import fit_and_test
from gatewise.cli.resume import resumed_config, warn_of_schedule
from gatewise.data.module import SequenceDataModule
from gatewise.facts import Facts
from gatewise.runs.metrics import read_metrics
from gatewise.runs.ranks import all_ranks, number_of_processes
from gatewise.runs.run import Run
from gatewise.runs.summary import best_row
from gatewise.tasks import Task


def main(config: DictConfig) -> float | None:
    """Train what the config says; returns the best monitored value, a sweep's objective."""
    hydra = HydraConfig.get()
    runs_dir = Path(config.paths.runs_dir)
    overrides = list(hydra.overrides.task)
    if config.resume is not None:
        run = Run.open(config.resume, runs_dir, "resume")
        run.config()  # another program's folder is left as it is, without a lock file
        with run.lock():
            return _resume(run, overrides)
    # Whatever is wrong with the settings or the data shows before there is a run directory.
    choices = group_choices()
    data, task = prepare(config, choices)
    make_trainer(config, Run(runs_dir / "none"))
    run = Run.create(runs_dir, config.name, config, overrides, choices)
    with run.lock():
        return _train(run, data, task)


def _resume(run: Run, overrides: list[str]) -> float | None:
    """Go on with a run whose lock is held; a finished one only where it is given more epochs."""
    before = stored_config(run)
    config = resumed_config(run, overrides)
    warn_of_schedule(config)
    if run.state() == "done" and not (config != before and _epochs_left(run, config)):
        message = f"{console.short(run.folder)} is done; train on with trainer.max_epochs=..."
        Console(soft_wrap=True).print(message, highlight=False)
        return best_value(run)
    data, task = prepare(config, run.choices())
    if (run.folder / "facts.json").is_file() and data.facts != run.facts():
        raise ValueError(
            f"resume={console.short(run.folder)}: the data is not what it was trained on "
            f"({_differing(data.facts, run.facts())} differ): give it the old files back, or start a new run"
        )
    make_trainer(config, run)
    run.save_config(config)
    return _train(run, data, task)


def _differing(facts: Facts | None, others: Facts) -> str:
    ours, theirs = (facts.to_dict() if facts else {}), others.to_dict()
    return ", ".join(name for name in theirs if ours.get(name) != theirs[name])


def _epochs_left(run: Run, config: DictConfig) -> bool:
    rows, most = read_metrics(run.metrics_file), config.trainer.max_epochs
    return not rows or most in (None, -1) or int(rows[-1]["epoch"]) + 1 < most


def prepare(config: DictConfig, choices: dict[str, str | None]) -> tuple[SequenceDataModule, Task]:
    """Seed this process and make the data and the task of a config.

    Raises ValueError for settings, devices or data that cannot be used.
    """
    number_of_processes(config.trainer)
    console.quiet()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
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


def best_value(run: Run) -> float | None:
    """The best monitored value of a run, or None before its first validation."""
    config = run.config()
    row = best_row(read_metrics(run.metrics_file), config.task.monitor, config.task.mode)
    return row.get(config.task.monitor)
