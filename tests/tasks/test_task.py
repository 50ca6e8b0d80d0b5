"""What holds for every Task: facts, learning, schedules and checkpoints, in real Trainers."""

import math
from functools import partial
from importlib import import_module
from importlib.resources import files
from inspect import signature
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn import functional as F
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, ReduceLROnPlateau, StepLR

from gatewise.cells import GRU, LSTM, RNN
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.forecasting import Forecasting
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.task import Task

FEATURES = FeatureFacts(3, ("a", "b", "c", "d"), (4, 5, 6, 7), (0.0,) * 3, (1.0,) * 3)
TEXT = TextFacts(("<unk>", "<eos>", "a", "b", "c"), (0, 3, 6, 1, 2), "word", False)
SERIES = SeriesFacts("time", ("x", "y"), ("y",), "D", 6, 3, 2, (0.0, 0.0), (1.0, 1.0))


class Case(NamedTuple):
    """A task, what it needs, a batch and, from its definition, the loss on it."""

    task: type
    facts: Any
    batch: Any
    loss: Any
    output_shape: tuple[int, ...]
    settings: dict[str, Any]


def _draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def _classes(n, *shape):
    return torch.randint(0, n, shape, generator=torch.Generator().manual_seed(6))


CASES = {
    "classification": Case(
        SequenceClassification,
        FEATURES,
        SequenceBatch(_draw(6, 5, 3), torch.tensor([5, 2, 1, 4, 5, 3]), _classes(4, 6)),
        lambda task, batch: F.cross_entropy(task(batch.inputs, batch.lengths), batch.targets),
        (6, 4),
        {"pooling": "mean"},
    ),
    "language_modelling": Case(
        LanguageModelling,
        TEXT,
        TextBatch(_classes(5, 3, 6), _classes(5, 3, 6).roll(1)),
        lambda task, batch: F.cross_entropy(task(batch.tokens)[0].transpose(1, 2), batch.targets),
        (3, 6, 5),
        {"embedding_size": 4},
    ),
    "forecasting": Case(
        Forecasting,
        SERIES,
        WindowBatch(_draw(6, 6, 2), _draw(6, 3, 1)),
        lambda task, batch: F.mse_loss(task(batch.inputs), batch.targets),
        (6, 3, 1),
        {"center": True},
    ),
}


def inputs_of(batch):
    """All that a task reads: without the targets and the times, and what the batch has not."""
    parts = {name: part for name, part in batch._asdict().items() if part is not None}
    return [part for name, part in parts.items() if name not in ("targets", "times")]


CELLS = {
    "lstm": {"cell": LSTM()},
    "bilstm": {"cell": LSTM(), "bidirectional": True},
    "gru": {"cell": GRU(), "num_layers": 2},
    "rnn_tanh": {"cell": RNN()},
    "rnn_relu": {"cell": RNN("relu")},
    "learnt_start": {"cell": LSTM(), "learn_initial_state": True},
}


def make_task(case, cell="lstm", seed=0, optimizer=None, **settings):
    torch.manual_seed(seed)
    model = partial(Recurrent, hidden_size=4, **CELLS[cell])
    optimizer = optimizer or partial(SGD, lr=0.05)
    return case.task(model=model, facts=case.facts, optimizer=optimizer, **{**case.settings, **settings})


class Gradients(pl.Callback):
    def on_after_backward(self, trainer, pl_module):  # noqa: ARG002
        self.gradients = {name: p.grad for name, p in pl_module.named_parameters()}


# A language model reads one way.
PAIRS = [(name, cell) for name in CASES for cell in CELLS if (name, cell) != ("language_modelling", "bilstm")]


@pytest.mark.parametrize(("name", "cell"), PAIRS)
class TestEveryTask:
    """Any new task takes a row in CASES, any new cell one in CELLS."""

    @pytest.fixture
    def case(self, name):
        return CASES[name]

    def test_initial_weights_depend_on_the_seed_alone(self, case, cell):
        first, again, other = (make_task(case, cell, seed).state_dict() for seed in (1, 1, 2))
        assert first.keys() == again.keys()
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)

    def test_forward_shape(self, case, cell):
        task = make_task(case, cell)
        inputs = inputs_of(case.batch)
        outputs = task(*inputs)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        assert tuple(outputs.shape) == case.output_shape
        assert outputs.isfinite().all()

    def test_a_training_step_reaches_every_weight_and_lowers_the_loss(self, case, cell, trainer, loader):
        def trained():
            task = make_task(case, cell)
            with torch.no_grad():
                before = case.loss(task, case.batch)
            recorder = Gradients()
            trainer(limit_val_batches=0, callbacks=[recorder]).fit(
                task, loader([case.batch]), loader([case.batch])
            )
            return task, before, recorder.gradients

        task, before, gradients = trained()
        for parameter, gradient in gradients.items():
            assert gradient is not None, parameter
            assert gradient.isfinite().all(), parameter
            assert gradient.any(), parameter
        with torch.no_grad():
            assert case.loss(task, case.batch) < before
        logged = float(task.trainer.callback_metrics["train/loss"])
        assert logged == pytest.approx(float(before), rel=1e-5)
        again, _, _ = trained()
        assert all(torch.equal(a, b) for a, b in zip(task.parameters(), again.parameters(), strict=True))


MISMATCHES = {
    "classification": (TEXT, "SequenceClassification takes labelled feature sequences, .* running text"),
    "language_modelling": (SERIES, "LanguageModelling takes running text .*, but the data gives time-series"),
    "forecasting": (FEATURES, "Forecasting takes time-series windows .* gives labelled feature sequences"),
}


@pytest.mark.parametrize("name", CASES)
def test_facts_of_another_kind_name_both_sides(name):
    facts, message = MISMATCHES[name]
    with pytest.raises(ValueError, match=message):
        make_task(CASES[name]._replace(facts=facts))


def test_mode_must_be_min_or_max():
    with pytest.raises(ValueError, match="mode='low' is unknown; choose one of: min, max"):
        make_task(CASES["forecasting"], mode="low")


LR = 0.1
EPOCHS = 6

# The learning rate of epochs 0 to 5, from each schedule's formula.
SCHEDULERS = {
    # Halved every second epoch.
    "StepLR": (partial(StepLR, step_size=2, gamma=0.5), [LR * 0.5 ** (e // 2) for e in range(EPOCHS)]),
    # Loshchilov & Hutter, 2017: half a cosine over T_max epochs, from lr down to eta_min.
    "CosineAnnealingLR": (
        partial(CosineAnnealingLR, T_max=EPOCHS, eta_min=0.02),
        [0.02 + (LR - 0.02) * (1 + math.cos(math.pi * e / EPOCHS)) / 2 for e in range(EPOCHS)],
    ),
    # A quarter for three epochs.
    "ConstantLR": (partial(ConstantLR, factor=0.25, total_iters=3), [LR / 4] * 3 + [LR] * 3),
    # Nothing beats the first epoch by 1e9: bad epochs 1 and 2 exceed the patience of 1, then 3 and 4.
    "ReduceLROnPlateau": (
        partial(ReduceLROnPlateau, factor=0.5, patience=1, threshold=1e9, threshold_mode="abs"),
        [LR, LR, LR, LR / 2, LR / 2, LR / 4],
    ),
    "none": (None, [LR] * EPOCHS),
}


class LearningRates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty.*")  # it is resumed
@pytest.mark.parametrize("optimizer", [partial(SGD, lr=LR, momentum=0.9), partial(AdamW, lr=LR)])
@pytest.mark.parametrize(("scheduler", "expected"), SCHEDULERS.values(), ids=SCHEDULERS)
def test_schedules_step_once_per_epoch_and_resume_exactly(
    scheduler, expected, optimizer, trainer, loader, tmp_path
):
    case = CASES["forecasting"]
    batches = loader([case.batch] * 2)  # two steps per epoch: a schedule stepped per batch would show

    def fit(folder, epochs, resume=None):
        task = make_task(case, optimizer=optimizer, scheduler=scheduler)
        keep = {"save_top_k": -1, "save_on_train_epoch_end": True}
        callbacks = [LearningRates(), ModelCheckpoint(tmp_path / folder, "{epoch}", **keep)]
        made = trainer(max_epochs=epochs, enable_checkpointing=True, callbacks=callbacks)
        made.fit(task, batches, batches, ckpt_path=resume, weights_only=True)
        return task, callbacks[0].rates[::2], callbacks[0].rates[1::2]

    whole, first_batches, second_batches = fit("whole", EPOCHS)
    assert first_batches == pytest.approx(expected)
    assert second_batches == first_batches

    # A checkpoint holds the next epoch's learning rate, and only plain values and tensors.
    for epoch in range(EPOCHS):
        stored = torch.load(tmp_path / "whole" / f"epoch={epoch}.ckpt", weights_only=True)
        if epoch + 1 < EPOCHS:
            rate = stored["optimizer_states"][0]["param_groups"][0]["lr"]
            assert rate == pytest.approx(expected[epoch + 1]), epoch
        if scheduler is None:
            assert "scheduler" not in stored
        else:
            assert stored["scheduler"]["last_epoch"] == epoch + 1

    fit("parts", 3)
    resumed, first_batches, _ = fit("parts", EPOCHS, tmp_path / "parts" / "epoch=2.ckpt")
    assert first_batches == pytest.approx(expected[3:])
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_loads_without_trusting_it(name, trainer, loader, tmp_path):
    case = CASES[name]
    task = make_task(case, scheduler=partial(StepLR, step_size=1))
    callbacks = [ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)]
    batches = loader([case.batch])
    trainer(enable_checkpointing=True, callbacks=callbacks).fit(task, batches, batches)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    other = make_task(case, seed=1)
    other.load_state_dict(stored["state_dict"])  # strict: no key too many, none missing
    for ours, theirs in zip(task.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        assert torch.equal(task.predict_step(case.batch), other.predict_step(case.batch))


def test_a_plateau_without_its_metric_waits(trainer, loader):
    """No validation, no val/mse: nothing to judge an epoch by."""
    case = CASES["forecasting"]
    task = make_task(case, scheduler=partial(ReduceLROnPlateau, patience=0))
    batches = loader([case.batch])
    trainer(max_epochs=3, limit_val_batches=0).fit(task, batches, batches)
    assert task.optimizers().param_groups[0]["lr"] == 0.05
    assert task._scheduler.last_epoch == 0


def test_a_task_for_prediction_needs_no_optimizer():
    torch.manual_seed(0)
    task = Forecasting(model=partial(Recurrent, hidden_size=4), facts=SERIES)
    assert task.predict_step(CASES["forecasting"].batch).shape == (6, 3, 1)
    assert task.report() == {}


def test_frozen_weights_stay_out_of_the_optimizer():
    task = make_task(CASES["classification"])
    task.head.weight.requires_grad_(False)
    chosen = {id(p) for group in task.configure_optimizers().param_groups for p in group["params"]}
    assert id(task.head.weight) not in chosen
    assert chosen == {id(p) for p in task.parameters() if p.requires_grad}


def test_every_task_tells_its_sizes_by_facts_and_settings():
    package = files("gatewise.tasks")
    for name in (each.name.removesuffix(".py") for each in package.iterdir() if each.name.endswith(".py")):
        import_module(f"gatewise.tasks.{name}")
    tasks, kinds = [Task], []
    while tasks:
        kinds.append(tasks.pop())
        tasks += kinds[-1].__subclasses__()
    assert len(kinds) > 6
    for kind in kinds:
        assert list(signature(kind.sizes).parameters) == ["facts", "settings"], kind
