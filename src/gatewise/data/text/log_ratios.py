"""How much each token speaks for each class: log-count ratios of the training texts as inputs of a network.

The ratios are those of the linear baseline (Wang & Manning, ACL 2012): one for the token, one for its pair
with the token before, and the mean of those of its letter sequences, which rare words share with others.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewise.data.text.naive_bayes import distinct, log_count_ratio
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds.labelled_text import LabelledTextFacts, ReadTextFacts

SHORTEST, LONGEST = 3, 6
"""Letters of a sequence, the marks of the word's two ends among them."""
LEAST_TEXTS = 2
"""A pair or a sequence of letters counts from so many training texts on."""
PARTS = 10
"""Parts of the training texts, each of which has its ratios from the others."""
CHUNK = 4096
"""Texts that are counted at once."""


def letters_of(token: str) -> list[str]:
    """The distinct sequences of 3 to 6 letters of ``<token>``, without that itself."""
    marked = f"<{token}>"
    sizes = range(SHORTEST, min(LONGEST, len(marked) - 1) + 1)
    return list(dict.fromkeys(marked[i : i + n] for n in sizes for i in range(len(marked) - n + 1)))


@dataclass(frozen=True)
class Spelling:
    """The letter sequences of types."""

    letters: tuple[str, ...]
    """Every distinct one."""
    starts: NDArray[np.int64]
    """[types + 1]: where those of each type begin in ``numbers``."""
    numbers: NDArray[np.int64]

    @classmethod
    @functools.lru_cache(maxsize=1)  # for facts and for all parts, whose types are the same
    def of_types(cls, types: tuple[str, ...]) -> Spelling:
        lists = list(map(letters_of, types))
        numbers = dict.fromkeys(itertools.chain.from_iterable(lists))
        numbers = dict(zip(numbers, range(len(numbers)), strict=True))
        starts = np.cumsum([0, *map(len, lists)])
        flat = map(numbers.__getitem__, itertools.chain.from_iterable(lists))
        return cls(tuple(numbers), starts, np.fromiter(flat, np.int64, int(starts[-1])))


@dataclass(frozen=True)
class Spelt:
    """N texts as ids of words, and the letter sequences of each of their types."""

    texts: Tokenized
    ids: NDArray[np.int64]
    """[types]: the vocabulary's id of each."""
    starts: NDArray[np.int64]
    """[types + 1]: where the sequences of each type begin in ``letters``."""
    letters: NDArray[np.int64]
    """The number of each sequence, -1 for one that does not count."""

    def select(self, indices: NDArray[np.int64], longest: int | None = None) -> Spelt:
        """Some of the texts, with at most ``longest`` tokens each."""
        return replace(self, texts=self.texts.select(indices, longest))


@dataclass(frozen=True)
class LogRatios:
    """The features that count, words first, and in how many training texts of each class each occurs."""

    pairs: NDArray[np.int64]
    """[P] in order: the number of words times the id of one, plus the id of the next."""
    letters: tuple[str, ...]
    """[L]"""
    counts: NDArray[np.int64]
    """[words + P + L, classes]"""

    @classmethod
    def learnt(
        cls,
        texts: Tokenized,
        ids: NDArray[np.int64],
        spelling: Spelling,
        targets: NDArray[np.int64],
        words: int,
        n_classes: int,
    ) -> LogRatios:
        """Those of N training texts with classes [N]; ``ids`` [types] are the words' in the vocabulary."""
        pairs = distinct(_pairs(texts, ids, words)[1])
        letters = spelling.letters
        every = cls(pairs, letters, np.zeros((words + len(pairs) + len(letters), n_classes), np.int64))
        counts = every._counted(every.spelt(texts, ids, spelling), targets)
        is_kept = counts.sum(1) >= LEAST_TEXTS
        is_kept[:words] = True
        ends = words + len(pairs)
        letters = tuple(itertools.compress(letters, is_kept[ends:].tolist()))
        return cls(pairs[is_kept[words:ends]], letters, counts[is_kept])

    @classmethod
    def of_facts(cls, facts: LabelledTextFacts) -> LogRatios | None:
        """Those that facts have; None for facts without."""
        if not facts.feature_counts:
            return None
        counts = np.array(facts.feature_counts, np.int64).reshape(-1, len(facts.classes))
        return cls(np.array(facts.pairs, np.int64), facts.letters, counts)

    @property
    def words(self) -> int:
        return len(self.counts) - len(self.pairs) - len(self.letters)

    def spelt(self, texts: Tokenized, ids: NDArray[np.int64], spelling: Spelling) -> Spelt:
        """Texts as the methods below take them; ``ids`` [types] are the words' in the vocabulary."""
        kept = {sequence: i for i, sequence in enumerate(self.letters)}
        numbers = np.array([*(kept.get(sequence, -1) for sequence in spelling.letters), -1])
        return Spelt(texts, ids, spelling.starts, numbers[spelling.numbers])

    def of_texts(self, spelt: Spelt, without: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """[tokens, 3 · ratios] of the tokens of some texts, by all counts but those in ``without``."""
        table = self._table(self.counts if without is None else self.counts - without)
        words, pairs, letters = (table[kind] for kind in self._kinds())
        texts, starts = spelt.texts, spelt.starts
        place, key = _pairs(texts, spelt.ids, self.words)
        number, is_known = _found(self.pairs, key)
        of_pairs = np.zeros((len(texts.ids), table.shape[1]))
        of_pairs[place[is_known]] = pairs[number[is_known]]
        # That of a sequence which does not count, number -1, is 0.
        of_letters = np.pad(letters, ((0, 1), (0, 0)))[spelt.letters]
        sums = np.pad(of_letters.cumsum(0), ((1, 0), (0, 0)))
        of_types = (sums[starts[1:]] - sums[starts[:-1]]) / np.maximum(np.diff(starts), 1)[:, None]
        parts = [words[spelt.ids[texts.ids]], of_pairs, of_types[texts.ids]]
        return np.concatenate(parts, 1, dtype=np.float32)

    def of_training(self, spelt: Spelt, targets: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """The same for the N texts that were counted: each part of them by the counts of all the others.

        By its own counts, a rare word of a text would tell its class. The parts are drawn with the seed.
        """
        count = len(spelt.texts)
        parts = np.random.default_rng([seed, 4]).permutation(count) % PARTS
        row = np.repeat(parts, spelt.texts.lengths)
        found = np.empty((len(row), 3 * self._asked()), np.float32)
        for part in range(min(PARTS, count)):
            chosen = np.flatnonzero(parts == part)
            own = spelt.select(chosen)
            found[row == part] = self.of_texts(own, self._counted(own, targets[chosen]))
        return found

    def _asked(self) -> int:
        """Ratios of a feature: one for two classes, or one for each."""
        n_classes = self.counts.shape[1]
        return n_classes if n_classes > 2 else 1

    def _kinds(self) -> tuple[slice, slice, slice]:
        """Where words, pairs and sequences of letters are among all features."""
        words, pairs = self.words, self.words + len(self.pairs)
        return slice(0, words), slice(words, pairs), slice(pairs, None)

    def _table(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The ratios [features, R] of counts [features, K]."""
        rest = counts.sum(1, keepdims=True) - counts
        classes = range(counts.shape[1])[-self._asked() :]
        kinds = [
            np.stack([log_count_ratio(counts[kind, c], rest[kind, c]) for c in classes], 1)
            for kind in self._kinds()
        ]
        return np.concatenate(kinds)

    def _counted(self, spelt: Spelt, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """In how many of N texts with classes [N] each feature occurs, by class, as ``counts``."""
        total, n_classes = self.counts.shape
        of_pairs, of_letters = self.words, self.words + len(self.pairs)
        counts = np.zeros(total * n_classes, np.int64)
        for first in range(0, len(spelt.texts), CHUNK):
            texts = spelt.texts.select(np.arange(first, min(first + CHUNK, len(spelt.texts))))
            row = np.repeat(np.arange(len(texts)), texts.lengths)
            place, key = _pairs(texts, spelt.ids, self.words)
            pair, is_known = _found(self.pairs, key)
            letter_row, letter = _letters(spelt, row, texts.ids)
            rows = np.concatenate([row, row[place[is_known]], letter_row])
            features = np.concatenate([spelt.ids[texts.ids], of_pairs + pair[is_known], of_letters + letter])
            rows, features = np.divmod(distinct(rows * total + features), total)
            counts += np.bincount(features * n_classes + targets[first + rows], minlength=len(counts))
        return counts.reshape(total, n_classes)


class SplitRatios:
    """The log-count ratios of texts, some of which are those that were counted.

    Args:
        facts: with the counts, or without, where there are no ratios.
        split: all texts.
        seed: draws the parts of the training texts.
    """

    def __init__(self, facts: ReadTextFacts, split: Tokenized, seed: int = 0) -> None:
        self.seed, self.longest = seed, facts.max_length
        self.ratios = LogRatios.of_facts(facts) if isinstance(facts, LabelledTextFacts) else None
        if self.ratios is not None:
            spelling = Spelling.of_types(split.types)
            self.spelt = self.ratios.spelt(split, split.ids_in(facts.vocabulary), spelling)

    def of(
        self, chosen: NDArray[np.int64], targets: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32] | None:
        """[tokens, ratio_size] of N of the texts; ``targets`` [N] where they were counted."""
        if self.ratios is None:
            return None
        own = self.spelt.select(chosen, self.longest)
        if targets is None:
            return self.ratios.of_texts(own)
        return self.ratios.of_training(own, targets, self.seed)


def with_counts(facts: LabelledTextFacts, train: Tokenized, targets: NDArray[np.int64]) -> LabelledTextFacts:
    """The same facts with the counts of N training texts, which have the classes ``targets`` [N]."""
    spelling = Spelling.of_types(train.types)
    words, n_classes = len(facts.vocabulary), len(facts.classes)
    ids = train.ids_in(facts.vocabulary)
    ratios = LogRatios.learnt(train, ids, spelling, targets, words, n_classes)
    return replace(
        facts,
        pairs=tuple(ratios.pairs.tolist()),
        letters=ratios.letters,
        feature_counts=tuple(ratios.counts.ravel().tolist()),
    )


def _letters(
    spelt: Spelt, row: NDArray[np.int64], types: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Text, number) of the letter sequences that count, for tokens [M] of such texts and types."""
    count = len(spelt.ids)
    row, types = np.divmod(distinct(row * count + types), count)
    sizes = np.diff(spelt.starts)[types]
    ends = sizes.cumsum()
    # Each position less the place where its type begins here, plus where it begins in `letters`.
    moved = np.repeat(spelt.starts[types] - (ends - sizes), sizes)
    numbers = spelt.letters[np.arange(len(moved)) + moved]
    return np.repeat(row, sizes)[numbers >= 0], numbers[numbers >= 0]


def _pairs(
    texts: Tokenized, ids: NDArray[np.int64], words: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Place of the second token, number of the pair) of every two neighbours in a text."""
    row = np.repeat(np.arange(len(texts)), texts.lengths)
    place = np.flatnonzero(row[1:] == row[:-1]) + 1
    own = ids[texts.ids]
    return place, own[place - 1] * words + own[place]


def _found(
    known: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(Place in ``known``, which is in order; whether it is there) of every number wanted."""
    if not len(known):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return place, known[place] == wanted
