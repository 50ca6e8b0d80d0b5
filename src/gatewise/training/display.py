"""What a person sees of a training while it runs and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from gatewise.runs.files import read_json_object, write_json, write_text
from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.training.loggers import epoch_values
from gatewise.training.mid_epoch import batches_in, epochs_in
from gatewise.training.validations import ValidationsFile
from gatewise.views.pictures.learning_curves import learning_curves
from gatewise.views.pictures.report import draw_report
from gatewise.views.tables import print_beside_results, print_results

_log = logging.getLogger(__name__)


def where_it_goes_on(checkpoint: Mapping[str, Any], max_epochs: int | None) -> str:
    """The line about a training that is resumed from a checkpoint."""
    epoch = epochs_in(checkpoint) + 1
    total = f" of {max_epochs}" if max_epochs not in (None, -1) else ""
    batches = batches_in(checkpoint)
    return f"Resuming in epoch {epoch}{total}" + (f", after {batches} of its batches" if batches else "")


def how_it_ended(trainer: pl.Trainer, seconds: float | None, weights: str) -> list[str]:
    """The lines about a training that has ended: why, after how long, and whose weights it leaves."""
    lines = []
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for stopping in callbacks:
        if isinstance(stopping, EarlyStopping) and stopping.stopping_reason_message and trainer.should_stop:
            lines.append(f"Stopped early, after epoch {stopping.stopped_epoch + 1}: {_reason(stopping)}")
    took = f" in {_duration(seconds)}" if seconds is not None else ""
    epochs = trainer.current_epoch
    count = f"{epochs} epoch{'' if epochs == 1 else 's'}, {trainer.global_step:,} steps"
    return [*lines, f"Trained {count}{took}; what is tested and kept are the {weights}"]


def _reason(stopping: EarlyStopping) -> str:
    if stopping.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
        best = float(stopping.best_score)
        return f"{stopping.monitor} has not improved on {best:.4g}, {stopping.patience} times in a row"
    return " ".join(str(stopping.stopping_reason_message).split())


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


class EpochLines(pl.Callback):
    """One line per epoch in the log, and one per validation within it: their metrics."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        if trainer.state.fn == TrainerFn.FITTING and not (trainer.sanity_checking or trainer.is_last_batch):
            where = f", step {trainer.fit_loop.batch_idx + 1}/{trainer.num_training_batches}"
            within = ValidationsFile.of(trainer)
            if within is not None and within.rows:
                shown = {name: v for name, v in within.rows[-1].items() if "/" in name}
            else:
                logged = trainer.callback_metrics.items()
                shown = {name: float(v) for name, v in logged if name.startswith("val/")}
            self._say(trainer, where, shown)

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer, "", epoch_values(trainer, pl_module))

    def _say(self, trainer: pl.Trainer, where: str, shown: Mapping[str, float]) -> None:
        values = "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items()))
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
            learning_curves(epochs, path, task.monitor, task.mode, self.run.title, within)


def forget_test(run: Run) -> None:
    """Remove what an earlier test showed, which was one of other weights."""
    for table in run.tables.glob("*.csv"):
        table.unlink()
    path = run.folder / "test_report.json"
    if path.is_file():
        pictures = [picture.stem for picture in run.plots.glob("*.png")]
        for name in set(read_json_object(path)).intersection(pictures):  # no other: a name may be ../../x
            (run.plots / f"{name}.png").unlink(missing_ok=True)
        path.unlink()


class ResultTable(pl.Callback):
    """Shows the test metrics beside the trivial baselines, and draws what the test showed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.weights = ""
        """Whose weights are tested, for the table's title."""

    @classmethod
    def name_weights(cls, trainer: pl.Trainer, words: str) -> None:
        """Have the table of a Trainer say whose weights were tested."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, cls):
                callback.weights = words

    @rank_zero_only
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, Task):
            report = pl_module.report()
            write_json(self.run.folder / "test_report.json", report)
            for name, table in pl_module.tables().items():
                self.run.tables.mkdir(exist_ok=True)
                text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
                write_text(self.run.tables / f"{name}.csv", text)
            draw_report(report, self.run.plots, self.run.title)
        meanings = pl_module.meanings() if isinstance(pl_module, Task) else {}
        print_results(trainer.callback_metrics, "test", meanings, self.weights)
        if isinstance(pl_module, Task):
            print_beside_results(pl_module)
