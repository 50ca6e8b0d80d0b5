"""The temperature at which a model's probabilities fit a text best."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MOST_PASSES = 12
TOLERANCE = 1e-4
"""Relative change of the temperature below which the search ends."""


def best_temperature(
    scored: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    summed: Callable[[float, float], tuple[float, float]],
) -> float:
    """The temperature that scores are divided by for the smallest loss of their softmax.

    ``scored()`` gives pairs of scores [N, V] and targets [N] int64, the same in each pass; ``summed`` adds up
    two numbers over all processes. The loss is convex in the temperature's inverse, in which Newton's method
    looks for its minimum, by no more than a factor of two at a time.
    """
    inverse = 1.0
    for _ in range(MOST_PASSES):
        slope = curvature = 0.0
        for scores, targets in scored():
            relative = (scores - scores.max(-1, keepdim=True).values).double()
            shares = torch.softmax(inverse * relative, -1)
            mean = (shares * relative).sum(-1)
            slope += float((mean - relative.gather(-1, targets[:, None])[:, 0]).sum())
            curvature += float(((shares * relative.square()).sum(-1) - mean.square()).sum())
        slope, curvature = summed(slope, curvature)
        if curvature <= 0:
            break
        before, inverse = inverse, min(max(inverse - slope / curvature, inverse / 2), inverse * 2)
        if abs(inverse - before) < TOLERANCE * before:
            break
    return 1 / inverse
