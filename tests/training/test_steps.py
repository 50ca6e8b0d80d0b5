"""Steps that ask less of Lightning than its own do the same, and give way where somebody listens."""

from datetime import timedelta
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loops.optimization.automatic import Closure
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.optim import LBFGS, AdamW
from torch.utils.data import DataLoader

from gatewise.cells import GRU
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.nn import Recurrent
from gatewise.tasks.classification import SequenceClassification
from gatewise.training import steps
from gatewise.training.plain_steps import PlainSteps
from gatewise.training.steps import (
    BatchesStay,
    NoProfiler,
    make_steps_plain,
    skip_empty_hooks,
    skip_idle_hooks,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
FACTS = FeatureFacts(3, ("a", "b"), (4, 5), (0.0,) * 3, (1.0,) * 3)


class Taking(SequenceClassification):
    """Takes each step's update itself, as Lightning lets a task do."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):  # noqa: ARG002
        optimizer.step(closure=optimizer_closure)


class Answering(SequenceClassification):
    """Gives more than the loss."""

    def training_step(self, batch, batch_idx):
        return {"loss": super().training_step(batch, batch_idx)}


class Listening(pl.Callback):
    def on_after_backward(self, trainer, pl_module):
        pass


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


def make_task(kind=SequenceClassification, optimizer=AdamW):
    torch.manual_seed(0)
    task = kind(partial(Recurrent, hidden_size=4, cell=GRU()), FACTS, partial(optimizer, lr=0.05))
    skip_empty_hooks(task)
    return task


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
        "profiler": NoProfiler(), "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False,
    }  # fmt: skip
    return pl.Trainer(callbacks=list(callbacks), **{**quiet, **settings})


@pytest.fixture
def closures(monkeypatch):
    """Counts the steps that Lightning takes its own way."""
    made = []
    init = Closure.__init__
    monkeypatch.setattr(
        Closure, "__init__", lambda self, *a, **k: (made.append(self), init(self, *a, **k))[1]
    )
    return made


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": None}, {"max_steps": 7, "max_epochs": -1}])
def test_a_plain_step_leaves_the_checkpoint_of_lightnings_own(tmp_path, closures, settings):
    written = []
    for plain in (False, True):
        # Of a callback's hooks only those that it fills count.
        trainer, task = make_trainer([pl.Callback()], **settings), make_task()
        if plain:
            make_steps_plain(trainer)
        trainer.fit(task, batches(), batches())
        assert len(closures) == trainer.global_step == settings.get("max_steps", 10)
        path = tmp_path / f"{plain}.ckpt"
        trainer.save_checkpoint(path)
        # Weights, moments of the optimizer, and what every loop counted.
        written.append(torch.load(path, weights_only=True))
    assert same(*written)
    assert written[0]["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ({"kind": Taking}, {}),
        ({"kind": Answering}, {}),
        ({"optimizer": LBFGS}, {}),
        ({}, {"callbacks": [Listening()]}),
        ({}, {"accumulate_grad_batches": 2}),
        ({}, {"gradient_clip_algorithm": "value"}),
        ({}, {"precision": "bf16-mixed"}),
        ({}, {"precision": "64-true"}),
        ({}, {"profiler": "simple"}),
    ],
)
def test_who_listens_is_asked(closures, task, settings):
    trainer = make_trainer(**settings)
    make_steps_plain(trainer)
    trainer.fit(make_task(**task), batches(), batches())
    assert len(closures) == 10


@pytest.mark.parametrize(("version", "plain"), [("2.6.6", True), ("2.6.0.post1", True), ("2.7.0", False)])
def test_an_unknown_lightning_goes_its_own_way(monkeypatch, version, plain):
    monkeypatch.setattr(steps.pl, "__version__", version)
    trainer = make_trainer()
    make_steps_plain(trainer)
    assert isinstance(trainer.fit_loop.epoch_loop.automatic_optimization, PlainSteps) is plain


@pytest.mark.parametrize(
    ("kind", "settings", "hook", "idle"),
    [
        (LearningRateMonitor, {"logging_interval": "epoch"}, "on_train_batch_start", True),
        (LearningRateMonitor, {"logging_interval": "step"}, "on_train_batch_start", False),
        (LearningRateMonitor, {}, "on_train_batch_start", False),
        (ModelCheckpoint, {}, "on_train_batch_end", True),
        (ModelCheckpoint, {"every_n_train_steps": 2}, "on_train_batch_end", False),
        (ModelCheckpoint, {"train_time_interval": timedelta(minutes=1)}, "on_train_batch_end", False),
        (Timer, {}, "on_train_batch_end", True),
        (Timer, {"duration": "00:01:00:00"}, "on_train_batch_end", False),
    ],
)
def test_a_callback_is_skipped_in_steps_in_which_it_does_nothing(kind, settings, hook, idle):
    callback = kind(**settings)
    skip_idle_hooks(callback, settings)
    assert (getattr(callback, hook) is None) is idle


@pytest.mark.parametrize(("every", "at"), [(1, range(10)), (4, [3, 7]), (0, [])])
def test_loggers_are_given_the_loss_of_every_so_many_steps(every, at):
    logger, losses = Noting(), []
    trainer, task = make_trainer(logger=logger, log_every_n_steps=every), make_task()
    make_steps_plain(trainer)
    task.training_epoch.add = lambda loss, *_: losses.append(loss.item())
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


class Twice(SequenceClassification):
    """Changes the batch where Lightning has moved it."""

    def on_after_batch_transfer(self, batch, dataloader_idx):  # noqa: ARG002
        return batch._replace(inputs=2 * batch.inputs)


class Zeros(pl.LightningDataModule):
    """Changes the batch where Lightning would move it."""

    def transfer_batch_to_device(self, batch, device, dataloader_idx):  # noqa: ARG002
        return batch._replace(inputs=0 * batch.inputs)

    def train_dataloader(self):
        return batches()

    val_dataloader = test_dataloader = train_dataloader


@pytest.mark.filterwarnings("ignore:You have overridden .on_after_batch_transfer.")  # the task's is taken
@pytest.mark.parametrize(
    ("kind", "data", "asked"),
    [(SequenceClassification, None, False), (Twice, None, True), (SequenceClassification, Zeros, True)],
)
def test_only_a_batch_that_nobody_changes_stays_unasked(monkeypatch, kind, data, asked):
    trainer, task, calls = make_trainer([BatchesStay()], max_epochs=1), make_task(kind), []
    handler = task._apply_batch_transfer_handler
    monkeypatch.setattr(
        task, "_apply_batch_transfer_handler", lambda *a, **k: (calls.append(a), handler(*a, **k))[1]
    )
    if data is None:
        trainer.fit(task, batches(), batches())
    else:
        trainer.fit(task, data())
    assert bool(calls) is asked
    # The next data of the same Trainer is looked at anew.
    del calls[:]
    trainer.test(task, Zeros(), verbose=False)
    assert len(calls) == 5


def test_a_batch_moves_to_a_device():
    trainer, task = make_trainer(strategy=SingleDeviceStrategy(torch.device("meta"))), make_task()
    trainer.strategy.connect(task)
    BatchesStay().setup(trainer, task, "fit")
    assert trainer.strategy.batch_to_device(next(iter(batches()))).inputs.device.type == "meta"
