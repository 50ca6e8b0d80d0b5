"""The steps at which a unit is most strongly what it is, with what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.inspection.standardised import Floats


class Context(NamedTuple):
    """A stretch of steps of one sequence: ``first`` to ``stop`` - 1, around ``step``."""

    first: int
    step: int
    stop: int
    value: float


def strongest(
    values: Floats,
    lengths: Sequence[int],
    *,
    count: int = 6,
    before: int = 8,
    after: int = 4,
    both_ways: bool = False,
) -> list[list[Context]]:
    """For every unit the ``count`` steps with the largest \\|value\\|, the strongest first.

    No two of a unit overlap in what they show, and none reaches into another sequence, so that there may be
    fewer than ``count``. Of equal ones the earlier step comes first.

    Args:
        values: [N, U] at the steps of several sequences, laid end to end; NaN is never chosen.
        lengths: steps of each sequence; their sum is N.
        before: steps shown before the chosen one, where the sequence has them.
        after: steps shown after it.
        both_ways: the half of ``count`` (rounded up) with the largest value and then the rest with the
            smallest, in the place of the largest \\|value\\|.
    """
    if sum(lengths) != len(values):
        raise ValueError(
            f"{len(values)} steps, but lengths of {sum(lengths)} in all: give those of the same sequences"
        )
    rows = np.ascontiguousarray(np.asarray(values).T)
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    stops = np.repeat(np.cumsum(lengths), lengths)
    bounds = np.stack([firsts, stops])
    if both_ways:
        free = np.isfinite(rows)
        chosen = [_largest(rows, free, bounds, -(-count // 2), before + after)]
        chosen.append(_largest(-rows, free, bounds, count // 2, before + after))
        steps = np.concatenate(chosen, axis=1)
    else:
        steps = _largest(np.abs(rows), np.isfinite(rows), bounds, count, before + after)
    return [
        [
            Context(
                max(int(firsts[t]), int(t) - before),
                int(t),
                min(int(stops[t]), int(t) + after + 1),
                float(row[t]),
            )
            for t in chosen
            if t >= 0
        ]
        for chosen, row in zip(steps, rows, strict=True)
    ]


def _largest(
    rows: Floats, free: NDArray[np.bool_], bounds: NDArray[np.int64], count: int, apart: int
) -> NDArray[np.int64]:
    """Steps of the largest values, [U, count], -1 where none is left; what overlaps them is free no more."""
    units = np.arange(len(rows))
    chosen = np.full((len(rows), count), -1)
    if not rows.size:
        return chosen
    left = np.where(free, rows, -np.inf)
    around = np.arange(-apart, apart + 1)
    for place in range(count):
        best = left.argmax(1)
        there = left[units, best] > -np.inf
        chosen[there, place] = best[there]
        taken = np.clip(best[:, None] + around, bounds[0, best][:, None], bounds[1, best][:, None] - 1)
        left[units[:, None], taken] = -np.inf
        free[units[there, None], taken[there]] = False
    return chosen
