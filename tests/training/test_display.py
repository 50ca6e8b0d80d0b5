"""What a person sees of a training: lines, tables and pictures."""

import json
import logging
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.nn import Recurrent
from gatewise.runs.metrics import read_metrics
from gatewise.runs.summary import split_metrics
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.forecasting import Forecasting
from gatewise.training.display import EpochLines, LearningCurves, ResultTable
from gatewise.training.loggers import MetricsFile
from gatewise.views import screen
from gatewise.views.plain import plain_console
from gatewise.views.tables import print_results

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch):
    monkeypatch.setattr(screen, "plain_console", partial(plain_console, width=200))


def make_classification():
    torch.manual_seed(0)
    facts = FeatureFacts(2, ("a", "b"), (3, 1), (0.0,) * 2, (1.0,) * 2)
    model, optimizer = partial(Recurrent, hidden_size=4), partial(torch.optim.SGD, lr=0.1)
    batch = SequenceBatch(torch.randn(4, 3, 2), torch.tensor([3, 1, 2, 3]), torch.tensor([0, 1, 0, 0]))
    return SequenceClassification(model=model, facts=facts, optimizer=optimizer), [batch]


def make_forecasting():
    torch.manual_seed(0)
    facts = SeriesFacts("t", ("x",), ("x",), None, 6, 2, 3, (0.0,), (1.0,))
    model, optimizer = partial(Recurrent, hidden_size=4), partial(torch.optim.SGD, lr=0.1)
    batch = WindowBatch(torch.randn(4, 6, 1), torch.randn(4, 2, 1))
    return Forecasting(model=model, facts=facts, optimizer=optimizer), [batch]


def make_trainer(run, *extra, epochs=2):
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        log_every_n_steps=1,
        logger=[MetricsFile(run.metrics_file)],
        callbacks=[EpochLines(run), LearningCurves(run), ResultTable(run), *extra],
        default_root_dir=run.folder,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


EXPECTED = {
    "classification": (make_classification, ["accuracy", "loss", "f1"], "confusion_matrix.png"),
    "forecasting": (make_forecasting, ["mse", "loss", "mae"], "forecasts.png"),
}


@pytest.mark.parametrize(("make", "panels", "picture"), EXPECTED.values(), ids=EXPECTED)
def test_a_training_is_shown(make, panels, picture, run, figures, size, capsys, caplog):
    caplog.set_level(logging.INFO, "gatewise")
    task, batches = make()
    task.monitor, task.mode = f"val/{panels[0]}", "max" if panels[0] == "accuracy" else "min"
    loader = DataLoader(batches, batch_size=None)
    trainer = make_trainer(run)
    trainer.fit(task, loader, loader)

    said = [
        record.message for record in caplog.records if record.name.startswith("gatewise.training.display")
    ]
    assert len(said) == 2
    for epoch, (line, row) in enumerate(zip(said, read_metrics(run.metrics_file), strict=True)):
        names = sorted(name for name in row if name.startswith(("train/", "val/")))
        # Two splits of three metrics: as in the file, to four digits.
        assert len(names) == 6
        values = "  ".join(f"{name} {row[name]:.4g}" for name in names)
        assert line == f"epoch {epoch + 1}/2  {values}"

    (curves,) = figures
    assert [axes.get_ylabel() for axes in curves.axes] == panels
    assert curves.get_suptitle() == f"text/mine · {run.id}"
    size(run.plots / "learning_curves.png")

    trainer.test(task, loader, verbose=False)
    size(run.plots / picture)
    assert json.loads((run.folder / "test_report.json").read_text()) == task.report()
    shown = capsys.readouterr().out
    assert "test results" in shown
    for name, value in trainer.callback_metrics.items():
        assert f"{float(value):.4f}" in shown or f"{float(value):.4g}" in shown, name


class Breaks(pl.Callback):
    """Ends the training in its second epoch."""

    def __init__(self, error):
        self.error = error

    def on_train_batch_start(self, trainer, *_):
        if trainer.current_epoch == 1:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_learning_curves_are_drawn_where_a_training_breaks(error, run, figures):
    task, batches = make_classification()
    loader = DataLoader(batches, batch_size=None)
    with pytest.raises((RuntimeError, SystemExit)):  # Lightning makes SystemExit of Ctrl-C
        make_trainer(run, Breaks(error), epochs=3).fit(task, loader, loader)
    (curves,) = figures
    validation = next(line for line in curves.axes[0].lines if line.get_label() == "validation")
    assert list(validation.get_xdata()) == [1]
    assert (run.plots / "learning_curves.png").is_file()


def test_a_training_that_breaks_before_its_first_epoch_has_no_curves(run, figures):
    task, batches = make_classification()
    task.training_step = lambda *_: (_ for _ in ()).throw(RuntimeError("boom"))
    loader = DataLoader(batches, batch_size=None)
    with pytest.raises(RuntimeError, match="boom"):
        make_trainer(run).fit(task, loader, loader)
    assert not figures
    assert not list(run.plots.iterdir())


MEANINGS = {"mse": "squared", "mae": "absolute", "loss": "minimised"}


def table(metrics, capsys, split="test"):
    """The printed table as rows of cells."""
    print_results(metrics, split, MEANINGS)
    title, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("│┃").replace("┃", "│").split("│")] for row in rows]
    return title.strip(), [row for row in cells if len(row) > 1]


def test_results_stand_beside_the_baselines(capsys):
    metrics = {
        "train/mse": 9.0,
        "test/mse": torch.tensor(0.12345),
        "test/mae": 0.5,
        "test/loss": 0.25,
        "baseline/last value/mse": 0.75,
        "baseline/last value/mae": 0.875,
        "baseline/last season/mse": torch.tensor(1.0),
    }
    title, (header, *rows) = table(metrics, capsys)
    assert title == "test results"
    assert header == ["metric", "this run", "last value", "last season", "meaning"]
    assert rows == [
        ["mse", "0.1235", "0.7500", "1.0000", MEANINGS["mse"]],
        ["mae", "0.5000", "0.8750", "", MEANINGS["mae"]],
        ["loss", "0.2500", "", "", MEANINGS["loss"]],
    ]


def test_results_without_baselines_and_of_an_unknown_metric(capsys):
    title, (header, *rows) = table({"test/own": float("nan")}, capsys, "validation")
    assert title == "validation results"
    assert header == ["metric", "this run", "meaning"]
    assert rows == [["own", "nan", ""]]


@pytest.mark.parametrize("make", [make_classification, make_forecasting])
def test_every_metric_of_a_task_is_explained(make, run):
    task, batches = make()
    loader = DataLoader(batches, batch_size=None)
    trainer = make_trainer(run)
    trainer.test(task, loader, verbose=False)
    test, baselines = split_metrics(trainer.callback_metrics)
    names = set(test).union(*baselines.values())
    assert names <= set(task.meanings())
    # Which way is better is said of every score.
    assert all("is better" in task.meanings()[name] for name in names - {"loss"})
