"""Parallel text: sentences and their translations, or words and how they are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
from gatewise.kinds.tokens import UNKNOWN, Normalization, make_tokenizer
from gatewise.settings import choice

if TYPE_CHECKING:
    from torch import Tensor

START, END = "<s>", "</s>"
"""Stand before the first token of a target and after the last one of a sentence."""
SPECIALS = (UNKNOWN, START, END)
"""The first tokens of every vocabulary here, in the order of their ids."""
UNKNOWN_ID, START_ID, END_ID = range(3)
UNITS = ("word", "whitespace", "char")
"""What the tokens of a language can be; the names are those of the tokenizers of running text."""


@dataclass(frozen=True)
class Language:
    """The vocabulary of one side of the pairs, and how its texts are split."""

    name: str
    vocabulary: tuple[str, ...]
    """Token of each id; the first are ``SPECIALS``."""
    units: str
    lowercase: bool
    normalize: str | None

    def split(self, text: str) -> list[str]:
        """The tokens of one line of text, as it is written: also those that the vocabulary lacks."""
        tokenizer = make_tokenizer(self.units, self.lowercase, self.normalize)
        # A line end inside would be a token of its own.
        line = " ".join(text.split("\n"))
        return [token for token in tokenizer.tokenize(line) if token not in tokenizer.specials[1:]]

    def encoded(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N tokens; 0 for those that the vocabulary lacks or that look like its marks."""
        ids = self._ids
        return np.fromiter((ids.get(token, UNKNOWN_ID) for token in tokens), np.int64, len(tokens))

    def joined(self, ids: Sequence[int], copied: Sequence[str] | None = None) -> str:
        """The readable text of token ids up to the first end, without marks.

        ``copied`` has for each id what stands there in place of an unknown token; without it ``<unk>`` stays.
        """
        tokens = []
        for place, number in enumerate(ids):
            if number == END_ID:
                break
            if number == UNKNOWN_ID and copied is not None:
                tokens.append(copied[place])
            elif number != START_ID:
                tokens.append(self.vocabulary[number])
        return make_tokenizer(self.units, self.lowercase, self.normalize).detokenize(tokens)

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
    """``word``, ``whitespace`` or ``char``."""
    target_units: str
    joint: bool
    """Whether both sides have one vocabulary, so that they may share their embeddings."""
    lowercase: bool
    normalize: str | None
    """The Unicode normal form of every token; None where the text was left as it is."""
    longest_target: int
    """Tokens of the longest training target, its end counted: none longer was ever seen."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        for side in ("source", "target"):
            vocabulary = getattr(self, f"{side}_vocabulary")
            self.check_distinct(f"{side}_vocabulary")
            if vocabulary[: len(SPECIALS)] != SPECIALS:
                raise self.wrong(f"{side}_vocabulary", f"must begin with {', '.join(SPECIALS)}")
            self.check_counts(f"{side}_counts", len(vocabulary), "words of the vocabulary")
            choice(f"{side}_units", getattr(self, f"{side}_units"), UNITS)
        if self.joint and self.source_vocabulary != self.target_vocabulary:
            raise self.wrong("source_vocabulary", "must be that of the target, as they are joint")
        if self.normalize not in (None, *get_args(Normalization)):
            raise self.wrong("normalize", f"must be null or one of {', '.join(get_args(Normalization))}")
        if self.longest_target < 1:
            raise self.wrong("longest_target", "must be at least 1")

    @cached_property
    def source(self) -> Language:
        """The language that is read."""
        return Language(
            self.source_language, self.source_vocabulary, self.source_units, self.lowercase, self.normalize
        )

    @cached_property
    def target(self) -> Language:
        """The language that is written."""
        return Language(
            self.target_language, self.target_vocabulary, self.target_units, self.lowercase, self.normalize
        )


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
