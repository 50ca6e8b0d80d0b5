"""``gatewise train``: compose a run, train it, test it; or resume one that was interrupted."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.epochs import StopTogether
from gatewise.training.session import train


def main(config: DictConfig) -> float | None:
    """Train what the config says; returns the best monitored value, a sweep's objective."""
    return train(config, _pruning)


def _pruning(run: Run, task: Task, job: DictConfig) -> StopTogether:
    """What stops this training of a sweep where it falls behind."""
    # Imported here: a training by itself has no use for Optuna.
    from gatewise.sweeps.folder import Sweep
    from gatewise.sweeps.pruning import PruneTraining

    return PruneTraining(run, Sweep(Path(job.folder)), job.trial, task.monitor, task.mode)
