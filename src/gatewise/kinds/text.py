"""Running text as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
from gatewise.kinds.subwords import PieceTokenizer, Subwords, read_subwords
from gatewise.kinds.tokens import (
    END_OF_LINE,
    TOKENIZERS,
    Normalization,
    Tokenizer,
    Vocabulary,
    make_tokenizer,
)

if TYPE_CHECKING:
    from torch import Tensor

SUBWORD = "subword"
"""The name of the tokens that are pieces of words, beside those of ``TOKENIZERS``."""


@dataclass(frozen=True)
class TextFacts(Facts):
    """Running text as token ids."""

    kind: ClassVar[str] = "text"
    summary: ClassVar[str] = "running text with a vocabulary"

    vocabulary: tuple[str, ...]
    """Token of each id; includes ``<unk>``, which subwords do without, and, for words, ``<eos>``."""
    counts: tuple[int, ...]
    """How often each token occurs in the training text, for the unigram baseline."""
    tokenizer: str
    """``word``, ``char``, ``whitespace`` or ``subword``."""
    lowercase: bool
    normalize: str | None = None
    """The Unicode normal form of every token; None where the text was left as it is."""
    marks: bool = False
    """Whether combining marks belong to words; runs of earlier versions cut words at them."""
    subwords: str | None = None
    """How subwords are made, as :meth:`~gatewise.kinds.subwords.Subwords.stored` gives it; else None."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        self.check_distinct("vocabulary")
        self.check_counts("counts", len(self.vocabulary), "words of the vocabulary")
        if self.tokenizer not in (*TOKENIZERS, SUBWORD):
            raise self.wrong("tokenizer", f"must be one of {', '.join((*TOKENIZERS, SUBWORD))}")
        if (self.tokenizer == SUBWORD) != (self.subwords is not None):
            raise self.wrong("subwords", f"must be there for tokenizer {SUBWORD} and null for others")
        if self.subwords is not None:
            made = self.read_subwords()
            if (made.pieces, made.lowercase, made.normalize) != (
                self.vocabulary,
                self.lowercase,
                self.normalize,
            ):
                raise ValueError(f"{self.kind} facts: vocabulary and subwords are those of two runs")
        if self.normalize not in (None, *get_args(Normalization)):
            raise self.wrong("normalize", f"must be null or one of {', '.join(get_args(Normalization))}")

    def agrees_with(self, earlier: Facts) -> bool:
        """Whether they are equal, or would be if combining marks had been cut off here too."""
        return isinstance(earlier, TextFacts) and replace(self, marks=earlier.marks) == earlier

    def make_tokenizer(self) -> Tokenizer:
        """What splits a text as the training text was split."""
        if self.subwords is not None:
            return PieceTokenizer(self.read_subwords())
        return make_tokenizer(self.tokenizer, self.lowercase, self.normalize, self.marks)

    def read_subwords(self) -> Subwords:
        """The subwords; ValueError if they are damaged."""
        assert self.subwords is not None
        try:
            return read_subwords(self.subwords)
        except ValueError as error:
            raise ValueError(f"{self.kind} facts: {error}") from error

    def encoded(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N tokens; 0 for tokens outside the vocabulary."""
        return Vocabulary(self.vocabulary, self.counts).encode(tokens)

    def tokenized(self, text: str) -> list[str]:
        """The tokens of a text, split in the same way as the training text."""
        return self.make_tokenizer().tokenize(text)

    def unknown(self, text: str) -> list[str]:
        """The tokens of a text that are not in the vocabulary, each once, in the text's order."""
        known = {*self.vocabulary, END_OF_LINE}
        return [token for token in dict.fromkeys(self.tokenized(text)) if token not in known]

    def decoded(self, ids: Sequence[int]) -> str:
        """Readable text of token ids."""
        tokens = Vocabulary(self.vocabulary, self.counts).decode(ids)
        return self.make_tokenizer().detokenize(tokens)


class TextBatch(NamedTuple):
    """One window of truncated BPTT: row b continues row b of the previous batch."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    targets: Tensor
    """[B, T] int64: the token after each, or IGNORED past the end of a lane."""
    sizes: tuple[float, float] | None = None
    """Characters and words of a target, on average over the whole part; None where they were not counted."""
