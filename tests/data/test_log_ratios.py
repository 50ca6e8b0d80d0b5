"""Log-count ratios of tokens, against the formula written out over strings."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.text import LabelledText
from gatewise.data.text.log_ratios import PARTS, LogRatios, Spelling, letters_of
from gatewise.data.text.naive_bayes import distinct
from gatewise.data.text.tokenized import tokenized
from gatewise.kinds.tokens import make_tokenizer


def features(words, known):
    """(Kind, feature) of every token by place, as sets: of the word, of its pair, of its letters."""
    words = [word if word in known else "<unk>" for word in words], words
    for i, (word, spelt) in enumerate(zip(*words, strict=True)):
        marked = f"<{spelt}>"
        letters = {marked[a:b] for a in range(len(marked)) for b in range(a + 3, min(a + 6, len(marked)) + 1)}
        pair = {(words[0][i - 1], word)} if i else set()
        yield {word}, pair, letters - {marked}


def expected_of(texts, classes, known, n_classes, kept, chosen):
    """The ratios of every token of the chosen texts, by the counts of ``texts``: lists by text."""
    counts = [[Counter() for _ in range(n_classes)] for _ in range(3)]
    for words, label in zip(texts, classes, strict=True):
        for kind, found in enumerate(zip(*features(words, known), strict=True)):
            for feature in set().union(*found) & kept[kind]:
                counts[kind][label][feature] += 1
    asked = range(n_classes) if n_classes > 2 else (1,)

    def ratio(kind, feature, label):
        if feature not in kept[kind]:
            return 0.0

        def share(labels):
            number = {f: 1 + sum(counts[kind][c][f] for c in labels) for f in kept[kind]}
            return number[feature] / sum(number.values())

        return math.log(share([label]) / share([c for c in range(n_classes) if c != label]))

    for words in chosen:
        for word, pair, letters in features(words, known):
            kinds = enumerate((word, pair, letters))
            yield [
                sum(ratio(kind, f, label) for f in found) / max(len(found), 1)
                for kind, found in kinds
                for label in asked
            ]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_ratios_are_those_of_the_formula(n_classes):
    draw = np.random.default_rng(n_classes)
    some = ["good", "goodness", "bad", "badly", "a", "filmy", "film", "unfilmed", "seldom"]
    texts = [[some[i] for i in draw.integers(0, 9, draw.integers(1, 6))] for _ in range(12 + 4)]
    targets = np.arange(12) % n_classes
    split = tokenized([" ".join(words) for words in texts], make_tokenizer("whitespace"))
    counter = Counter(word for words in texts[:12] for word in words)
    vocabulary = ["<unk>", *(word for word in sorted(counter) if counter[word] > 2)]
    known = set(vocabulary)
    train, ids, spelling = (
        split.select(np.arange(12)),
        split.ids_in(vocabulary),
        Spelling.of_types(split.types),
    )
    made = LogRatios.learnt(train, ids, spelling, targets, len(vocabulary), n_classes)

    seen = [Counter(), Counter(), Counter()]
    for words in texts[:12]:
        for kind, found in enumerate(zip(*features(words, known), strict=True)):
            seen[kind].update(set().union(*found))
    kept = [known, *({f for f, count in kind.items() if count > 1} for kind in seen[1:])]
    assert set(made.letters) == kept[2]
    assert {(vocabulary[p // len(known)], vocabulary[p % len(known)]) for p in made.pairs.tolist()} == kept[1]

    found = made.of_texts(made.spelt(split.select(np.arange(12, 16)), ids, spelling))
    expected = list(expected_of(texts[:12], targets, known, n_classes, kept, texts[12:]))
    np.testing.assert_allclose(found, expected, atol=1e-5)

    # A training text has the ratios that all parts but its own give.
    found = made.of_training(made.spelt(train, ids, spelling), targets, seed=5)
    parts = np.random.default_rng([5, 4]).permutation(12) % PARTS
    first = 0
    for i, words in enumerate(texts[:12]):
        others = [j for j in range(12) if parts[j] != parts[i]]
        expected = list(
            expected_of([texts[j] for j in others], targets[others], known, n_classes, kept, [words])
        )
        np.testing.assert_allclose(found[first : first + len(words)], expected, atol=1e-5)
        first += len(words)


def test_sequences_of_letters():
    assert letters_of("a") == []
    assert letters_of("is") == ["<is", "is>"]
    assert set(letters_of("dogs")) == {"<do", "dog", "ogs", "gs>", "<dog", "dogs", "ogs>", "<dogs", "dogs>"}


@given(st.lists(st.integers(-5, 5)))
@settings(max_examples=50, deadline=None)
def test_distinct_numbers(numbers):
    assert distinct(np.array(numbers, np.int64)).tolist() == sorted(set(numbers))


@pytest.fixture
def made(tmp_path):
    draw = np.random.default_rng(0)
    rows = [(" ".join(draw.choice(["good", "bad", "film", "plot"], 5)), "np"[i % 2]) for i in range(60)]
    rows = [(f"{text} {'rather' if label == 'p' else 'hardly'}", label) for text, label in rows]
    (tmp_path / "mine.csv").write_text("\n".join(["text,label", *map(",".join, rows)]))
    data = LabelledText(files=["mine.csv"], folders=[tmp_path], log_count_ratios=True, max_length=6)
    data.setup()
    return data


def test_batches_have_the_ratios_of_their_tokens(made):
    assert made.facts.ratio_size == 3
    batch = made.test_data[[0, 3, 1]]
    assert batch.ratios.shape == (3, 6, 3)
    says = batch.ratios[torch_rows(batch), batch.lengths - 1, 0]
    assert (says > 1).tolist() == (batch.targets == 1).tolist()
    # A prediction reads them from the facts.
    given = LabelledText.read_input(" ".join(made.test_data.texts[0].split()), made.facts)
    assert np.array_equal(given.batch.ratios[0], made.test_data[[0]].ratios[0])
    empty = LabelledText.read_input("\u200b", made.facts)
    assert empty.batch.ratios.tolist() == [[[0, 0, 0]]]


def torch_rows(batch):
    return list(range(len(batch.lengths)))


def test_an_evaluation_sees_the_same_ratios(made):
    again = LabelledText(files=["mine.csv"], folders=made.folders, log_count_ratios=True, max_length=6)
    again.facts = made.facts
    again.setup("test")
    for part in ("train_data", "test_data"):
        assert np.array_equal(getattr(again, part).ratios, getattr(made, part).ratios)
