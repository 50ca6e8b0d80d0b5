"""Pairs of texts as numbers, and a data set of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.flat import places_of
from gatewise.data.module import BatchDataset
from gatewise.data.text.pairs import Pairs
from gatewise.data.text.tokenized import tokenized
from gatewise.kinds.parallel_text import (
    END_ID,
    START_ID,
    Language,
    ParallelTextBatch,
    ParallelTextFacts,
    in_one_line,
)


@dataclass(frozen=True)
class Numbers:
    """N texts as ids, one after the other, each with its end."""

    ids: NDArray[np.int32]
    """[sum of lengths]"""
    lengths: NDArray[np.int64]
    """[N]: tokens of each text, its end counted."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """[N]: where each text begins in ``ids``."""
        return self.lengths.cumsum() - self.lengths

    def select(self, chosen: NDArray[np.int64]) -> Numbers:
        """Some of the texts, in this order."""
        lengths = self.lengths[chosen]
        return Numbers(self.ids[places_of(self.starts[chosen], lengths)], lengths)

    def counts(self, size: int) -> tuple[int, ...]:
        """How often each of ``size`` ids occurs."""
        return tuple(np.bincount(self.ids, minlength=size).tolist())


def numbered(texts: Sequence[str], language: Language) -> Numbers:
    """The ids of N texts in a language."""
    lines = [in_one_line(text) for text in texts]
    if language.subwords is not None:
        ids, lengths = language.subwords.encode(lines)
    else:
        split = tokenized(lines, language.tokenizer)
        ids = language.encoded(split.types)[split.ids].astype(np.int32)
        lengths = split.lengths
    ended = np.insert(ids, lengths.cumsum(), np.int32(END_ID))
    return Numbers(ended, lengths + 1)


class TextPairs(BatchDataset):
    """Texts and their translations; ``dataset[indices]`` pads both to the longest of the batch.

    With ``pairs``, the batch has the texts themselves too.
    """

    def __init__(
        self, source: Numbers, target: Numbers, facts: ParallelTextFacts, pairs: Pairs | None = None
    ) -> None:
        self.source, self.target, self.facts, self.pairs = source, target, facts, pairs
        self.lengths = np.maximum(source.lengths, target.lengths)
        """[N]: tokens of the longer side of each pair, its end counted."""
        self._source_starts, self._target_starts = source.starts, target.starts

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> ParallelTextBatch:
        chosen = np.asarray(indices, dtype=np.int64)
        source, source_lengths = padded(self.source, self._source_starts, chosen)
        ended, lengths = padded(self.target, self._target_starts, chosen)
        batch = ParallelTextBatch(
            source, source_lengths, started(ended), lengths + 1, torch.from_numpy(chosen)
        )
        if self.pairs is None:
            return batch
        part = self.pairs.select(indices)
        tokens = [self.facts.source.split(text) for text in part.sources]
        return batch._replace(source_tokens=tokens, sources=part.sources, references=part.references)


def padded(numbers: Numbers, starts: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(Ids [B, longest] padded with 0, lengths [B]) of some of the texts."""
    lengths = numbers.lengths[chosen]
    steps = np.arange(lengths.max())
    is_real = steps < lengths[:, None]
    places = np.where(is_real, starts[chosen][:, None] + steps, 0)
    ids = np.where(is_real, numbers.ids[places], 0).astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(lengths)


def started(ids: Tensor) -> Tensor:
    """Ids [B, T] with the start before each row."""
    return torch.cat([torch.full((len(ids), 1), START_ID), ids], 1)
