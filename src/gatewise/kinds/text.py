"""Running text as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
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


@dataclass(frozen=True)
class TextFacts(Facts):
    """Running text as token ids."""

    kind: ClassVar[str] = "text"
    summary: ClassVar[str] = "running text with a vocabulary"

    vocabulary: tuple[str, ...]
    """Token of each id; includes ``<unk>`` and, for words, ``<eos>``."""
    counts: tuple[int, ...]
    """How often each token occurs in the training text, for the unigram baseline."""
    tokenizer: str
    """``word``, ``char`` or ``whitespace``."""
    lowercase: bool
    normalize: str | None = None
    """The Unicode normal form of every token; None where the text was left as it is."""
    marks: bool = False
    """Whether combining marks belong to words; runs of earlier versions cut words at them."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        self.check_distinct("vocabulary")
        self.check_counts("counts", len(self.vocabulary), "words of the vocabulary")
        if self.tokenizer not in TOKENIZERS:
            raise self.wrong("tokenizer", f"must be one of {', '.join(TOKENIZERS)}")
        if self.normalize not in (None, *get_args(Normalization)):
            raise self.wrong("normalize", f"must be null or one of {', '.join(get_args(Normalization))}")

    def agrees_with(self, earlier: Facts) -> bool:
        """Whether they are equal, or would be if combining marks had been cut off here too."""
        return isinstance(earlier, TextFacts) and replace(self, marks=earlier.marks) == earlier

    def make_tokenizer(self) -> Tokenizer:
        """What splits a text as the training text was split."""
        return make_tokenizer(self.tokenizer, self.lowercase, self.normalize, self.marks)

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
