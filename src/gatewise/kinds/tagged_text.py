"""Sentences with a tag for each word: names of persons and places, parts of speech."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
from gatewise.kinds.tag_schemes import (
    TAG_SCHEMES,
    Allowed,
    SpanTags,
    TagScheme,
    allowed,
    has_prefix,
    span_tags,
)
from gatewise.kinds.tokens import Vocabulary, WordTokenizer

if TYPE_CHECKING:
    from torch import Tensor

Separator = Literal["whitespace", "tab", "space"]
"""What is between the columns of a file: any run of white space, one tab, or one space."""
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class TaggedTextFacts(Facts):
    """Sentences with a tag for each word."""

    kind: ClassVar[str] = "tagged_text"
    summary: ClassVar[str] = "sentences with a tag for each word"

    vocabulary: tuple[str, ...]
    """Word of each id, as it is looked up; the first is ``<unk>``."""
    counts: tuple[int, ...]
    """How often each occurs in the training sentences."""
    lowercase: bool
    """Whether a word is looked up in lower case."""
    zero_digits: bool
    """Whether a word is looked up with every digit as 0."""
    characters: tuple[str, ...]
    """Character of each id, as words are spelled in the file; the first is ``<unk>``."""
    longest_word: int
    """Characters that are read of a word, from its start."""
    tags: tuple[str, ...]
    """Tag of each id, in the scheme ``tagged_as``."""
    tag_counts: tuple[int, ...]
    """How often each occurs in the training sentences, for the majority baseline."""
    scheme: str
    """How spans are written in the files: ``iob1``, ``iob2`` or ``iobes``; ``plain``: there are none."""
    tagged_as: str
    """How the model says spans: ``iob2`` or ``iobes``; ``plain``: there are none."""
    word_column: int
    """The column of words in a file, from 0; -1 is the last."""
    tag_column: int
    separator: str
    comment: str | None
    """What lines to leave out begin with."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        for name, counts, of in (
            ("vocabulary", "counts", "words of the vocabulary"), ("tags", "tag_counts", "tags")
        ):  # fmt: skip
            self.check_distinct(name)
            self.check_counts(counts, len(getattr(self, name)), of)
        self.check_distinct("characters")
        if self.longest_word < 1:
            raise self.wrong("longest_word", "must be at least 1")
        for name, known in (
            ("scheme", TAG_SCHEMES), ("tagged_as", ("iob2", "iobes", "plain")),
            ("separator", get_args(Separator)),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise self.wrong(name, f"must be one of {', '.join(known)}")
        if (self.scheme == "plain") != (self.tagged_as == "plain"):
            raise self.wrong("tagged_as", f"must fit to scheme={self.scheme}")
        scheme = cast("TagScheme", self.tagged_as)
        if scheme != "plain" and not all(has_prefix(tag, scheme) for tag in self.tags):
            raise self.wrong("tags", f"must be tags of the scheme {self.tagged_as}")
        if self.comment == "":
            raise self.wrong("comment", "must be null or what a line begins with")

    @cached_property
    def spans(self) -> SpanTags | None:
        """What each tag says about a span; None where tags are plain."""
        return None if self.tagged_as == "plain" else span_tags(self.tags)

    @property
    def allowed(self) -> Allowed | None:
        """Which tags may follow which; None where tags are plain."""
        return None if self.spans is None else allowed(self.spans, cast("TagScheme", self.tagged_as))

    def looked_up(self, word: str) -> str:
        """A word as it is in the vocabulary."""
        return looked_up(word, self.lowercase, self.zero_digits)

    def encoded(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N words; 0 for words outside the vocabulary."""
        return Vocabulary(self.vocabulary, self.counts).encode([self.looked_up(word) for word in words])

    def spelled(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(Ids of the characters [N, C], padded with 0, characters of each [N]) of N words."""
        cut = [unicodedata.normalize("NFC", word)[: self.longest_word] for word in words]
        lengths = np.fromiter(map(len, cut), np.int64, len(cut))
        spelled = np.zeros((len(cut), int(lengths.max(initial=1))), np.int64)
        number = {character: i for i, character in enumerate(self.characters)}
        ids = np.fromiter((number.get(c, 0) for word in cut for c in word), np.int64, int(lengths.sum()))
        spelled[np.arange(spelled.shape[1]) < lengths[:, None]] = ids
        return spelled, lengths


def looked_up(word: str, lowercase: bool, zero_digits: bool) -> str:
    """A word as a vocabulary has it: in composed characters, and perhaps in lower case and with zeros."""
    word = unicodedata.normalize("NFC", word)
    word = word.lower() if lowercase else word
    return _DIGIT.sub("0", word) if zero_digits else word


def words_of(text: str) -> list[str]:
    """The words of a sentence that somebody typed, as they are written.

    Links, ``@names`` and ``#tags`` are one word each; the rest is split into words and signs as running text
    is (see :class:`gatewise.kinds.tokens.WordTokenizer`).
    """
    return _word_pattern().findall(text)


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    return re.compile(rf"https?://\S+|www\.\S+|[@#]\w[\w-]*|{WordTokenizer().pattern().pattern}")


def is_sign(word: str) -> bool:
    """Whether a word has no letter and no digit, as a full stop."""
    return not any(character.isalnum() for character in word)


class TaggedTextBatch(NamedTuple):
    """Sentences as ids of words, padded at the end with 0, the spelling of each word, and its tags.

    A spelling is there once, however many words of the batch have it.
    """

    words: Tensor
    """[B, T] int64: word ids."""
    lengths: Tensor
    """[B] int64: words of each sentence without padding."""
    spelled: Tensor
    """[B, T] int64: row of each word's spelling in ``spellings``; 0 on padding."""
    spellings: Tensor
    """[W, C] int64: character ids of W different words, padded at the end with 0."""
    spelling_lengths: Tensor
    """[W] int64: characters of each without padding."""
    targets: Tensor
    """[B, T] int64: tag ids; IGNORED on padding and where the tag is not known."""
    texts: Sequence[Sequence[str]] | None = None
    """The words of the B sentences as they were read, in batches of the test split only."""
    usual: Tensor | None = None
    """[B, T] int64: the tag that each word most often has in training, in the test split only."""

    def selected(self, rows: Sequence[int]) -> TaggedTextBatch:
        """Some of the sentences, padded to the longest of them; the spellings stay all of them."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        return self._replace(
            words=self.words[rows, :longest],
            lengths=lengths,
            spelled=self.spelled[rows, :longest],
            targets=self.targets[rows, :longest],
            texts=None if self.texts is None else [self.texts[row] for row in rows],
            usual=None if self.usual is None else self.usual[rows, :longest],
        )
