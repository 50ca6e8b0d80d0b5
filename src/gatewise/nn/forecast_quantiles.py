"""Quantiles of the distributions that a forecast may have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

TABLE = 1024
"""Degrees of freedom, evenly apart in their reciprocal, between which the factors are interpolated."""


def normal_quantiles(levels: Sequence[float], like: Tensor) -> Tensor:
    """The quantiles [Q] of the standard normal distribution, in the dtype of ``like``."""
    return torch.as_tensor(special.ndtri(np.asarray(levels)), dtype=like.dtype, device=like.device)


def student_t_factors(levels: Sequence[float], freedom: Tensor) -> Tensor:
    """The quantiles [..., Q] of Student's t with ``freedom`` [...] degrees, of 2 at least."""
    table = torch.as_tensor(_student_t_table(tuple(levels)), dtype=freedom.dtype, device=freedom.device)
    place = (2 / freedom).clamp(0, 1) * (TABLE - 1)
    left = place.floor().clamp(max=TABLE - 2)
    share = (place - left).unsqueeze(-1)
    index = left.long()
    return table[index].lerp(table[index + 1], share)


@lru_cache(maxsize=8)
def _student_t_table(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """The quantiles [TABLE, Q] for 2 / (degrees of freedom) from 0, the normal distribution, to 1."""
    reciprocal = np.linspace(0, 1, TABLE)[1:, None] / 2
    found = special.stdtrit(1 / reciprocal, np.asarray(levels))
    table: NDArray[np.float64] = np.concatenate([special.ndtri(np.asarray(levels))[None], found])
    return table


def negative_binomial_quantiles(
    levels: NDArray[np.float64], mean: NDArray[np.float64], dispersion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least counts whose probability, together with all below, reaches ``levels``; they broadcast.

    The variance is mean + dispersion · mean².
    """
    # Importing scipy.stats takes half a second.
    from scipy import stats

    distribution: Any = stats.nbinom
    counts: NDArray[np.float64] = distribution.ppf(levels, 1 / dispersion, 1 / (1 + dispersion * mean))
    return counts
