"""BLEU, chrF and error rates of translations, beside sacreBLEU's own corpus scores and a plain recursion."""

import functools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from gatewise.tasks import bleu, error_rates

WORDS = ["A", "a", "man", "Man", "in", "the", "snow,", "-", "über", "don't", "dog.", "1,000"]
LINES = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(LINES, LINES), min_size=1, max_size=6)


def scored(module, rows):
    """Every measure of rows of counts, given in two batches."""
    found = {}
    for name, measure in module.measures().items():
        metric = measure.metric
        metric.update(rows[: len(rows) // 2], rows[: len(rows) // 2])
        metric.update(rows[len(rows) // 2 :], rows[len(rows) // 2 :])
        found[name] = float(metric.compute())
    return found


@given(PAIRS)
def test_sums_over_batches_give_the_corpus_scores_of_sacrebleu(pairs):
    texts, references = [text for text, _ in pairs], [reference for _, reference in pairs]
    found = scored(bleu, bleu.statistics(texts, [[reference] for reference in references]))
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(texts, [references]).score, rel=1e-6)
    lower = BLEU(lowercase=True).corpus_score(texts, [references]).score
    assert found["bleu_lower"] == pytest.approx(lower, rel=1e-6)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(texts, [references]).score, rel=1e-6)


@given(st.lists(st.tuples(LINES, LINES, LINES), min_size=1, max_size=4))
def test_several_references_are_scored_as_sacrebleu_scores_them(triples):
    texts, *references = map(list, zip(*triples, strict=True))
    found = scored(bleu, bleu.statistics(texts, list(zip(*references, strict=True))))
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(texts, references).score, rel=1e-6)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(texts, references).score, rel=1e-6)


def test_scores_say_how_they_are_counted_and_which_way_is_better():
    measures = bleu.measures()
    assert "case:mixed" in measures["bleu"].meaning
    assert "tok:13a" in measures["bleu"].meaning
    assert "case:lc" in measures["bleu_lower"].meaning
    assert {name: measure.mode for name, measure in measures.items()} == dict.fromkeys(measures, "max")
    assert {measure.mode for measure in error_rates.measures().values()} == {"min"}


def plain_distance(first, second):
    @functools.cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (first[i - 1] != second[j - 1]))

    return of(len(first), len(second))


SOUNDS = st.lists(st.sampled_from(["A", "B", "K"]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(SOUNDS, st.lists(SOUNDS, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_error_rates_take_the_nearest_of_several_right_answers(pairs):
    rows = error_rates.statistics([answer for answer, _ in pairs], [right for _, right in pairs])
    for (answer, right), row in zip(pairs, rows.tolist(), strict=True):
        distances = [plain_distance(answer.split(), each.split()) for each in right]
        nearest = min(distances)
        assert row[:3] == [answer.split() not in [each.split() for each in right], 1, nearest]
        assert row[3] in [len(each.split()) for each, d in zip(right, distances, strict=True) if d == nearest]


def test_error_rates_of_a_small_example():
    rows = error_rates.statistics(["K AE T", "D AO", "AH"], [["K AE T"], ["D AO G", "D AA G"], ["EY", "AH"]])
    found = scored(error_rates, rows)
    assert found == {"word_error_rate": pytest.approx(100 / 3), "symbol_error_rate": pytest.approx(100 / 7)}


def test_a_thousand_long_pairs_are_counted_at_once():
    draw = random.Random(0)
    first, second = ([" ".join(draw.choices("abcdef", k=20)) for _ in range(1000)] for _ in range(2))
    rows = error_rates.statistics(first, [[each] for each in second])
    assert torch.equal(rows[:, 3], torch.full((1000,), 20))
    for i in (0, 500, 999):
        assert int(rows[i, 2]) == plain_distance(first[i].split(), second[i].split())
