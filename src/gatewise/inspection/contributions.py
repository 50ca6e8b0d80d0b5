"""What each step contributed to the answer: by the gradient, and by leaving the step out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.inspection.limits import rows_within
from gatewise.tasks.inspected import Inspected

MOST_LEFT_OUT = 512
"""Steps that are left out at most."""


@dataclass(frozen=True)
class Contributions:
    """Of each step to the score of the answer: the logarithm of its probability, or the nearest forecast."""

    gradient: NDArray[np.float64]
    """[T]: gradient times input, summed over the features."""
    left_out: NDArray[np.float64]
    """[T]: the score less that of the sequence without the step; NaN where that was not tried."""
    agreement: float
    """Correlation of the two over the steps that have both; NaN for fewer than three."""


def contribute(inspected: Inspected, answer: Any) -> Contributions:
    """What the steps of the first sequence contribute to an answer."""
    time = int(inspected.lengths[0])
    rows, lengths = inspected.inputs[:1, :time], inspected.lengths[:1]
    gradient = _gradient_times_input(inspected, rows, lengths, answer)
    left_out = np.full(time, np.nan)
    steps = _to_leave_out(inspected, gradient)
    if len(steps):
        with torch.no_grad():
            whole = inspected.score(inspected.scores(rows, lengths), answer)
            shorter = without(rows[0], torch.from_numpy(steps))
            scores = inspected.scores(shorter, torch.full((len(steps),), time - 1))
            left_out[steps] = (whole - inspected.score(scores, answer)).double().numpy()
    return Contributions(gradient, left_out, _correlation(gradient, left_out))


def without(row: Tensor, steps: Tensor) -> Tensor:
    """A sequence [T, F] without each of some steps: [steps, T - 1, F]."""
    kept = torch.arange(len(row) - 1).expand(len(steps), -1)
    return row[kept + (kept >= steps[:, None])]


def _gradient_times_input(
    inspected: Inspected, rows: Tensor, lengths: Tensor, answer: Any
) -> NDArray[np.float64]:
    with torch.enable_grad():
        inputs = inspected.encoded(rows, lengths).detach().requires_grad_()
        outputs, _ = inspected.encoder(inputs, inspected.state(1), lengths=lengths)
        score = inspected.score(inspected.read(outputs, rows, lengths), answer)
        (gradient,) = torch.autograd.grad(score.sum(), inputs)
    products: NDArray[np.float64] = (gradient * inputs).sum(-1)[0].detach().double().numpy()
    return products


def _to_leave_out(inspected: Inspected, gradient: NDArray[np.float64]) -> NDArray[np.int64]:
    """All steps; of many, those with the largest gradient times input, and as many evenly apart."""
    time = len(gradient)
    if time < 2:
        return np.zeros(0, dtype=np.int64)
    most = max(2, min(MOST_LEFT_OUT, rows_within(inspected, time)))
    if time <= most:
        return np.arange(time)
    largest = np.argsort(-np.abs(gradient), kind="stable")[: most // 2]
    return np.union1d(largest, np.linspace(0, time - 1, most - len(largest)).round().astype(np.int64))


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return float("nan")
    return float(np.corrcoef(first[both], second[both])[0, 1])
