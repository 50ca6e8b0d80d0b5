"""CIDEr-D, against numbers worked out by hand and against the formulas of the paper written down anew."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from gatewise.tasks.cider import Cider


def test_two_pictures_by_hand():
    """Of two pictures with a reference each, "a" is of both and so weighs nothing; all else weighs ln 2.

    For "a red dog" against itself the cosines of single words, pairs and triples are 1, and there is no run
    of four: 10 · 3/4. For "a red cat" the words share "red" of {red, dog} and {red, cat}, a cosine of 1/2,
    and one pair of two, which is 1/2 again; "a red cat" has no triple of the reference.
    """
    references = [["A red dog."], ["a blue cat"]]
    scorer = Cider(references)
    assert scorer.scores(["a red dog"], references[:1]) == [pytest.approx(7.5)]
    assert scorer.scores(["a red cat"], references[:1]) == [pytest.approx(10 * (1 / 2 + 1 / 2) / 4)]
    assert scorer.scores(["", "a"], [references[0]] * 2) == [0, 0]


def test_a_longer_caption_loses_by_the_gaussian():
    """Five words for three: exp(-2² / 72), and the cosine of words is 2 / (√2 · √2) of {red, dog} unharmed.

    The words that no reference has weigh ln 2 as well, as df is at least 1: norms are √4 and √2.
    """
    references = [["a red dog"], ["a blue cat"]]
    (score,) = Cider(references).scores(["a red dog sat down"], references[:1])
    words = 2 / (math.sqrt(4) * math.sqrt(2))
    pairs = 2 / (math.sqrt(4) * math.sqrt(2))
    triples = 1 / math.sqrt(3)
    assert score == pytest.approx(10 * (words + pairs + triples) / 4 * math.exp(-4 / 72))


def test_repeated_words_are_clipped():
    """Of three times "dog" the reference's one is counted, but not in the norm: a cosine of 1 / (3 · √2)."""
    references = [["red dog"], ["blue cat"]]
    (score,) = Cider(references).scores(["dog dog dog"], references[:1])
    assert score == pytest.approx(10 / 4 * (1 / (3 * math.sqrt(2))) * math.exp(-1 / 72))


def by_matrices(captions, right, corpus):
    """The same from the paper's definitions, with vectors over every n-gram that there is."""

    def grams(text, n):
        words = text.split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = []
    for caption, references in zip(captions, right, strict=True):
        total = 0.0
        for n in range(1, 5):
            axis = sorted({g for refs in [*corpus, [caption]] for text in refs for g in grams(text, n)})
            if not axis:
                continue
            df = np.array([sum(any(g in grams(r, n) for r in refs) for refs in corpus) for g in axis])
            idf = np.log(len(corpus) / np.maximum(df, 1))

            def vector(text, n=n, axis=axis, idf=idf):
                found = grams(text, n)
                return np.array([found.count(g) for g in axis]) * idf

            own = vector(caption)
            for reference in references:
                other = vector(reference)
                norms = np.linalg.norm(own) * np.linalg.norm(other)
                delta = len(caption.split()) - len(reference.split())
                cosine = np.minimum(own, other) @ other / norms if norms else 0.0
                total += np.exp(-(delta**2) / 72) * cosine / (4 * len(references))
        scores.append(10 * total)
    return scores


def test_any_captions_as_the_definitions_say():
    draw = random.Random(3)
    words = ["a", "red", "dog", "cat", "sits", "down", "by"]

    def text():
        return " ".join(draw.choice(words) for _ in range(draw.randint(1, 9)))

    corpus = [[text() for _ in range(draw.randint(1, 5))] for _ in range(12)]
    captions = [text() for _ in corpus]
    found = Cider(corpus).scores(captions, corpus)
    assert found == pytest.approx(by_matrices(captions, corpus, corpus))
    assert max(found) > 0.5
