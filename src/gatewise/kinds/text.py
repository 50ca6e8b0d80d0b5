"""Running text as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.kind import Facts
from gatewise.kinds.tokens import Vocabulary, make_tokenizer

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

    def encoded(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N tokens; 0 for tokens outside the vocabulary."""
        return Vocabulary(self.vocabulary, self.counts).encode(tokens)

    def tokenized(self, text: str) -> list[str]:
        """The tokens of a text, split in the same way as the training text."""
        return make_tokenizer(self.tokenizer, self.lowercase).tokenize(text)

    def decoded(self, ids: Sequence[int]) -> str:
        """Readable text of token ids."""
        tokens = Vocabulary(self.vocabulary, self.counts).decode(ids)
        return make_tokenizer(self.tokenizer, self.lowercase).detokenize(tokens)


class TextBatch(NamedTuple):
    """One window of truncated BPTT: row b continues row b of the previous batch."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    targets: Tensor
    """[B, T] int64: the token after each, or IGNORED past the end of a lane."""
