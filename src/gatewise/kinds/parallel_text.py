"""Parallel text: sentences and their translations, or words and how they are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
from gatewise.kinds.subwords import Subwords
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN, Normalization, Tokenizer, make_tokenizer
from gatewise.settings import choice

if TYPE_CHECKING:
    from torch import Tensor

START, END = "<s>", "</s>"
"""Stand before the first token of a target and after the last one of a sentence."""
SPECIALS = (UNKNOWN, START, END)
"""The first tokens of every vocabulary here, in the order of their ids."""
UNKNOWN_ID, START_ID, END_ID = range(3)
UNNAMED = ("source", "target")
"""What the first columns of a table are called that has no header, in their order."""
Units = Literal["subword", "word", "whitespace", "char"]
"""What the tokens of a language are; all but subwords are named as the tokenizers of running text."""


def in_one_line(text: str) -> str:
    """A text as it is read and written here: any white space is one space, and none stands at its ends."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Language:
    """The vocabulary of one side of the pairs, and how its texts are split."""

    name: str
    vocabulary: tuple[str, ...]
    """Token of each id; the first are ``SPECIALS``."""
    units: str
    lowercase: bool
    normalize: str | None
    stored_subwords: str | None = None
    """What :meth:`Subwords.read` makes the subwords from, where they are the units."""

    @cached_property
    def subwords(self) -> Subwords | None:
        """The subwords, where they are the units."""
        return None if self.stored_subwords is None else Subwords.read(self.stored_subwords)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What splits a text, where the units are no subwords."""
        return make_tokenizer(self.units, self.lowercase, self.normalize)

    def split(self, text: str) -> list[str]:
        """The tokens of one line of text; words are as they were written, whether they are known or not."""
        if self.subwords is not None:
            return [self.vocabulary[number] for number in self.ids(text)]
        line = in_one_line(text).replace(END_OF_LINE, UNKNOWN)
        return [token for token in self.tokenizer.tokenize(line) if token != END_OF_LINE]

    def ids(self, text: str) -> NDArray[np.int64]:
        """Ids [N] int64 of one line of text."""
        if self.subwords is not None:
            return self.subwords.encode([in_one_line(text)])[0].astype(np.int64)
        return self.encoded(self.split(text))

    def encoded(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N words or characters; 0 for those that are not known or look like marks."""
        ids = self._ids
        return np.fromiter((ids.get(token, UNKNOWN_ID) for token in tokens), np.int64, len(tokens))

    def joined(self, ids: Sequence[int], copied: Sequence[str] | None = None) -> str:
        """The readable text of token ids up to the first end, without marks, in one line.

        ``copied`` has for each id what stands there in place of an unknown token; without it ``<unk>`` stays.
        """
        ids = list(ids)
        ids = ids[: ids.index(END_ID)] if END_ID in ids else ids
        if self.subwords is not None:
            return in_one_line(self.subwords.decode(ids))
        tokens = [
            copied[place] if number == UNKNOWN_ID and copied is not None else self.vocabulary[number]
            for place, number in enumerate(ids)
            if number != START_ID
        ]
        return self.tokenizer.detokenize(tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary) if i >= len(SPECIALS)}


@dataclass(frozen=True)
class ParallelTextFacts(Facts):
    """Texts in one language and their translations into another."""

    kind: ClassVar[str] = "parallel_text"
    summary: ClassVar[str] = "texts and their translations"

    source_language: str
    """Name of the language that is read, such as ``de``."""
    target_language: str
    source_vocabulary: tuple[str, ...]
    """Token of each id; the first are ``SPECIALS``, as on the target's side."""
    target_vocabulary: tuple[str, ...]
    source_counts: tuple[int, ...]
    """How often each token occurs in the training texts, an end after each text counted."""
    target_counts: tuple[int, ...]
    source_units: str
    """``subword``, ``word``, ``whitespace`` or ``char``."""
    target_units: str
    joint: bool
    """Whether both sides have one vocabulary, so that they may share their embeddings."""
    lowercase: bool
    normalize: str | None
    """The Unicode normal form of every token; None where the text was left as it is."""
    longest_target: int
    """Tokens of the longest training target, its end counted: none longer was ever seen."""
    source_subwords: str | None = None
    """What the subwords of the source are made from, where they are its units."""
    target_subwords: str | None = None
    source_column: str = "source"
    """The column of sources in a table."""
    target_column: str = "target"
    header: bool = True
    """Whether the first line of a CSV or TSV table names its columns; if not, they are ``UNNAMED``."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        for side in ("source", "target"):
            vocabulary = getattr(self, f"{side}_vocabulary")
            self.check_distinct(f"{side}_vocabulary")
            if vocabulary[: len(SPECIALS)] != SPECIALS:
                raise self.wrong(f"{side}_vocabulary", f"must begin with {', '.join(SPECIALS)}")
            self.check_counts(f"{side}_counts", len(vocabulary), "words of the vocabulary")
            units, subwords = getattr(self, f"{side}_units"), getattr(self, f"{side}_subwords")
            choice(f"{side}_units", units, get_args(Units))
            if (subwords is not None) != (units == "subword"):
                raise self.wrong(f"{side}_subwords", "must be there where subwords are the units, else null")
            if subwords is not None and Subwords.read(subwords).pieces != vocabulary:
                raise self.wrong(f"{side}_vocabulary", f"must be the pieces of {side}_subwords")
            if not getattr(self, f"{side}_column"):
                raise self.wrong(f"{side}_column", "must be the name of a column")
            if not self.header and getattr(self, f"{side}_column") not in UNNAMED:
                raise self.wrong(f"{side}_column", f"must be one of {', '.join(UNNAMED)} without a header")
        if self.joint and self.source_vocabulary != self.target_vocabulary:
            raise self.wrong("source_vocabulary", "must be that of the target, as they are joint")
        if self.normalize not in (None, *get_args(Normalization)):
            raise self.wrong("normalize", f"must be null or one of {', '.join(get_args(Normalization))}")
        if self.longest_target < 1:
            raise self.wrong("longest_target", "must be at least 1")

    @cached_property
    def source(self) -> Language:
        """The language that is read."""
        return self._language("source")

    @cached_property
    def target(self) -> Language:
        """The language that is written."""
        return self._language("target")

    def _language(self, side: str) -> Language:
        name, vocabulary, units, subwords = (
            getattr(self, f"{side}_{part}") for part in ("language", "vocabulary", "units", "subwords")
        )
        return Language(name, vocabulary, units, self.lowercase, self.normalize, subwords)


class ParallelTextBatch(NamedTuple):
    """B texts and their translations as token ids, each padded at its end with 0."""

    source: Tensor
    """[B, S] int64: the tokens of each text and ``END_ID``; an empty text has its end only."""
    source_lengths: Tensor
    """[B] int64: tokens of each text, its end counted, without padding."""
    target: Tensor
    """[B, T] int64: ``START_ID``, the tokens of each translation, ``END_ID``; [B, 2] where none is known."""
    target_lengths: Tensor
    """[B] int64: tokens of each translation, start and end counted, without padding."""
    indices: Tensor
    """[B] int64: the number of each pair in its part, or line in its file, from 0."""
    source_tokens: Sequence[Sequence[str]] | None = None
    """The tokens of each text as they were written, without the end; None in training."""
    sources: Sequence[str] | None = None
    """Each text as it was read; None in training."""
    references: Sequence[tuple[str, ...]] | None = None
    """Every right translation of each text, as it was read; None in training and where none is known."""
