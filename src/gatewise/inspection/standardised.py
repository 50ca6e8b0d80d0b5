"""Columns made comparable: mean 0 and length 1, so that their products are correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LEAST_SPREAD = 1e-6
"""Of the largest absolute value: what spreads less than rounding in float32 does is constant."""


def standardised(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Each column with mean 0 and length 1, in float64, and which columns vary: [N, U] -> [N, U], [U].

    A column that is constant or holds something that is not finite becomes zeros: it correlates with nothing.
    """
    columns = np.asarray(values, dtype=np.float64)
    if not len(columns):
        return columns, np.zeros(columns.shape[1], dtype=bool)
    least, largest = columns.min(0), columns.max(0)
    finite = np.isfinite(least) & np.isfinite(largest)
    scale = np.where(finite, np.maximum(np.abs(least), np.abs(largest)), 1.0)
    spread = np.subtract(largest, least, where=finite, out=np.zeros(len(least)))
    varies: NDArray[np.bool_] = spread > LEAST_SPREAD * scale
    # Divided by the scale first, so that squares neither overflow nor vanish.
    centred = np.where(varies, columns, 0.0) / np.where(varies, scale, 1.0)
    centred -= centred.mean(0)
    length = np.sqrt(np.square(centred).sum(0))
    centred /= np.where(varies, length, 1.0)
    return centred, varies


def without_padding(values: Floats) -> Floats:
    """The steps at which not every unit is NaN: [T, U] -> [≤ T, U]."""
    array = np.asarray(values)
    return array[~np.isnan(array).all(1)]
