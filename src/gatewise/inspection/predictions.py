"""What the model would answer after every step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gatewise.inspection.limits import rows_within
from gatewise.tasks.inspected import Inspected

MOST_ROWS = 1024
"""Prefixes that are run at most."""
MOST_STEPS_WITH_ALL = 2_000
"""Of a longer sequence the best answer of each step is told alone."""
SCORES_AT_ONCE = 2**24


@dataclass
class Predictions:
    """Answers after the steps of one sequence."""

    named: list[list[tuple[str, float]]] = field(default_factory=list)
    """The best answers after each step; nothing for a step that was not tried."""
    surprise: list[float | None] = field(default_factory=list)
    """Loss in nats of the right answer; None where it is not known, or no choice."""
    note: str = ""


@torch.no_grad()
def predict(inspected: Inspected, outputs: Tensor) -> Predictions:
    """The answers after every step, from the outputs [1, T, K] of the whole sequence where that can be.

    Else every prefix is run by itself, or of a long sequence as many as :mod:`limits` allows.
    """
    time = int(inspected.lengths[0])
    found = Predictions([[] for _ in range(time)], [None] * time)
    if inspected.read_all is not None:
        width = inspected.read_all(outputs[:, :1]).shape[-1]
        at_once = max(1, SCORES_AT_ONCE // width)
        if inspected.at_every_step:
            for first in range(0, time, at_once):
                steps = list(range(first, min(time, first + at_once)))
                _note(found, inspected, inspected.read_all(outputs[:, steps])[0], steps)
        else:  # what was pooled so far needs the steps before
            _note(found, inspected, inspected.read_all(outputs[:, :time])[0], list(range(time)))
        return found
    steps = spread(time, max(1, min(MOST_ROWS, 2 * rows_within(inspected, time))))
    lengths = torch.tensor(steps) + 1
    _note(found, inspected, inspected.scores(inspected.prefixes(lengths), lengths), steps)
    found.note = "Each step is answered by a run of its own, of the steps up to it."
    if len(steps) < time:
        found.note += f" So many runs of {time:,} steps take long: {len(steps)} steps are answered."
    return found


def _note(found: Predictions, inspected: Inspected, scores: Tensor, steps: list[int]) -> None:
    most = None if len(found.named) <= MOST_STEPS_WITH_ALL else 1
    lengths = torch.tensor(steps) + 1
    answer = inspected.answer(scores[-1])
    is_choice = inspected.probability(scores, answer) is not None
    losses = inspected.loss(scores, lengths, answer).tolist() if is_choice else [None] * len(steps)
    for step, named, loss in zip(steps, inspected.most_probable(scores), losses, strict=True):
        found.named[step] = named[:most]
        found.surprise[step] = loss if inspected.has_truth(step + 1) else None


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly apart; the last is among them."""
    if count <= most:
        return list(range(count))
    return sorted({round((place + 1) * count / most) - 1 for place in range(most)})
