"""Units of two models matched by what they contribute to the answer: their numbers mean nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from gatewise.inspection.standardised import Floats, standardised


class Pair(NamedTuple):
    """A unit of each model."""

    first: int
    second: int
    r: float
    """Correlation of their contributions over the steps."""


def match(first: Floats, second: Floats) -> list[Pair]:
    """Pairs of units whose contributions go together, the best first: [T, U1] and [T, U2] -> ≤ min(U1, U2).

    Every unit stands in one pair at most; of all such pairings it is the one with the largest sum of
    correlations. A constant unit, and one with values that are not finite, stays unmatched. Steps that are
    NaN in all units of either are padding. Raises ValueError where the numbers of steps differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} steps: units can only be matched on one input")
    padding = np.isnan(first).all(1) | np.isnan(second).all(1)
    columns, varies = standardised(first[~padding])
    others, others_vary = standardised(second[~padding])
    numbers, other_numbers = np.flatnonzero(varies), np.flatnonzero(others_vary)
    r = columns[:, numbers].T @ others[:, other_numbers]
    rows, places = linear_sum_assignment(r, maximize=True)
    pairs = [
        Pair(int(numbers[row]), int(other_numbers[place]), float(r[row, place]))
        for row, place in zip(rows, places, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.r, pair.first))


def matched_by_chance(first: Floats, second: Floats, shifts: int = 5) -> float:
    """Mean correlation of the pairs when the second model's steps are shifted in a circle.

    The best of many units correlates with any other on few steps: pairs that are no better than this mean
    nothing. NaN where there is no pair.
    """
    places = np.linspace(0, len(second), shifts + 2).astype(int)[1:-1]
    found = [pair.r for shift in places for pair in match(first, np.roll(second, shift, axis=0))]
    return float(np.mean(found)) if found else float("nan")
