"""What a language model draws, and how surprised it is, against softmaxes computed over whole texts."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from gatewise.cells import GRU, LSTM
from gatewise.data.text import LanguageText
from gatewise.data.text.lanes import OneLane
from gatewise.kinds.text import TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.continuation import Drawing, continued
from gatewise.tasks.language_modelling import LanguageModelling

FACTS = TextFacts(("<unk>", "<eos>", "a", "b", "c"), (0, 3, 6, 1, 2), "word", False)
SIZE = len(FACTS.vocabulary)


def make_task(cell=None, facts=FACTS, **settings):
    torch.manual_seed(1)
    model = partial(Recurrent, hidden_size=6, num_layers=2, cell=cell or LSTM(), engine="function")
    task = LanguageModelling(model=model, facts=facts, **{"embedding_size": 4, **settings})
    with torch.no_grad():  # its small start would draw all tokens alike
        task.embedding.weight.normal_()
        task.head.weight.mul_(3)
    return task.eval()


def numpy_softmax(task, ids):
    """Probabilities of the token after ``ids``, by one pass over all of them."""
    with torch.no_grad():
        scores = task(torch.tensor([ids]))[0][0, -1].double().numpy()
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def numpy_shares(probabilities, temperature, draw_from, top_p):
    """What each token is drawn with: the most probable ones, in logarithms, then the nucleus of these."""
    order = np.argsort(-probabilities, kind="stable")[: draw_from or SIZE]
    powers = np.exp(np.log(probabilities[order] / probabilities.max()) / temperature)
    powers /= powers.sum()
    kept = 1 + int(np.searchsorted(powers.cumsum(), top_p - 1e-12))
    shares = np.zeros(SIZE)
    shares[order[:kept]] = powers[:kept] / powers[:kept].sum()
    return shares


SETTINGS = [(1.0, None, 1.0), (0.5, None, 1.0), (2.0, 3, 1.0), (1.0, 1, 1.0), (1.0, None, 0.6), (1.5, 4, 0.8)]


@pytest.mark.parametrize(("temperature", "draw_from", "top_p"), [*SETTINGS, (1e-300, None, 1.0)])
def test_a_token_gets_the_share_that_is_asked_for(temperature, draw_from, top_p):
    probabilities = np.array([0.1, 0.4, 0.05, 0.25, 0.2])
    found = Drawing(temperature, draw_from, top_p).weights(torch.tensor(probabilities)[None])
    np.testing.assert_allclose(
        (found / found.sum())[0], numpy_shares(probabilities, temperature, draw_from, top_p), atol=1e-12
    )


@pytest.mark.parametrize(("temperature", "draw_from", "top_p"), SETTINGS)
def test_pairs_of_tokens_come_as_often_as_the_softmax_says(temperature, draw_from, top_p):
    """A chi-square test of two tokens that follow one another, against passes over the whole text."""
    count = 20_000
    task = make_task()
    prompt = [2, 4, 1, 2]
    drawing = Drawing(temperature, draw_from, top_p)
    with torch.no_grad():
        probabilities, state = task.next_probabilities(torch.tensor([prompt]))
        drawn = continued(task.next_probabilities, probabilities, state, drawing, count, 2, seed=5)[0]
    first = numpy_shares(numpy_softmax(task, prompt), temperature, draw_from, top_p)
    second = [
        numpy_shares(numpy_softmax(task, [*prompt, token]), temperature, draw_from, top_p)
        for token in range(SIZE)
    ]
    expected = (first[:, None] * np.array(second)).flatten() * count
    seen = np.bincount((drawn[:, 0] * SIZE + drawn[:, 1]).numpy(), minlength=SIZE**2)
    assert seen[expected == 0].sum() == 0
    possible = expected > 0
    statistic = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi2.sf(statistic, max(possible.sum() - 1, 1)) > 1e-4


def test_the_prefix_is_read_once_and_each_step_alone():
    task = make_task(samples=7, length=9, temperature=1.0)
    calls = []
    task.encoder.register_forward_pre_hook(lambda _module, args: calls.append(tuple(args[0].shape[:2])))
    with torch.no_grad():
        task.answer(LanguageText.read_input("a b c a b", FACTS))
    assert calls == [(1, 5)] + [(7, 1)] * 8


@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_a_seed_gives_the_same_samples_and_lines_do_not_change_each_other(cell):
    lines = ["a b c", "c", "b googled a a c b"]
    task = make_task(cell, samples=3, length=12, temperature=1.0, seed=4)
    with torch.no_grad():
        together = task.answer_lines(LanguageText.read_lines(lines, FACTS))
        alone = [task.answer_lines(LanguageText.read_lines([line], FACTS))[0] for line in lines]
        table = task.answer(LanguageText.read_input("a b c", FACTS)).table
        other = make_task(cell, samples=3, length=12, temperature=1.0, seed=5)
        others = other.answer_lines(LanguageText.read_lines(lines[:1], FACTS))
    for line, single in zip(together, alone, strict=True):
        assert line.values["continuations"] == single.values["continuations"]
        assert line.values["next"] == single.values["next"]
        np.testing.assert_allclose(line.values["probability"], single.values["probability"], rtol=1e-5)
    assert [table[f"continuation {i}"][0] for i in (1, 2, 3)] == together[0].values["continuations"]
    assert others[0].values["continuations"] != together[0].values["continuations"]
    assert len(set(together[0].values["continuations"])) == 3
    assert [line.values["unknown"] for line in together] == [[], [], ["googled"]]
    assert all(c.startswith("b <unk> a a c b") for c in together[2].values["continuations"])


def test_the_most_probable_token_needs_no_draw():
    task = make_task(length=6)
    ids = [2, 3]
    for _ in range(6):
        ids.append(int(numpy_softmax(task, ids).argmax()))
    with torch.no_grad():
        (line,) = task.answer_lines(LanguageText.read_lines(["a b"], FACTS))
    assert line.values["continuations"] == [FACTS.decoded(ids)]
    assert line.text == FACTS.decoded(ids)


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_surprise_adds_up_to_the_loss_of_a_test(temperature, trainer, loader, monkeypatch):
    monkeypatch.setattr("gatewise.tasks.continues_text.CHUNK", 7)
    words = [FACTS.vocabulary[i] for i in np.random.default_rng(0).integers(2, SIZE, 60)]
    words[7] = "googled"
    lines = [" ".join(words[start : start + 12]) for start in range(0, 60, 12)]
    text = "\n".join(lines) + "\n"
    task = make_task(surprise=True, evaluation_temperature=temperature)
    given = LanguageText.read_input(text, FACTS)
    with torch.no_grad():
        answer = task.answer(given)
    table = answer.table
    ids = FACTS.encoded(FACTS.tokenized(text)).tolist()
    # By numpy, each token after a pass over all before it.
    for place in (1, 8, 40, len(ids) - 1):
        scores = np.log(numpy_softmax(task, ids[:place])) if temperature == 1 else None
        if scores is not None:
            assert table["bits"][place] == pytest.approx(-scores[ids[place]] / math.log(2), rel=1e-4)
    run = trainer()
    run.test(task, loader(OneLane(torch.tensor(ids), 13)), verbose=False)
    loss = float(run.callback_metrics["test/loss"])
    assert table["bits"][1:].sum() * math.log(2) == pytest.approx(loss * (len(ids) - 1), rel=1e-5)
    assert math.isclose(-np.log2(table["probability"][1:].astype(float)).sum(), table["bits"][1:].sum())
    assert table["token"][8] == words[8]
    assert (table["token"][7], table["read as"][7]) == ("googled", "<unk>")
    assert table["bits"].isna().tolist() == [True] + [False] * (len(ids) - 1)
    assert f"perplexity {math.exp(loss):.2f}" in answer.remark
    assert "".join(piece for piece, _ in answer.shaded).split() == " ".join(lines).split()


def test_surprise_of_lines_is_that_of_each_alone():
    task = make_task(surprise=True)
    lines = ["a b c a", "b", "c c a b b a c"]
    with torch.no_grad():
        together = task.answer_lines(LanguageText.read_lines(lines, FACTS))
        alone = [task.answer_lines(LanguageText.read_lines([line], FACTS))[0] for line in lines]
    for line, single in zip(together, alone, strict=True):
        assert line.values["total bits"] == pytest.approx(single.values["total bits"], rel=1e-5)
        assert line.values["token"] == single.values["token"]
    assert together[1].values["bits"] == [None]
    assert together[1].text == "0.000\tb"
    assert "nothing stands before it" in together[1].shown


def test_characters_are_marked_without_gaps():
    facts = TextFacts(("<unk>", "a", "b", " "), (0, 3, 6, 1), "char", False)
    task = make_task(facts=facts, surprise=True)
    with torch.no_grad():
        answer = task.answer(LanguageText.read_input("ab ba", facts))
    assert "".join(piece for piece, _ in answer.shaded) == "ab ba"
    assert all(0 <= strength <= 1 for _, strength in answer.shaded)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0.0}, "top_p=0.0: give a share above 0 and up to 1"),
        ({"top_p": 1.5}, "top_p=1.5: give a share above 0 and up to 1"),
        ({"samples": 3}, "samples=3 with temperature=0 would be the same text 3 times"),
        ({"samples": 0}, "samples must be a whole number"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(ValueError, match=message):
        make_task(**settings)


def test_nothing_is_drawn_from_what_is_no_probability():
    with pytest.raises(ValueError, match="not numbers"):
        Drawing(1.0).chosen(torch.tensor([[0.5, float("nan")]]), torch.tensor([0.5]))


def test_a_draw_at_either_end_hits_a_possible_token():
    shares = torch.tensor([[0.0, 0.5, 0.5, 0.0]] * 2)
    drawn = Drawing(1.0).chosen(shares, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert drawn.flatten().tolist() == [1, 2]
