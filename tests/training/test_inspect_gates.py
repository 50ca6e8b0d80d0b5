"""What ``callbacks=inspect`` measures, and that a training with it is the one without."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from gatewise.cells import GRU, LSTM, RNN
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.training.epochs import ReproducibleEpochs
from gatewise.training.inspect_gates import InspectGates, statistics
from gatewise.training.loggers import MetricsFile, RowsBeforeCheckpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty.*"),
]
FACTS = TextFacts(tuple("abcde"), (3, 3, 3, 3, 3), "char", False)


def language_model(cell: Any, **settings: Any) -> LanguageModelling:
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, cell=cell)
    return LanguageModelling(model, FACTS, partial(torch.optim.SGD, lr=0.5), embedding_size=3, **settings)


def windows(rows: int = 2, steps: int = 6, count: int = 4) -> list[TextBatch]:
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 5, (count, rows, steps + 1), generator=draw)
    return [TextBatch(window[:, :-1], window[:, 1:]) for window in tokens]


def by_hand(task: Any, x: Tensor, length: int) -> list[Tensor]:
    """The states h of a plain RNN over one sequence [T, F], which keep their gradients."""
    layer = task.encoder.layers[0]
    h, states = torch.zeros(4), []
    for step in range(length):
        h = torch.tanh(layer.weight_ih @ x[step] + layer.weight_hh @ h + layer.bias)
        h.retain_grad()
        states.append(h)
    return states


def test_the_gradient_is_that_of_the_last_steps_loss() -> None:
    """Against an RNN that is written out: each row's own loss, at its own last step alone."""
    task = language_model(RNN()).eval()
    (batch,) = windows(rows=3, count=1)
    found = statistics(task, batch, 2)
    norms = []
    for row in range(2):
        states = by_hand(task, task.embedding(batch.tokens[row]), 6)
        F.cross_entropy(task.head(states[-1]), batch.targets[row, -1]).backward()
        norms.append([float(state.grad.norm()) for state in reversed(states)])
    for distance in (0, 1, 2, 4):
        expected = np.median([of_row[distance] for of_row in norms])
        assert found[f"inspect/gradient/h/layer0/{distance}"] == pytest.approx(expected, rel=1e-5)
    assert "inspect/gradient/h/layer0/3" not in found
    assert not any(name.startswith(("inspect/mean", "inspect/kept")) for name in found)  # it has no gate


def test_padding_and_the_reverse_direction() -> None:
    facts = FeatureFacts(3, ("a", "b"), (1, 1), (0.0,) * 3, (1.0,) * 3)
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, cell=LSTM(), bidirectional=True)
    task = SequenceClassification(model, facts).eval()
    inputs, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
    batch = SequenceBatch(inputs, lengths, torch.tensor([0, 1]))
    found = statistics(task, batch, 8)
    padded = batch._replace(inputs=torch.cat([inputs, torch.full((2, 2, 3), 9.0)], 1))
    assert statistics(task, padded, 8) == pytest.approx(found)
    trace = task.encoder.trace(inputs, lengths)
    assert found["inspect/mean/f/layer0_reverse"] == pytest.approx(float(trace["f"][0, 1].nanmean()))
    assert found["inspect/kept/c/layer0"] == pytest.approx(float(trace["f"][0, 0].nanmean()))
    assert {name.split("/")[2] for name in found if "/mean/" in name} == {"i", "f", "o"}
    # With a sequence alone, distance 2 of the reverse direction is its third step from the left.
    alone = statistics(task, batch, 1)
    assert alone["inspect/gradient/h/layer0_reverse/4"] > 0


def test_layers_of_any_size_are_those_of_a_recurrent() -> None:
    facts = FeatureFacts(3, ("a", "b"), (1, 1), (0.0,) * 3, (1.0,) * 3)
    batch = SequenceBatch(torch.randn(2, 5, 3), torch.tensor([5, 3]), torch.tensor([0, 1]))
    one = SequenceClassification(partial(Recurrent, hidden_size=4, num_layers=2, cell=LSTM()), facts).eval()
    two = SequenceClassification(
        partial(Stacked, hidden_size=[4, 4], num_layers=2, cell=LSTM()), facts
    ).eval()
    for number, layer in enumerate(two.encoder.layers):
        layer.layers[0].load_state_dict(one.encoder.layers[number].state_dict())
    two.head.load_state_dict(one.head.state_dict())
    assert statistics(two, batch, 8) == pytest.approx(statistics(one, batch, 8), rel=1e-5)
    unlike = SequenceClassification(partial(Stacked, hidden_size=[4, 3], num_layers=2), facts).eval()
    found = statistics(unlike, batch, 8)
    assert found["inspect/mean/f/layer1"] == pytest.approx(
        float(unlike.encoder.trace(batch.inputs, batch.lengths).layers[1]["f"].nanmean())
    )


def test_neither_task_nor_generators_change() -> None:
    task = language_model(GRU(), dropout=0.5).eval()
    task._state = (torch.ones(1, 7, 4),)  # what it carries is of a batch of another size
    before = torch.get_rng_state(), {name: value.clone() for name, value in task.state_dict().items()}
    kept = task._state
    task._state = None
    with torch.inference_mode():
        found = statistics(task, windows()[0], 8)
    assert found == statistics(task, windows()[0], 8)
    assert task._state is None
    assert kept[0].shape == (1, 7, 4)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in task.state_dict().items())
    assert all(parameter.grad is None for parameter in task.parameters())


def train(run: Run, inspected: bool, epochs: int, resumed: bool = False, **settings: Any) -> Any:
    """The weights after a training with dropout and a carried state, and the rows of its metrics."""
    task = language_model(LSTM(), dropout=0.3)
    metrics = MetricsFile(run.metrics_file)
    if resumed:
        metrics.keep_first(torch.load(run.checkpoints / "last.ckpt", weights_only=True)["epoch"] + 1)
    callbacks: list[pl.Callback] = [
        ReproducibleEpochs(3),
        RowsBeforeCheckpoints(metrics),
        ModelCheckpoint(run.checkpoints, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if inspected:
        callbacks.append(InspectGates(run, **settings))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=[metrics], callbacks=callbacks, log_every_n_steps=1,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=run.folder,
    )  # fmt: skip
    torch.manual_seed(3 + resumed)  # as another process would
    loader = DataLoader(windows(), batch_size=None)
    path = run.checkpoints / "last.ckpt" if resumed else None
    trainer.fit(task, loader, loader, ckpt_path=path, weights_only=True)
    return {name: value.clone() for name, value in task.state_dict().items()}, read_metrics(run.metrics_file)


@pytest.fixture
def titled(create: Any) -> Any:
    def make() -> Run:
        run: Run = create()
        (run.folder / "config.yaml").write_text("name: text/mine\n")
        return run

    return make


def test_a_training_with_it_is_the_one_without(titled: Any) -> None:
    run = titled()
    weights, rows = train(run, True, 2)
    others, without = train(titled(), False, 2)
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert [{n: v for n, v in row.items() if not n.startswith("inspect/")} for row in rows] == without
    assert all("inspect/mean/f/layer0" in row for row in rows)
    assert {path.name for path in run.plots.iterdir()} == {"inspect_gates.png", "inspect_gradients.png"}
    columns = run.metrics_file.read_text().splitlines()[0].split(",")
    is_last = [name.startswith("inspect/") for name in columns]
    assert is_last == sorted(is_last)  # after all others


def test_every_second_epoch(titled: Any) -> None:
    _, rows = train(titled(), True, 4, every_epochs=2, sequences=1)
    assert [row["epoch"] for row in rows if "inspect/mean/f/layer0" in row] == [2, 4]


def test_a_resumed_training_is_the_uninterrupted_one(titled: Any) -> None:
    run = titled()
    train(run, True, 1)
    weights, rows = train(run, True, 2, resumed=True)
    whole, uninterrupted = train(titled(), True, 2)
    assert rows == uninterrupted
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_a_task_that_cannot_be_inspected_is_trained(titled: Any, caplog: pytest.LogCaptureFixture) -> None:
    run = titled()
    task = language_model(LSTM())
    del task.encoder
    with pytest.raises(ValueError, match="LanguageModelling has no Recurrent as its encoder"):
        statistics(task, windows()[0], 8)
    callback = InspectGates(run)
    trainer: Any = type("T", (), {"current_epoch": 0, "is_last_batch": True, "sanity_checking": False})()
    trainer.state = type("S", (), {"fn": "fit"})()
    trainer.strategy, trainer.loggers, trainer.global_step = None, [], 1
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            callback.on_validation_batch_start(trainer, task, windows()[0], 0)
    (message,) = caplog.messages
    assert message.startswith("callbacks.inspect: nothing is inspected in this training (LanguageModelling")


@pytest.mark.parametrize("batch", [3, object(), "x"])
def test_a_batch_that_cannot_be_cut(batch: Any) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        statistics(language_model(LSTM()), batch, 8)


@pytest.mark.parametrize("name", ["every_epochs", "sequences"])
def test_settings(name: str, run: Run) -> None:
    with pytest.raises(ValueError, match=name):
        InspectGates(run, **{name: 0})


def test_without_rows_nothing_is_drawn(run: Run) -> None:
    InspectGates(run)._draw()
    assert not list(run.plots.iterdir())
