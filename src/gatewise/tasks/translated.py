"""What a search has found for a batch of texts: as text, as rows of a table, as maps of attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch

from gatewise.kinds.parallel_text import END_ID, UNKNOWN_ID, ParallelTextBatch, ParallelTextFacts
from gatewise.nn.beam_search import Hypotheses

T = TypeVar("T")
PART = 256
"""Texts that are searched together."""


@dataclass(frozen=True)
class Translated:
    """The translations of a batch's texts, with the weights of attention."""

    facts: ParallelTextFacts
    batch: ParallelTextBatch
    found: Hypotheses
    copy_unknown: bool
    """Whether an unknown token is replaced by the word of the source that it attends to most."""

    @cached_property
    def texts(self) -> list[list[str]]:
        """The translations of each text, the best first; none where no probability was a number."""
        words = self._copied() if self.copy_unknown else None
        join = self.facts.target.joined
        rows, lengths = self.found.tokens.tolist(), self.found.lengths.tolist()
        return [
            [
                join(tokens[:count], words[row][rank] if words is not None else None)
                for rank, (tokens, count) in enumerate(zip(rows[row], lengths[row], strict=True))
                if count
            ]
            for row in range(len(rows))
        ]

    @property
    def best(self) -> list[str]:
        """The best translation of each text."""
        return [ranked[0] if ranked else "" for ranked in self.texts]

    def check(self) -> None:
        """Raise ValueError where a text has no translation, because the model's numbers are none."""
        if not all(self.texts):
            raise ValueError("the model's probabilities of the next token are not numbers: train it again")

    def _copied(self) -> list[list[list[str]]] | None:
        """The word of the source that each token attends to most; None where no token is unknown."""
        tokens, weights = self.batch.source_tokens, self.found.weights
        if tokens is None or not bool((self.found.tokens == UNKNOWN_ID).any()):
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
        assert self.found.weights is not None
        count, length = int(self.found.lengths[row, rank]), int(self.batch.source_lengths[row])
        own = None if self.batch.source_tokens is None else self.batch.source_tokens[row]
        vocabulary = self.facts.source_vocabulary
        read = own or [vocabulary[i] for i in self.batch.source[row, : length - 1]]
        return {
            "read": [*read, vocabulary[END_ID]],
            "written": [self.facts.target_vocabulary[i] for i in self.found.tokens[row, rank, :count]],
            "weights": [
                [round(weight, 4) for weight in weights]
                for weights in self.found.weights[row, rank, :count, :length].tolist()
            ],
        }

    def first(self, most: int) -> dict[int, dict[str, Any]]:
        """Texts and translations of those of the first ``most`` of all that are here, by number."""
        references = self.batch.references
        return {
            int(self.batch.indices[row]): {
                "source": self.source(row),
                "translation": self.best[row],
                "reference": "" if references is None else references[row][0],
                **self.attended(row),
            }
            for row in (self.batch.indices < most).nonzero().flatten().tolist()
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every translation of every text, with the token read that each token attends to most."""
        for row, ranked in enumerate(self.texts):
            for rank, text in enumerate(ranked):
                yield {
                    "line": int(self.batch.indices[row]) + 1,
                    "rank": rank + 1,
                    "text": self.source(row),
                    "translation": text,
                    "score": float(self.found.scores[row, rank]),
                    "log_probability": float(self.found.log_probabilities[row, rank]),
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
