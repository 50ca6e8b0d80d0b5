"""What a person sees of a training while it runs and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewise.runs.files import write_json
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.runs.summary import split_metrics
from gatewise.runs.validations import read_validations
from gatewise.tasks import Task
from gatewise.views import plots

_log = logging.getLogger(__name__)

MEANINGS = {
    "accuracy": "share of sequences named right; higher is better",
    "f1": "mean over classes of the harmonic mean of precision and recall; higher is better",
    "perplexity": "among how many equally likely tokens it hesitates; lower is better",
    "mse": "mean squared error in units of the training variance; lower is better",
    "mae": "mean absolute error in training standard deviations; lower is better",
    "loss": "what training minimises, on this split",
}


class EpochLines(pl.Callback):
    """One line per epoch in the log, and one per validation within it: their metrics."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if trainer.state.fn == TrainerFn.FITTING and not (trainer.sanity_checking or trainer.is_last_batch):
            where = f", step {trainer.fit_loop.batch_idx + 1}/{trainer.num_training_batches}"
            self._say(trainer, where, "val/")

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._say(trainer, "", "train/", "val/")

    def _say(self, trainer: pl.Trainer, where: str, *splits: str) -> None:
        shown = {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith(splits)
        }
        values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        _log.info("epoch %d/%s%s  %s", trainer.current_epoch + 1, trainer.max_epochs, where, values)


class LearningCurves(pl.Callback):
    """Draws ``plots/learning_curves.png`` when training ends, also where it is interrupted."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._draw(pl_module)

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        self._draw(pl_module)

    @rank_zero_only
    def _draw(self, task: pl.LightningModule) -> None:
        if isinstance(task, Task):
            path = self.run.plots / "learning_curves.png"
            epochs = read_metrics(self.run.metrics_file)
            within = read_validations(self.run.validations_file)
            plots.learning_curves(epochs, path, task.monitor, task.mode, self.run.title, within)


class ResultTable(pl.Callback):
    """Shows the test metrics beside the trivial baselines, and draws what the test showed."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @rank_zero_only
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, Task):
            report = pl_module.report()
            write_json(self.run.folder / "test_report.json", report)
            plots.test_pictures(report, self.run.plots, self.run.title)
        print_results(trainer.callback_metrics, "test")


def print_results(metrics: Mapping[str, Any], split: str) -> None:
    """Print a split's metrics beside the baselines', with what each metric means."""
    test, baselines = split_metrics(metrics)
    table = Table(title=f"{split} results", title_justify="left")
    table.add_column("metric")
    table.add_column("this run", justify="right", style="bold")
    for baseline in baselines:
        table.add_column(Text(baseline), justify="right")
    table.add_column("meaning", style="dim")
    for name, value in sorted(test.items(), key=lambda item: item[0] == "loss"):  # what is minimised last
        others = [f"{scores[name]:.4f}" if name in scores else "" for scores in baselines.values()]
        table.add_row(Text(name), f"{value:.4f}", *others, MEANINGS.get(name, ""))
    Console().print(table)
