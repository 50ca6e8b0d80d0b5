"""What a search has written for a batch: as text, ranked, with the weights of attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gatewise.nn.beam_search import Hypotheses


@dataclass(frozen=True)
class Written:
    """The texts written for each of B examples, the best first."""

    facts: Any
    """Facts whose ``target`` is the language that is written."""
    batch: Any
    """A batch with ``indices`` and ``references``."""
    found: Hypotheses

    @cached_property
    def texts(self) -> list[list[str]]:
        """The texts for each example, the best first; none where no probability was a number."""
        words = self.copied()
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

    def copied(self) -> list[list[list[str]]] | None:
        """For each text the words that stand in the place of unknown tokens; None where those stay."""
        return None

    @property
    def best(self) -> list[str]:
        """The best text for each example."""
        return [ranked[0] if ranked else "" for ranked in self.texts]

    def check(self) -> None:
        """Raise ValueError where an example has no text, because the model's numbers are none."""
        if not all(self.texts):
            raise ValueError("the model's probabilities of the next token are not numbers: train it again")

    def reference(self, row: int) -> str:
        """The first right text for an example, where one is known."""
        references: Sequence[Sequence[str]] | None = self.batch.references
        return "" if references is None or not references[row] else references[row][0]

    def written(self, row: int, rank: int = 0) -> list[str]:
        """The tokens of a text, its end too."""
        vocabulary = self.facts.target.vocabulary
        count = int(self.found.lengths[row, rank])
        return [vocabulary[number] for number in self.found.tokens[row, rank, :count]]

    def weights(self, row: int, rank: int, places: int) -> list[list[float]]:
        """The weights of attention of each token of a text to the first ``places``."""
        assert self.found.weights is not None
        count = int(self.found.lengths[row, rank])
        return [
            [round(weight, 4) for weight in weights]
            for weights in self.found.weights[row, rank, :count, :places].tolist()
        ]

    def example(self, row: int) -> dict[str, Any]:
        """An example and the best text for it, as they are shown and drawn."""
        raise NotImplementedError

    def first(self, most: int) -> dict[int, dict[str, Any]]:
        """Those of the first ``most`` examples of all that are here, by number."""
        rows = (self.batch.indices < most).nonzero().flatten().tolist()
        return {int(self.batch.indices[row]): self.example(row) for row in rows}

    def ranked(self) -> Iterator[tuple[int, int, str, dict[str, float]]]:
        """(Row, rank from 0, text, its score and log-probability) of every text."""
        for row, texts in enumerate(self.texts):
            for rank, text in enumerate(texts):
                scores = {
                    "score": float(self.found.scores[row, rank]),
                    "log_probability": float(self.found.log_probabilities[row, rank]),
                }
                yield row, rank, text, scores
