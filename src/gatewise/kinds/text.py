"""Running text as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gatewise.kinds.kind import Facts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TextFacts(Facts):
    """Running text as token ids."""

    kind: ClassVar[str] = "text"
    summary: ClassVar[str] = "running text with a vocabulary"

    vocabulary: tuple[str, ...]
    """Token of each id; holds ``<unk>`` and, for words, ``<eos>``."""
    counts: tuple[int, ...]
    """Training tokens of each id: the unigram baseline."""
    tokenizer: str
    """``word``, ``char`` or ``whitespace``."""
    lowercase: bool


class TextBatch(NamedTuple):
    """One truncated-BPTT window: row b continues row b of the batch before."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    targets: Tensor
    """[B, T] int64: the token after each, or IGNORED past a lane's end."""
