"""Pruning: stopping a training of a sweep that does worse than the trials before it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.sweeps.folder import Direction, Sweep
from gatewise.sweeps.search import make_pruner, watched
from gatewise.training.epochs import StopTogether


class PruneTraining(StopTogether):
    """Reports the monitored value of every epoch to the sweep's pruner, and stops when the pruner says so.

    The training is compared with the trials that had ended before it was drawn. A resumed training reports
    its earlier epochs first, so that it is pruned after the same epoch as an uninterrupted one. In rank 0
    alone.
    """

    def __init__(self, run: Run, sweep: Sweep, number: int, monitor: str, mode: str) -> None:
        super().__init__()
        plan = sweep.plan()
        assert plan.pruner is not None
        direction: Direction = "minimize" if mode == "min" else "maximize"
        self.run, self.monitor = run, monitor
        self._trial: Any = watched(sweep.trials(), number, plan.lag, direction, make_pruner(plan.pruner))

    def look_back(self, trainer: pl.Trainer) -> None:  # noqa: ARG002
        for row in read_metrics(self.run.metrics_file):
            if self.monitor in row:
                self._report(int(row["epoch"]) - 1, row[self.monitor])

    def look(self, trainer: pl.Trainer) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None:
            self._report(trainer.current_epoch, float(value))

    def _report(self, epoch: int, value: float) -> None:
        if self.reason is not None:
            return
        self._trial.report(value, epoch)
        if self._trial.should_prune():
            self.reason = f"worse than earlier trials after epoch {epoch + 1}: {self.monitor} {value:.4g}"
