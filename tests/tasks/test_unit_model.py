"""A language model of ours beside the search: it is asked as if each transcript were a line."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from test_recognition import WORDS, make_batch, make_task

from gatewise.kinds.text import TextFacts
from gatewise.nn import Recurrent
from gatewise.nn.prefix_search import prefix_beam_search
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.recognition import Recognition
from gatewise.tasks.unit_model import TrainedUnitModel

FACTS = TextFacts(("<unk>", "<eos>", "oh", "two", "one"), (0, 3, 6, 1, 2), "whitespace", False)


def make_model(facts: TextFacts = FACTS) -> LanguageModelling:
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=8, num_layers=2, engine="function")
    return LanguageModelling(model, facts, embedding_size=6).eval()


@torch.no_grad()
def log_probability(model: LanguageModelling, words: list[str]) -> float:
    """Of a line after another, read at once."""
    index = {token: number for number, token in enumerate(FACTS.vocabulary)}
    tokens = [index[word] for word in ("<eos>", *words, "<eos>")]
    scores, _ = model(torch.tensor([tokens[:-1]]))
    chosen = torch.log_softmax(scores[0], -1).gather(1, torch.tensor(tokens[1:]).unsqueeze(1))
    return float(chosen.sum())


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_score_of_a_search_has_it(weight: float) -> None:
    model = make_model()
    generator = torch.Generator().manual_seed(1)
    steps = torch.log_softmax(torch.randn(2, 5, 4, generator=generator), -1)
    lengths = torch.tensor([5, 4])
    asked = TrainedUnitModel(model, WORDS.units, "lm")
    plain = prefix_beam_search(steps, lengths, 200, 200)
    found = prefix_beam_search(steps, lengths, 200, 200, asked, weight, 0.3)
    for row in range(2):
        columns = (tensor[row].tolist() for tensor in (plain.units, plain.lengths, plain.scores))
        ranked = zip(*columns, strict=True)
        alone = {tuple(units[:length]): score for units, length, score in ranked if score > -torch.inf}
        best = tuple(found.units[row, 0, : int(found.lengths[row, 0])].tolist())
        scores = {
            units: score + weight * log_probability(model, [WORDS.units[u] for u in units]) + 0.3 * len(units)
            for units, score in alone.items()
        }
        assert best == max(scores, key=scores.__getitem__)
        assert float(found.scores[row, 0]) == pytest.approx(scores[best], abs=1e-4)


def test_a_task_asks_the_run_that_it_is_given() -> None:
    task: Recognition = make_task(language_model="runs/lm", language_weight=30.0, beam=20)
    assert task.runs() == {"language_model": "runs/lm"}
    model = make_model()
    with torch.no_grad():  # it always says: two, and then the end
        for parameter in model.parameters():
            parameter.zero_()
        model.head.bias.copy_(torch.tensor([-9.0, 0.0, -9.0, 0.0, -9.0]))
    task.take_run("language_model", model)
    assert {word for text in task.predict_step(make_batch()) for word in text.split()} <= {"two"}
    assert make_task(language_model=None).runs() == {}


def test_what_cannot_be_asked_is_told() -> None:
    with pytest.raises(ValueError, match=r"task.language_model=lm: is Recognition, and no language model"):
        TrainedUnitModel(make_task(), WORDS.units, "lm")
    with pytest.raises(ValueError, match=r"its tokens lack 'nine', which transcripts have"):
        TrainedUnitModel(make_model(), ("one", "nine"), "lm")
    letters = TextFacts(("<unk>", "a", "b"), (0, 6, 1), "char", False)
    with pytest.raises(ValueError, match="no token for the end of a line"):
        TrainedUnitModel(make_model(letters), ("a", "b"), "lm")
    with pytest.raises(ValueError, match=r"train with data.ngram_order=3"):
        make_task(language_model="ngram")
    with pytest.raises(ValueError, match="asked by a beam search alone"):
        make_task(language_model="ngram", beam=1)
