"""What loggers are given of a training: the losses of steps, and each epoch under its last step."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch.optim import AdamW
from torch.utils.data import DataLoader

from gatewise.cells import GRU
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.nn import Recurrent
from gatewise.tasks.classification import SequenceClassification

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
FACTS = FeatureFacts(3, ("a", "b"), (4, 5), (0.0,) * 3, (1.0,) * 3)


class Seen(pl.Callback):
    """Keeps what callbacks are shown of the training at an epoch's end."""

    def __init__(self):
        self.training = []

    def on_train_epoch_end(self, trainer, pl_module):  # noqa: ARG002
        self.training.append(training(trainer.callback_metrics))


def training(metrics):
    return {name: float(value) for name, value in metrics.items() if name.startswith("train/")}


class Noting(Logger):
    """Keeps what it is given."""

    name, version = "noting", 0

    def __init__(self):
        super().__init__()
        self.given = []

    def log_metrics(self, metrics, step=None):
        self.given.append((step, metrics))

    def log_hyperparams(self, *_):
        pass


def make_task():
    torch.manual_seed(0)
    return SequenceClassification(
        partial(Recurrent, hidden_size=4, cell=GRU()), FACTS, partial(AdamW, lr=0.05)
    )


def batches():
    draw = torch.Generator().manual_seed(1)
    made = [
        SequenceBatch(
            torch.randn(3, 4, 3, generator=draw), torch.tensor([4, 2, 3]), torch.tensor([0, 1, i % 2])
        )
        for i in range(5)
    ]
    return DataLoader(made, batch_size=None)


def make_trainer(callbacks=(), **settings):
    quiet = {
        "accelerator": "cpu", "max_epochs": 2, "logger": False, "gradient_clip_val": 0.3,
        "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False,
    }  # fmt: skip
    return pl.Trainer(callbacks=list(callbacks), **{**quiet, **settings})


@pytest.mark.parametrize(("every", "at"), [(1, range(10)), (4, [3, 7]), (0, [])])
def test_loggers_are_given_the_loss_of_every_so_many_steps(every, at):
    logger, losses = Noting(), []
    trainer, task = make_trainer(logger=logger, log_every_n_steps=every), make_task()
    task.training_epoch.add = lambda score: losses.append(score.loss.item())
    task._close_training_epoch = lambda: None
    task.log_mean = task.log_dict = lambda *_, **__: None
    trainer.fit(task, batches(), batches())
    assert logger.given == [(step, {"step/loss": losses[step], "epoch": step // 5}) for step in at]


@pytest.mark.parametrize("every", [0, 4])
def test_loggers_are_given_an_epochs_training_under_its_last_step(every):
    logger, seen = Noting(), Seen()
    trainer = make_trainer([seen], logger=logger, log_every_n_steps=every)
    trainer.fit(make_task(), batches(), batches())
    given = [(step, metrics) for step, metrics in logger.given if "train/loss" in metrics]
    assert given == [(5 * epoch + 4, {**seen.training[epoch], "epoch": epoch}) for epoch in (0, 1)]
    assert given[0][1].keys() == {"train/loss", "train/accuracy", "train/f1", "epoch"}
    assert training(trainer.logged_metrics) == seen.training[1] != seen.training[0]
