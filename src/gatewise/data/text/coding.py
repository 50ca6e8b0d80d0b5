"""Running text to token ids, a chunk at a time: characters, words or subwords."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.flat import places_of
from gatewise.data.text.running import CHUNK, Chunk, Part
from gatewise.kinds.subwords import Subwords
from gatewise.kinds.text import SUBWORD, TextFacts
from gatewise.kinds.tokens import (
    END_OF_LINE,
    UNKNOWN,
    Normalization,
    Tokenizer,
    Vocabulary,
    WhitespaceTokenizer,
    make_tokenizer,
)

Ids = NDArray[np.integer[Any]]

MOST_RUNS = 1 << 18
"""Runs of letters and signs whose ids are kept."""
LEARNT_FROM = 16 * CHUNK
"""Bytes of text that subwords are trained on; of a longer text, chunks at equal distances."""
_LINE_END = "\0"
"""Stands for a line end among words: no text has one."""


@dataclass(frozen=True)
class Settings:
    """How a text becomes tokens, and which of them are in the vocabulary."""

    tokenizer: str
    lowercase: bool
    normalize: Normalization | None
    min_count: int
    max_vocabulary: int | None
    max_tokens: int | None


class Coder(ABC):
    """Turns the chunks of a text into ids, and what was counted into facts.

    With facts the ids are those of a run that was trained before.
    """

    def __init__(self, settings: Settings, facts: TextFacts | None) -> None:
        self.settings, self.known = settings, facts

    def learn(self, part: Part) -> None:  # noqa: B027 - words need none
        """Read the training part, where ids cannot be given before all of it was seen."""

    @property
    def is_final(self) -> bool:
        """Whether the ids of :meth:`code` stay, and are not renumbered by :meth:`facts`."""
        return True

    @property
    @abstractmethod
    def provisional(self) -> type[np.integer[Any]]:
        """A type that the ids of :meth:`code` fit into."""

    @abstractmethod
    def code(self, chunk: Chunk) -> Ids:
        """Ids of the tokens of a chunk, which continues the one before."""

    @abstractmethod
    def first_length(self, text: str) -> int:
        """Characters up to the end of the first token of a text."""

    @abstractmethod
    def facts(self, counts: NDArray[np.int64]) -> tuple[TextFacts, Ids | None]:
        """What is known, from how often each id came in training; and the ids to put in place of them."""


def make_coder(settings: Settings, facts: TextFacts | None) -> Coder:
    """The coder of a kind of tokens."""
    name = settings.tokenizer if facts is None else facts.tokenizer
    kind = {"char": Characters, SUBWORD: Pieces}.get(name, Words)
    return kind(settings, facts)


def smallest(size: int) -> type[np.integer[Any]]:
    """The smallest type of ids below ``size``; of those that PyTorch computes with."""
    return np.uint8 if size <= 1 << 8 else np.int16 if size <= 1 << 15 else np.int32


class Characters(Coder):
    """Every character is a token: by a table, from code points to ids."""

    def __init__(self, settings: Settings, facts: TextFacts | None) -> None:
        super().__init__(settings, facts)
        self._tokenizer = _tokenizer(settings, facts)
        self._vocabulary: Vocabulary | None = None
        if facts is not None:
            self._table(Vocabulary(facts.vocabulary, facts.counts))

    def learn(self, part: Part) -> None:
        counts = np.zeros(0x110000, np.int64)
        left = self.settings.max_tokens
        for chunk in part.chunks():
            codes = self._codes(chunk)[:left]
            seen = np.bincount(codes)
            counts[: len(seen)] += seen
            left = None if left is None else left - len(codes)
        occurring = {chr(code): int(counts[code]) for code in np.flatnonzero(counts)}
        limits = self.settings
        self._table(
            Vocabulary.of_counts(occurring, self._tokenizer.specials, limits.min_count, limits.max_vocabulary)
        )

    def _table(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids = np.zeros(0x110000, smallest(len(vocabulary.tokens)))
        for number, token in enumerate(vocabulary.tokens):
            if len(token) == 1:
                self._ids[ord(token)] = number

    @property
    def provisional(self) -> type[np.integer[Any]]:
        assert self._vocabulary is not None
        return smallest(len(self._vocabulary.tokens))

    def code(self, chunk: Chunk) -> Ids:
        return self._ids[self._codes(chunk)]

    def first_length(self, text: str) -> int:
        return min(len(text), 1)

    def facts(self, counts: NDArray[np.int64]) -> tuple[TextFacts, None]:  # noqa: ARG002
        assert self._vocabulary is not None
        return _facts(self._vocabulary, self._tokenizer, self.settings), None

    def _codes(self, chunk: Chunk) -> NDArray[np.uint32]:
        """Code points of a chunk."""
        return np.frombuffer(self._tokenizer.prepared(chunk.text).encode("utf-32-le"), np.uint32)


class Words(Coder):
    """Words, and the end of every line that has one: by a table of what stands between spaces."""

    def __init__(self, settings: Settings, facts: TextFacts | None) -> None:
        super().__init__(settings, facts)
        tokenizer = _tokenizer(settings, facts)
        assert isinstance(tokenizer, WhitespaceTokenizer)
        self._tokenizer = tokenizer
        self._is_open = False
        """Whether the line that the next chunk goes on with has words."""
        if facts is None:
            self._types: dict[str, int] = defaultdict(itertools.count().__next__)
        else:
            self._types = _Known({token: i for i, token in enumerate(facts.vocabulary)})
        self._runs = Runs(self._encoded)

    @property
    def is_final(self) -> bool:
        return self.known is not None

    @property
    def provisional(self) -> type[np.integer[Any]]:
        return np.int32 if self.known is None else smallest(len(self.known.vocabulary))

    def code(self, chunk: Chunk) -> Ids:
        text = self._tokenizer.prepared(chunk.text)
        runs = text.replace("\n", f" {_LINE_END} ").split()
        numbers = self._runs.numbers(runs)
        lengths = self._runs.lengths[numbers]
        is_end = numbers == self._runs.numbers([_LINE_END])
        # Words up to each run and with it; one more stands for those that the line has already.
        words = np.cumsum([self._is_open and not chunk.begins_line, *(lengths - is_end)])[1:]
        lengths[np.flatnonzero(is_end)[np.diff(words[is_end], prepend=0) == 0]] = 0  # of a blank line
        self._is_open = bool(words[-1:].sum() > words[is_end][-1:].sum())
        return self._runs.gathered(numbers, lengths)

    def first_length(self, text: str) -> int:
        blank = len(text) - len(text.lstrip())
        tokens = self._tokenizer.tokenize(text[: blank + CHUNK].lstrip().split("\n", 1)[0])
        return blank + len(tokens[0]) if tokens else 0

    def facts(self, counts: NDArray[np.int64]) -> tuple[TextFacts, Ids]:
        limits, specials = self.settings, self._tokenizer.specials
        # Of the many rare ones no table is made.
        often = {
            token: int(count)
            for token, count in zip(self._types, counts, strict=False)
            if count >= max(limits.min_count, 1) or token in specials
        }
        often[UNKNOWN] = often.get(UNKNOWN, 0) + int(counts.sum()) - sum(often.values())
        vocabulary = Vocabulary.of_counts(often, specials, limits.min_count, limits.max_vocabulary)
        ids = {token: i for i, token in enumerate(vocabulary.tokens)}
        renumbered = np.fromiter((ids.get(token, 0) for token in self._types), np.int32, len(self._types))
        return _facts(vocabulary, self._tokenizer, limits), renumbered

    def _encoded(self, runs: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        """(Ids one after the other, how many each) of runs that were not met before."""
        pattern, types = self._tokenizer.pattern(), self._types
        split = [[END_OF_LINE] if run == _LINE_END else pattern.findall(run) for run in runs]
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        flat = itertools.chain.from_iterable(split)
        return np.fromiter(map(types.__getitem__, flat), np.int32, int(lengths.sum())), lengths


class Pieces(Coder):
    """Subwords: trained on the training part, or those of the run."""

    def __init__(self, settings: Settings, facts: TextFacts | None) -> None:
        super().__init__(settings, facts)
        self._subwords = None if facts is None else facts.read_subwords()
        self._runs = Runs(self._encoded)

    def learn(self, part: Part) -> None:
        limits = self.settings
        assert limits.max_vocabulary is not None
        every = max(-(-part.size // LEARNT_FROM), 1)
        self._subwords = Subwords.train(
            (chunk.text for chunk in itertools.islice(part.chunks(), 0, None, every)),
            limits.max_vocabulary,
            lowercase=limits.lowercase,
            normalize=limits.normalize,
            min_count=limits.min_count,
        )

    @property
    def provisional(self) -> type[np.integer[Any]]:
        assert self._subwords is not None
        return smallest(len(self._subwords))

    def code(self, chunk: Chunk) -> Ids:
        assert self._subwords is not None
        numbers = self._runs.numbers(self._subwords.runs(chunk.text, chunk.begins_line))
        return self._runs.gathered(numbers, self._runs.lengths[numbers])

    def first_length(self, text: str) -> int:
        assert self._subwords is not None
        ids, _ = self._subwords.encode([text[:CHUNK]])
        return self._subwords.characters(ids[:1]) - (text[:1] not in ("", "\n"))

    def facts(self, counts: NDArray[np.int64]) -> tuple[TextFacts, None]:
        assert self._subwords is not None
        made, limits = self._subwords, self.settings
        counted = np.zeros(len(made), np.int64)
        counted[: len(counts)] = counts
        return TextFacts(
            made.pieces,
            tuple(counted.tolist()),
            SUBWORD,
            limits.lowercase,
            limits.normalize,
            marks=True,
            subwords=made.stored(),
        ), None

    def _encoded(self, runs: Sequence[str]) -> tuple[Ids, NDArray[np.int64]]:
        assert self._subwords is not None
        return self._subwords.encode_runs(runs)


class Runs:
    """The ids of every run of letters and signs that was met: of a word it is the same each time."""

    def __init__(self, encode: Callable[[Sequence[str]], tuple[Ids, NDArray[np.int64]]]) -> None:
        self._encode = encode
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[str, int] = defaultdict(itertools.count().__next__)
        self._ids: Ids = np.empty(0, np.int32)
        """Ids of all runs, one after the other."""
        self.lengths = np.empty(0, np.int64)
        """[N]: how many ids each run has, by its number."""

    def numbers(self, runs: Sequence[str]) -> NDArray[np.int64]:
        """The number of each run of a chunk, those met for the first time included."""
        before = len(self._numbers)
        numbers = np.fromiter(map(self._numbers.__getitem__, runs), np.int64, len(runs))
        new = list(itertools.islice(self._numbers, before, None))
        if new:
            ids, lengths = self._encode(new)
            self._ids = np.concatenate([self._ids, ids])
            self.lengths = np.concatenate([self.lengths, lengths])
        return numbers

    def gathered(self, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ids:
        """The ids of runs with these numbers, as many of each as ``lengths`` says; ends the chunk."""
        starts = self.lengths.cumsum() - self.lengths
        gathered: Ids = self._ids[places_of(starts[numbers], lengths)]
        if len(self._numbers) > MOST_RUNS:
            self._clear()
        return gathered


class _Known(dict[str, int]):
    """Ids of a vocabulary; every other token is unknown."""

    def __missing__(self, token: str) -> int:
        return 0


def _tokenizer(settings: Settings, facts: TextFacts | None) -> Tokenizer:
    if facts is not None:
        return facts.make_tokenizer()
    return make_tokenizer(settings.tokenizer, settings.lowercase, settings.normalize)


def _facts(vocabulary: Vocabulary, tokenizer: Tokenizer, settings: Settings) -> TextFacts:
    return TextFacts(
        vocabulary.tokens,
        vocabulary.counts,
        settings.tokenizer,
        settings.lowercase,
        settings.normalize,
        tokenizer.marks,
    )
