"""The linear baseline against the paper's formula, written out over strings."""

import itertools
import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from gatewise.data.text.naive_bayes import NaiveBayesLogistic
from gatewise.data.text.tokenized import tokenized
from gatewise.kinds.tokens import make_tokenizer

TRAIN = ["a good good film", "good fun", "a bad film", "bad bad acting", "a fun film", "dull acting"]
CLASSES = np.array([1, 1, 0, 0, 1, 0])
POSITIVE = [text for text, label in zip(TRAIN, CLASSES, strict=True) if label]
NEGATIVE = [text for text, label in zip(TRAIN, CLASSES, strict=True) if not label]
TEST = ["a fun good film", "dull bad stuff", "film film film", "nothing known"]


def features(text):
    words = text.split()
    return {*words, *itertools.pairwise(words)}


def ratios(texts, is_positive):
    """r = log((p / |p|₁) / (q / |q|₁)): p is 1 + how many positive texts have a feature, q of the others."""
    known = sorted(set().union(*map(features, texts)), key=str)
    p = {f: 1 + sum(f in features(t) for t, y in zip(texts, is_positive, strict=True) if y) for f in known}
    q = {
        f: 1 + sum(f in features(t) for t, y in zip(texts, is_positive, strict=True) if not y) for f in known
    }
    return {f: math.log((p[f] / sum(p.values())) / (q[f] / sum(q.values()))) for f in known}


@pytest.fixture(scope="module")
def split():
    both = tokenized(TRAIN + TEST, make_tokenizer("whitespace"))
    return both.select(np.arange(6)), both.select(np.arange(6, 10))


def test_ratios_are_those_of_the_paper(split):
    model = NaiveBayesLogistic(split[0], CLASSES, 2)
    expected = ratios(TRAIN, CLASSES == 1)
    types = split[0].types
    found = {}
    for number, ratio in zip(model.known, model.ratios[0], strict=True):
        first, second = divmod(int(number), len(types))
        found[(types[first - 1], types[second]) if first else types[second]] = ratio
    assert found == pytest.approx(expected)
    # "good" is in two of the positive texts and in none of the others.
    p, q = (sum(1 + sum(f in features(t) for t in own) for f in expected) for own in (POSITIVE, NEGATIVE))
    assert expected["good"] == pytest.approx(math.log((3 / p) / (1 / q)))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_are_those_of_a_few_lines_with_sklearn(n_classes):
    draw = np.random.default_rng(0)
    classes = np.arange(90) % n_classes
    texts = [
        " ".join(f"w{w}" for w in draw.integers(3 * c, 3 * c + 12, draw.integers(2, 9))) for c in classes
    ]
    made = tokenized(texts, make_tokenizer("whitespace"))
    train, test = np.arange(60), np.arange(60, 90)
    found = NaiveBayesLogistic(made.select(train), classes[train], n_classes).predict(made.select(test))

    counter = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
    x = counter.fit_transform([texts[i] for i in train]).toarray().astype(float)
    z = counter.transform([texts[i] for i in test]).toarray().astype(float)
    scores = []
    for c in range(n_classes):
        y = classes[train] == c
        p, q = 1 + x[y].sum(0), 1 + x[~y].sum(0)
        r = np.log((p / p.sum()) / (q / q.sum()))
        model = LogisticRegression(C=1.0, solver="liblinear", tol=1e-2).fit(x * r, y)
        scores.append(model.decision_function(z * r))
    expected = np.argmax(scores, 0)
    # Two classes are one model here and two there, which may differ near the border.
    clear = np.abs(np.diff(np.sort(scores, 0)[-2:], axis=0))[0] > 0.2
    assert clear.mean() > 0.6
    assert np.array_equal(found[clear], expected[clear])


def test_texts_without_anything_known_get_an_answer(split):
    found = NaiveBayesLogistic(split[0], CLASSES, 2).predict(split[1])
    assert found[:2].tolist() == [1, 0]
    assert set(found.tolist()) <= {0, 1}
