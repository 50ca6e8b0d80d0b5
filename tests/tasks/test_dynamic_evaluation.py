"""Dynamic evaluation against a few lines of plain torch; the best temperature against scipy's minimum."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F

from gatewise.cells import LSTM
from gatewise.data.text.lanes import Lanes, OneLane
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.continuation import Drawing, continued
from gatewise.tasks.dynamic_evaluation import EPSILON, LANES, DynamicEvaluation, stream_of
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.temperature import best_temperature

FACTS = TextFacts(("<unk>", "<eos>", "a", "b", "c", "d"), (0, 3, 6, 1, 2, 1), "word", False)
SIZE = len(FACTS.vocabulary)


class Plain(nn.Module):
    """The same network of torch's own layers."""

    def __init__(self, task, tied):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(SIZE, 6), nn.LSTM(6, 6, batch_first=True)
        self.head = nn.Linear(6, SIZE)
        self.embedding.load_state_dict(task.embedding.state_dict())
        self.head.load_state_dict(task.head.state_dict())
        if tied:
            self.head.weight = self.embedding.weight
        # The second bias of torch's would learn the same once more.
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        task.encoder.load_torch(self.lstm)

    def forward(self, tokens, state=None):
        outputs, state = self.lstm(self.embedding(tokens), state)
        return self.head(outputs), state


def make_task(tied=False, **settings):
    torch.manual_seed(2)
    model = partial(Recurrent, hidden_size=6, cell=LSTM(), engine="function")
    task = LanguageModelling(model=model, facts=FACTS, embedding_size=6, tie_weights=tied, **settings)
    with torch.no_grad():
        task.embedding.weight.normal_()
    return task.eval()


def make_text(count, seed=0):
    ids = torch.randint(0, SIZE, (count + 1,), generator=torch.Generator().manual_seed(seed))
    return TextBatch(ids[None, :-1], ids[None, 1:])


def segments(model, rows, segment):
    state = None
    for start in range(0, rows.tokens.shape[1], segment):
        targets = rows.targets[:, start : start + segment]
        scores, state = model(rows.tokens[:, start : start + segment], state)
        state = tuple(part.detach() for part in state)
        model.zero_grad()
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        loss.backward()
        yield float(loss.detach()) * targets.numel()


def plain_loss(model, text, segment, rate, decay, training=None):
    """As in the paper: after each segment w -= rate · g / (RMS + ε), and back towards w₀."""
    weights = [w for w in model.parameters() if w.requires_grad]
    roots = [torch.ones_like(w) for w in weights]
    shares, epsilon = [torch.full_like(w, decay) for w in weights], 0.0
    if training is not None:
        lanes = min(LANES, training.tokens.shape[1] // segment)
        cut = training.tokens.shape[1] // lanes * lanes
        rows = TextBatch(*(part[:, :cut].reshape(lanes, -1) for part in training[:2]))
        squares, count = [torch.zeros_like(w) for w in weights], 0
        for _ in segments(model, rows, segment):
            count += 1
            squares = [s + w.grad**2 for s, w in zip(squares, weights, strict=True)]
        roots, epsilon = [(s / count).sqrt() for s in squares], EPSILON
        mean = sum(float(r.mean()) for r in roots) / len(roots)
        shares = [torch.minimum(decay * r / mean, torch.ones(())) for r in roots]
    first = [w.detach().clone() for w in weights]
    total = 0.0
    for loss in segments(model, text, segment):
        total += loss
        for w, w0, root, share in zip(weights, first, roots, shares, strict=True):
            w.data += share * (w0 - w.data) - rate * w.grad / (root + epsilon)
    return total


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("method", "rate", "decay", "segment"),
    [("sgd", 0.5, 0.01, 5), ("sgd", 0.1, 0.0, 7), ("rms", 2e-3, 0.02, 5), ("rms", 5e-3, 0.6, 9)],
)
def test_it_is_what_a_few_lines_of_plain_torch_do(method, rate, decay, segment, tied):
    task, text, training = make_task(tied), make_text(93), make_text(1203, seed=1)
    plain = Plain(task, tied)
    dynamic = DynamicEvaluation(method, rate, decay, segment)
    before = [p.detach().clone() for p in task.parameters()]
    scales = dynamic.gradient_scales(task, task, training) if method == "rms" else None
    found = dynamic.loss(task, task, text, scales)
    expected = plain_loss(plain, text, segment, rate, decay, training if method == "rms" else None)
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(map(torch.equal, task.parameters(), before))
    with torch.no_grad():
        static = float(F.cross_entropy(task(text.tokens)[0][0], text.targets[0], reduction="sum"))
    assert abs(found - static) > 1e-4 * static


def test_without_a_rate_nothing_is_learnt():
    task, text = make_task(), make_text(50)
    with torch.no_grad():
        static = float(F.cross_entropy(task(text.tokens)[0][0], text.targets[0], reduction="sum"))
    assert DynamicEvaluation("sgd", 0.0, 0.1, 4).loss(task, task, text) == pytest.approx(static, rel=1e-6)


def test_the_weights_come_back_after_an_error():
    task, text = make_task(), make_text(50)
    before = [p.detach().clone() for p in task.parameters()]
    calls = []

    def fails(tokens, state):
        calls.append(tokens)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return task(tokens, state)

    with pytest.raises(KeyboardInterrupt):
        DynamicEvaluation("sgd", 1.0, 0.0, 5).loss(task, fails, text)
    assert all(map(torch.equal, task.parameters(), before))


@pytest.mark.parametrize(("lanes", "window", "warmup"), [(1, 7, 0), (3, 5, 0), (4, 6, 9)])
def test_the_windows_of_any_lanes_are_the_same_text(lanes, window, warmup):
    ids = torch.arange(58)
    cut = Lanes(ids, lanes, window, warmup=warmup)
    text = stream_of(cut[i] for i in range(len(cut)))
    assert text.tokens[0].tolist() == ids[:-1].tolist()
    assert text.targets[0].tolist() == ids[1:].tolist()


def test_no_more_windows_are_read_than_it_takes():
    cut = Lanes(torch.arange(101), 2, 5)
    assert stream_of((cut[i] for i in range(len(cut))), most=20).tokens.shape == (1, 20)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("dynamic", ["sgd", "rms"])
def test_a_test_has_both_scores_by_their_names(dynamic, lanes, trainer, loader):
    ids = torch.randint(0, SIZE, (150,), generator=torch.Generator().manual_seed(3))
    windows = [Lanes(ids, lanes, 11, warmup=4 if lanes > 1 else 0), OneLane(ids, 150)]
    training = Lanes(make_text(600, seed=4).tokens[0], 4, 30)
    found = []
    for read in windows:
        task = make_task(dynamic=dynamic, dynamic_rate=1e-3, dynamic_statistics=None)
        model = Plain(task, tied=False)
        assert task.needs_parts == (dynamic == "rms")
        task.parts = {"training": lambda: loader(training)}
        before = [p.detach().clone() for p in task.parameters()]
        run = trainer()
        run.test(task, loader(read), verbose=False)
        found.append({name: float(value) for name, value in run.callback_metrics.items()})
        assert all(map(torch.equal, task.parameters(), before))
    text = TextBatch(ids[None, :-1], ids[None, 1:])
    learnt_from = stream_of([training[0:]]) if dynamic == "rms" else None
    plain = plain_loss(model, text, 5, 1e-3, 0.002, learnt_from)
    for values in found:  # however the windows lie
        assert values["test/dynamic_loss"] == pytest.approx(plain / 149, rel=1e-5)
        assert values["test/dynamic_perplexity"] == pytest.approx(math.exp(plain / 149), rel=1e-5)
    static = make_task()
    Plain(static, tied=False)  # gives it the same weights
    run = trainer()
    run.test(static, loader(windows[1]), verbose=False)
    assert found[1]["test/loss"] == float(run.callback_metrics["test/loss"])
    assert "test/dynamic_loss" not in run.callback_metrics
    assert {"dynamic_perplexity", "perplexity"} <= set(static.meanings())


def test_a_rate_that_is_too_large_is_told(trainer, loader):
    task = make_task(dynamic="sgd", dynamic_rate=1e30)
    with pytest.raises(ValueError, match=r"set task.dynamic_rate below 1e\+30"):
        trainer().test(task, loader(Lanes(make_text(60).tokens[0], 1, 20)), verbose=False)


@pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
def test_the_best_temperature_is_the_minimum_of_the_loss(scale):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(400, 7, generator=generator) * scale
    targets = torch.multinomial(torch.softmax(scores / 1.7, -1), 1, generator=generator)[:, 0]
    halves = [(scores[:150], targets[:150]), (scores[150:], targets[150:])]
    found = best_temperature(lambda: iter(halves), lambda a, b: (a, b))
    expected = minimize_scalar(
        lambda log: float(F.cross_entropy(scores.double() / math.exp(log), targets)), bounds=(-4, 4)
    )
    assert found == pytest.approx(math.exp(expected.x), rel=2e-3)


def written_by(task, count):
    """Ids of a text that the task's own probabilities, a little sharpened, have drawn."""
    with torch.no_grad():
        probabilities, state = task.next_probabilities(torch.tensor([[2]]))
        drawing = Drawing(temperature=0.6)
        return continued(task.next_probabilities, probabilities, state, drawing, 1, count, seed=0)[0, 0]


def test_a_tempered_score_is_that_of_scores_over_the_chosen_temperature(trainer, loader):
    task = make_task(tempered=True, evaluation_temperature=0.5)
    ids, validation = make_text(120).tokens[0], written_by(task, 400)
    task.parts = {"validation": lambda: loader(OneLane(validation, 9))}
    run = trainer()
    run.test(task, loader(OneLane(ids, 13)), verbose=False)
    values = {name: float(value) for name, value in run.callback_metrics.items()}
    with torch.no_grad():
        scores, held_out = (task.forward(part[None, :-1])[0][0].double() * 0.5 for part in (ids, validation))
    chosen = minimize_scalar(
        lambda t: float(F.cross_entropy(held_out / t, validation[1:])), bounds=(0.05, 50), method="bounded"
    ).x
    assert values["test/temperature"] == pytest.approx(chosen, rel=5e-3)
    expected = float(F.cross_entropy(scores / values["test/temperature"], ids[1:]))
    assert values["test/tempered_loss"] == pytest.approx(expected, rel=1e-5)
    assert values["test/tempered_perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    assert values["test/loss"] == pytest.approx(float(F.cross_entropy(scores / 0.5, ids[1:])), rel=1e-5)


def test_a_text_of_its_own_is_learnt():
    """A word that follows another again and again, unlike in training."""
    task = make_task()
    ids = torch.tensor([2, 5] * 200 + [2])
    text = TextBatch(ids[None, :-1], ids[None, 1:])
    with torch.no_grad():
        static = float(F.cross_entropy(task(text.tokens)[0][0], text.targets[0]))
    found = DynamicEvaluation("sgd", 0.5, 0.0, 5).loss(task, task, text) / 400
    assert found < 0.6 * static
    assert np.isfinite(found)
    assert (text.targets == IGNORED).sum() == 0
