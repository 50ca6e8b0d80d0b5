"""Sequence classification: pooling, scores and the majority class, against numpy."""

from functools import partial

import numpy as np
import pytest
import torch

from gatewise.cells import GRU, LSTM, RNN
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.nn import Recurrent
from gatewise.tasks.classification import SequenceClassification

FACTS = FeatureFacts(
    feature_size=3, classes=("a", "b", "c", "d"), class_counts=(2, 7, 4, 1), mean=(0.0,) * 3, std=(1.0,) * 3
)
LENGTHS = torch.tensor([4, 1, 6, 3, 6])


def make_task(seed=0, cell=None, bidirectional=False, num_layers=1, **settings):
    torch.manual_seed(seed)
    model = partial(Recurrent, hidden_size=4, num_layers=num_layers, bidirectional=bidirectional, cell=cell)
    return SequenceClassification(
        model=model, facts=FACTS, optimizer=partial(torch.optim.SGD, lr=0.0), **settings
    ).eval()


def make_inputs():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(len(LENGTHS), int(LENGTHS.max()), 3, generator=generator)
    for row, length in zip(inputs, LENGTHS, strict=True):
        row[length:] = 0
    return inputs


def logits_alone(task, inputs, lengths, pooling):
    """Each sequence by itself, without padding; pooled and put through the head in numpy."""
    weight, bias = (p.detach().numpy() for p in (task.head.weight, task.head.bias))
    hidden = task.encoder.hidden_size
    rows = []
    for sequence, length in zip(inputs, lengths.tolist(), strict=True):
        with torch.no_grad():
            steps = task.encoder(sequence[None, :length])[0][0].numpy()
        if pooling == "last":
            # The forward direction ends at the sequence's end, the reverse one at its start.
            pooled = np.concatenate([steps[-1, :hidden], steps[0, hidden:]])
        else:
            pooled = steps.mean(0) if pooling == "mean" else steps.max(0)
        rows.append(weight @ pooled + bias)
    return np.array(rows)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN()], ids=repr)
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_pooling_is_that_of_each_sequence_alone(pooling, cell, bidirectional, num_layers):
    task = make_task(cell=cell, bidirectional=bidirectional, num_layers=num_layers, pooling=pooling)
    inputs = make_inputs()
    found = task(inputs, LENGTHS).detach().numpy()
    np.testing.assert_allclose(found, logits_alone(task, inputs, LENGTHS, pooling), rtol=0, atol=1e-6)


@pytest.mark.parametrize("garbage", [0.0, 1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_padding_never_changes_scores_or_gradients(pooling, garbage):
    task = make_task(bidirectional=True, pooling=pooling)
    inputs = make_inputs()
    dirty = inputs.clone()
    dirty[torch.arange(inputs.shape[1]) >= LENGTHS[:, None]] = garbage

    def results(values):
        logits = task(values, LENGTHS)
        return logits, *torch.autograd.grad(logits.square().sum(), list(task.parameters()))

    assert all(map(torch.equal, results(dirty), results(inputs)))
    # Longer padding of the same sequences: the same sums, perhaps rounded in another order.
    longer = torch.cat([dirty, torch.full_like(dirty, garbage)], 1)
    torch.testing.assert_close(task(longer, LENGTHS), task(inputs, LENGTHS), rtol=0, atol=1e-6)


TARGETS = {
    "all known": [[1, 0, 2, 1, 3], [1, 1], [0]],
    # Unequal batches with unequal shares of labels, and one without any.
    "some ignored": [[1, IGNORED, 2, 1, 3], [IGNORED, 1], [IGNORED], [0, 3, IGNORED]],
    # Class 0 is neither there nor, in the baseline, named.
    "classes missing": [[1, 2, 2, 1, 1], [2, 1]],
}


def make_batches(targets):
    generator = torch.Generator().manual_seed(2)
    batches = []
    for row in targets:
        lengths = torch.randint(1, 6, (len(row),), generator=generator)
        inputs = torch.randn(len(row), 5, 3, generator=generator)
        batches.append(SequenceBatch(inputs, lengths, torch.tensor(row)))
    return batches


def scores(predicted, truth):
    """(accuracy, macro F1 over the classes that are there or were named), from their definitions."""
    known = truth != IGNORED
    predicted, truth = predicted[known], truth[known]
    f1 = []
    for c in sorted(set(predicted.tolist()) | set(truth.tolist())):
        right = ((predicted == c) & (truth == c)).sum()
        f1.append(2 * right / ((predicted == c).sum() + (truth == c).sum()))
    return (predicted == truth).mean(), np.mean(f1)


def expected_metrics(task, batches, label_smoothing=0.0):
    logits = np.concatenate(
        [logits_alone(task, batch.inputs, batch.lengths, task.pooling) for batch in batches]
    ).astype(np.float64)
    truth = np.concatenate([batch.targets.numpy() for batch in batches])
    known = truth != IGNORED
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    # Label smoothing: a share e of the target is spread evenly over all classes (Szegedy et al., 2016).
    own = log_p[known, truth[known]]
    loss = -((1 - label_smoothing) * own + label_smoothing * log_p[known].mean(1)).mean()
    accuracy, f1 = scores(logits.argmax(1), truth)
    return {"loss": loss, "accuracy": accuracy, "f1": f1}, logits.argmax(1), truth


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_metrics_are_over_all_known_targets_of_the_epoch(targets, label_smoothing, trainer, loader):
    task = make_task(seed=3, label_smoothing=label_smoothing)
    batches = make_batches(targets)
    expected, predicted, truth = expected_metrics(task, batches, label_smoothing)
    made = trainer()
    made.fit(task.train(), loader(batches), loader(batches))
    found = dict(made.callback_metrics)
    for split in ("train", "val"):
        for name, value in expected.items():
            assert float(found[f"{split}/{name}"]) == pytest.approx(value, abs=1e-6), (split, name)

    made = trainer()
    for _ in range(2):  # a second test starts from nothing
        (found,) = made.test(task, loader(batches), verbose=False)
    for name, value in expected.items():
        assert found[f"test/{name}"] == pytest.approx(value, abs=1e-6), name

    # FACTS: class 1 is the most frequent one in training.
    known = truth[truth != IGNORED]
    accuracy, f1 = scores(np.full_like(truth, 1), truth)
    assert accuracy == (known == 1).sum() / len(known)
    assert found["baseline/majority class/accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert found["baseline/majority class/f1"] == pytest.approx(f1, abs=1e-6)

    confusion = np.zeros((4, 4), int)
    for true, guess in zip(truth, predicted, strict=True):
        if true != IGNORED:
            confusion[true, guess] += 1
    report = task.report()["confusion_matrix"]
    assert report == {"classes": ["a", "b", "c", "d"], "counts": confusion.tolist()}
    assert np.sum(report["counts"]) == len(known)


def test_a_training_stopped_by_max_steps_reports_every_batch_it_took(trainer, loader):
    """Two batches to a step, the third step's second is the sixth; the epoch has eight."""
    task = make_task().train()
    batches = make_batches([[0, 1, 2, 3, 1]] * 8)
    stopped = trainer(max_epochs=-1, max_steps=3, accumulate_grad_batches=2)
    stopped.fit(task, loader(batches), loader(batches[:1]))
    with torch.no_grad():
        losses = [float(task.score(batch).loss) for batch in batches[:6]]  # the rate is 0: nothing was learnt
    assert float(stopped.callback_metrics["train/loss"]) == pytest.approx(np.mean(losses), rel=1e-6)
    # What is left of a stopped epoch is no part of another training's.
    again = trainer(max_epochs=1)
    again.fit(task, loader(batches[6:]), loader(batches[:1]))
    with torch.no_grad():
        losses = [float(task.score(batch).loss) for batch in batches[6:]]
    assert float(again.callback_metrics["train/loss"]) == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_batch_without_a_known_target_teaches_nothing(trainer, loader):
    task = make_task()
    task._make_optimizer = partial(torch.optim.SGD, lr=0.5)
    before = [p.detach().clone() for p in task.parameters()]
    batches = loader(make_batches([[IGNORED, IGNORED]]))
    trainer(limit_val_batches=0).fit(task.train(), batches, batches)
    assert all(map(torch.equal, task.parameters(), before))


def test_predicted_rows_are_probabilities_of_the_logits():
    task = make_task(bidirectional=True)
    (batch,) = make_batches([[IGNORED] * 7])
    found = task.predict_step(batch).detach().numpy()
    logits = task(batch.inputs, batch.lengths).detach().numpy()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-6)
    assert found.shape == (7, 4)


def test_dropout_is_for_training_alone():
    task = make_task(dropout=0.5)
    inputs = make_inputs()
    assert torch.equal(task(inputs, LENGTHS), task(inputs, LENGTHS))
    task.train()
    assert not torch.equal(task(inputs, LENGTHS), task(inputs, LENGTHS))


def test_pooling_that_does_not_exist():
    with pytest.raises(
        ValueError, match=r"^pooling='first' is unknown; choose one of: last, mean, max, mean_max, attention$"
    ):
        make_task(pooling="first")


def test_the_side_of_each_metric_that_is_better():
    modes = {"val/loss": "min", "val/accuracy": "max", "val/f1": "max"}
    assert make_task().modes() == modes
    own = make_task(monitor="val/mine", mode="max")
    assert own.modes() == {**modes, "val/mine": "max"}
