"""What a search has translated of a batch's texts: as text, as rows of a table, as maps of attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from gatewise.kinds.parallel_text import END_ID, UNKNOWN_ID, ParallelTextBatch
from gatewise.tasks.written import Written

T = TypeVar("T")
PART = 256
"""Texts that are searched together."""


@dataclass(frozen=True)
class Translated(Written):
    """The translations of a batch's texts, with the weights of attention."""

    copy_unknown: bool
    """Whether an unknown token is replaced by the word of the source that it attends to most."""

    def copied(self) -> list[list[list[str]]] | None:
        """The word of the source that each token attends to most; None where no token is unknown."""
        tokens, weights = self.batch.source_tokens, self.found.weights
        if not self.copy_unknown or tokens is None or not bool((self.found.tokens == UNKNOWN_ID).any()):
            return None
        assert weights is not None
        # A word is copied, not the end of the text behind the last one.
        last = (self.batch.source_lengths - 1).clamp(min=1)[:, None, None, None]
        places = torch.arange(weights.shape[-1], device=last.device)
        attended = weights.masked_fill(places >= last, -1).argmax(-1).tolist()
        return [
            [[words[place] if words else "" for place in each] for each in ranked]
            for words, ranked in zip(tokens, attended, strict=True)
        ]

    def source(self, row: int) -> str:
        """A text as it was read."""
        return "" if self.batch.sources is None else self.batch.sources[row]

    def attended(self, row: int, rank: int = 0) -> dict[str, Any]:
        """The tokens of a text and of its translation, and the weights [T][S] of attention between them."""
        length = int(self.batch.source_lengths[row])
        own = None if self.batch.source_tokens is None else self.batch.source_tokens[row]
        vocabulary = self.facts.source_vocabulary
        read = own or [vocabulary[i] for i in self.batch.source[row, : length - 1]]
        return {
            "read": [*read, vocabulary[END_ID]],
            "written": self.written(row, rank),
            "weights": self.weights(row, rank, length),
        }

    def example(self, row: int) -> dict[str, Any]:
        return {
            "source": self.source(row),
            "translation": self.best[row],
            "reference": self.reference(row),
            **self.attended(row),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every translation of every text, with the token read that each token attends to most."""
        for row, rank, text, scores in self.ranked():
            yield {
                "line": int(self.batch.indices[row]) + 1,
                "rank": rank + 1,
                "text": self.source(row),
                "translation": text,
                **scores,
                "attention": self._strongest(row, rank),
            }

    def _strongest(self, row: int, rank: int) -> str:
        attended = self.attended(row, rank)
        pairs = []
        for token, weights in zip(attended["written"], attended["weights"], strict=True):
            place = max(range(len(weights)), key=weights.__getitem__)
            pairs.append(f"{token.strip()}←{attended['read'][place].strip()} {weights[place]:.2f}")
        return "  ".join(pairs)


def parts(batch: ParallelTextBatch) -> Iterator[ParallelTextBatch]:
    """A batch in parts of similar lengths, from short to long, without needless padding."""
    for rows in batch.source_lengths.argsort(stable=True).split(PART):
        numbers = rows.tolist()
        yield ParallelTextBatch(
            batch.source[rows, : int(batch.source_lengths[rows].max())],
            batch.source_lengths[rows],
            batch.target[rows],
            batch.target_lengths[rows],
            batch.indices[rows],
            _some(batch.source_tokens, numbers),
            _some(batch.sources, numbers),
            _some(batch.references, numbers),
        )


def _some(texts: Sequence[T] | None, numbers: Sequence[int]) -> list[T] | None:
    return None if texts is None else [texts[number] for number in numbers]
