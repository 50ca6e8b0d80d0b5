"""The transcripts that a recognition gives for a batch, as rows, mistakes and pictures."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewise.kinds.transcripts import TranscribedBatch, TranscriptFacts
from gatewise.nn.ctc import Labelings, log_likelihood, starts
from gatewise.tasks import transcript_errors

BLANK = "(blank)"
"""The name of the blank in tables and pictures."""
DRAWN = 3
"""Sequences whose alignment is drawn."""
SHOWN = 8
"""Mistakes that are shown."""
PART = 32
"""Sequences that are recognised at once."""
_MOST_FRAMES = 1000
"""Frames of a sequence that are drawn."""
_MOST_ROWS = 40
"""Units that are drawn of a sequence."""


@dataclass(frozen=True)
class Recognised:
    """The best transcripts of a batch, and the scores that they come from."""

    facts: TranscriptFacts
    batch: TranscribedBatch
    log_probabilities: Tensor
    """[B, S, K + 1]: of the units and the blank."""
    steps: Tensor
    """[B]: steps that are not padding."""
    found: Labelings
    stack: int
    """Frames of a step."""

    def units(self, row: int, rank: int = 0) -> list[int]:
        """The units of a transcript."""
        units: list[int] = self.found.units[row, rank, : int(self.found.lengths[row, rank])].tolist()
        return units

    def reference(self, row: int) -> list[int] | None:
        """The units of the right transcript; None where it is not known."""
        length = int(self.batch.target_lengths[row])
        return None if length < 0 else self.batch.targets[row, :length].tolist()

    def errors(self) -> Tensor:
        """What the error rates are computed from, for the best transcripts: counts [B, 6]."""
        rows = range(len(self.steps))
        references = [self.reference(row) or [] for row in rows]
        return transcript_errors.statistics([self.units(row) for row in rows], references, self.facts)

    def name(self, row: int) -> str:
        """What to call a sequence; nothing where it has no name."""
        return "" if self.batch.names is None else self.batch.names[row]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every transcript of every sequence, the best one of a sequence first."""
        for rank in range(self.found.units.shape[1]):
            ranked = self.found.units[:, rank], self.found.lengths[:, rank]
            likelihoods = log_likelihood(self.log_probabilities, self.steps, *ranked)
            begun = starts(self.log_probabilities, self.steps, *ranked)
            for row in range(len(self.steps)):
                if rank and self.found.scores[row, rank] == -torch.inf:
                    continue
                yield {
                    "row": row,
                    "rank": rank + 1,
                    "transcript": self.facts.text(self.units(row, rank)),
                    "log_probability": float(likelihoods[row]),
                    "starts": " ".join(self._starts(self.units(row, rank), begun[row].tolist())),
                }

    def _starts(self, units: Sequence[int], steps: Sequence[int]) -> Iterator[str]:
        """Each unit with the second, or the frame, in which it begins."""
        seconds = self.facts.seconds
        for unit, step in zip(units, steps, strict=False):  # behind the last unit there is nothing
            frame = step * self.stack
            yield f"{self.facts.units[unit]}@{frame if seconds is None else f'{frame * seconds:.2f}'}"

    def alignment(self, row: int) -> dict[str, Any]:
        """The frames of a sequence and the probabilities that it was read by, to be drawn."""
        reference, units = self.reference(row), self.units(row)
        frames = min(int(self.batch.lengths[row]), _MOST_FRAMES)
        steps = min(int(self.steps[row]), -(-frames // self.stack))
        shown = list(dict.fromkeys([*(reference or []), *units]))[:_MOST_ROWS]
        blank = self.log_probabilities.shape[2] - 1
        one = slice(row, row + 1)
        read = self.found.units[one, 0], self.found.lengths[one, 0]
        begun = starts(self.log_probabilities[one], self.steps[one], *read)[0].tolist()
        chosen = self.log_probabilities[row, :steps].exp()[:, [*shown, blank]]
        return {
            "name": self.name(row),
            "reference": "" if reference is None else self.facts.text(reference),
            "transcript": self.facts.text(units),
            "frames": _rounded(self.batch.inputs[row, :frames], 2),
            "labels": [*(self.facts.units[unit] for unit in shown), BLANK],
            "probabilities": _rounded(chosen, 3),
            "stack": self.stack,
            "seconds": self.facts.seconds,
            "read": [
                [self.facts.units[unit], step]
                for unit, step in zip(units, begun, strict=False)
                if step < steps
            ],
        }


def _rounded(values: Tensor, digits: int) -> list[list[float]]:
    return [[round(value, digits) for value in row] for row in values.tolist()]


class Worst:
    """The transcripts of a test with the most wrong units, and what they are drawn from."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[int, int, dict[str, Any]]] = []
        """(Wrong units, a number that no other has, what is shown), a heap of the worst."""
        self.count = 0

    def add(self, recognised: Recognised, errors: Tensor) -> None:
        """Keep those of a batch that are worse than what is here; ``errors`` are its counts [B, 6]."""
        for row, wrong in enumerate(errors[:, transcript_errors.UNIT_EDITS].tolist()):
            self.count += 1
            if len(self.mistakes) < SHOWN:
                heapq.heappush(self.mistakes, (wrong, -self.count, recognised.alignment(row)))
            elif wrong > self.mistakes[0][0]:
                heapq.heapreplace(self.mistakes, (wrong, -self.count, recognised.alignment(row)))

    def join(self, others: Iterable[Worst]) -> None:
        """Keep the worst of several processes."""
        everything = [(wrong, shown) for other in others for wrong, _, shown in other.mistakes]
        everything.sort(key=lambda mistake: -mistake[0])
        self.mistakes = [(wrong, -i, shown) for i, (wrong, shown) in enumerate(everything[:SHOWN])]
        heapq.heapify(self.mistakes)

    def ranked(self) -> list[tuple[int, dict[str, Any]]]:
        """(Wrong units, what is shown) of each, the worst one first."""
        return [(wrong, shown) for wrong, _, shown in sorted(self.mistakes, key=lambda m: (-m[0], -m[1]))]


def parts(batch: TranscribedBatch) -> Iterator[tuple[list[int], TranscribedBatch]]:
    """A batch in parts of similar lengths, from short to long, each with its rows' numbers."""
    for rows in batch.lengths.argsort(stable=True).split(PART):
        numbers: list[int] = rows.tolist()
        yield (
            numbers,
            TranscribedBatch(
                batch.inputs[rows, : int(batch.lengths[rows].max())],
                batch.lengths[rows],
                batch.targets[rows],
                batch.target_lengths[rows],
                None if batch.names is None else [batch.names[number] for number in numbers],
            ),
        )
