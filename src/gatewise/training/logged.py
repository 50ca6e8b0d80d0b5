"""What W&B and TensorBoard get of a run besides its metrics: the config, the results, the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training import tensorboard, wandb, wandb_results
from gatewise.training.checkpoints import Chosen


def begin(loggers: Sequence[Logger], run: Run, config: DictConfig, task: Task) -> None:
    """Begin what the loggers keep of this part of a run, which may be its first."""
    for logger in loggers:
        if isinstance(logger, wandb.RunLogger):
            wandb.start(logger, run)
            rows = read_metrics(run.metrics_file)
            wandb.describe(logger, config, run.choices(), task.modes(), rows, parameters_of(task))
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.begin(logger, config)


def go_on_from(loggers: Sequence[Logger], step: int, rows: Sequence[Mapping[str, float]]) -> None:
    """Tell the loggers at which step the training begins, or goes on, and the ``rows`` of its past epochs."""
    for logger in loggers:
        if isinstance(logger, wandb.RunLogger):
            # A process that was killed may have told W&B of its last epochs too late.
            logger.log_again(
                {n: v for n, v in row.items() if n in ("epoch", "step") or "/" in n} for row in rows
            )
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.go_on_from(logger, step)


def end(loggers: Sequence[Logger], run: Run, config: DictConfig, task: Task, best: Chosen, step: int) -> None:
    """Log the pictures and results of a run that has ended with its ``best`` weights."""
    summary = run.summary()
    pictures = {f"plots/{path.stem}": path for path in sorted(run.plots.glob("*.png"))}
    for logger in loggers:
        if isinstance(logger, wandb.RunLogger):
            logger.log_pictures(pictures, step)
            wandb_results.log_results(logger, summary, task, step)
            wandb_results.log_weights(logger, run, best)
        elif isinstance(logger, TensorBoardLogger):
            tensorboard.end(logger, config, _results(summary), pictures, step)


def parameters_of(task: Task) -> int:
    """How many numbers a task trains."""
    return sum(parameter.numel() for parameter in task.parameters())


def _results(summary: Mapping[str, Any]) -> dict[str, float]:
    """The best monitored value, what the test showed and the number of parameters."""
    monitor = summary["monitor"]
    values = {monitor: summary["best"].get(monitor), "parameters": summary["parameters"]}
    values.update((f"test/{name}", value) for name, value in summary["test"].items())
    return {name: float(value) for name, value in values.items() if value is not None}
