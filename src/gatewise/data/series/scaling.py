"""Scales of the values, from the training rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel

Scaling = Literal["columns", "robust", "none", "series"]
BLOCK = 1 << 20
"""Numbers that are worked on at once of a table that may be larger than memory."""
WHOLE = 4 << 20
"""Numbers of a table that is worked on whole."""
_QUARTILES = 1.349
"""Standard deviations of a normal distribution between its quartiles."""


def column_scales(
    train: NDArray[np.floating], columns: Sequence[str], how: Scaling, source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is taken from each column and by what it is divided, [C] each; ``train`` [rows, C] may have NaN.

    Raises ValueError, naming the column, where there is no value or it is too large.
    """
    lowest, highest = _ends(train)
    empty = np.isnan(lowest)
    if empty.any():
        name = columns[int(empty.argmax())]
        raise ValueError(
            f"{source}: column {name!r} has no value in the training rows: leave it out with data.columns, "
            f"or train on more rows"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = _mean_and_deviation(train)
    for column, finite in zip(columns, np.isfinite(mean) & np.isfinite(std), strict=True):
        if not finite:
            raise ValueError(
                f"{source}: column {column!r} holds numbers too large to scale: "
                f"correct them, or leave the column out with data.columns"
            )
    # Rounding can give a constant column a tiny std, which would blow it up.
    std[(lowest == highest) | (std == 0)] = 1.0
    if how == "none":
        return np.zeros_like(mean), np.ones_like(std)
    if how == "robust":
        quartiles = [np.nanquantile(column, [0.25, 0.5, 0.75]) for column in train.T]
        lower, middle, upper = np.array(quartiles).T
        return middle, np.where(upper > lower, (upper - lower) / _QUARTILES, std)
    return mean, std


def _ends(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The least and the greatest value of each column; NaN for one without any."""
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)


def _mean_and_deviation(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column over the values that are there."""
    if values.size <= WHOLE:
        # mean() where it can be: nanmean() copies, and may differ in the last digit.
        if np.isnan(values).any():
            return np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        return values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    total, count = np.zeros((2, values.shape[1]))
    for block in in_blocks(values):
        total += np.nansum(block, axis=0)
        count += np.count_nonzero(~np.isnan(block), axis=0)
    mean = total / count
    squares = sum(np.nansum((block - mean) ** 2, axis=0) for block in in_blocks(values))
    return mean, np.sqrt(squares / count)


def in_blocks(values: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """The rows of a table, as many at once as a table in files is worked on."""
    step = max(1, BLOCK // max(values.shape[1], 1))
    for first in range(0, len(values), step):
        yield values[first : first + step]


def series_scales(values: NDArray[np.floating], panel: Panel, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[series, 2, C]: mean and standard deviation of each series over some of its rows.

    A series of which no value is there has 0 and 1; a constant one its size for the second, or 1 for zeros.
    """
    there = rows[:, None] & ~np.isnan(values)
    kept = np.where(there, values, 0.0)
    owner = panel.owners
    shape = (len(panel.names), values.shape[1])

    def sums(of: NDArray[np.floating]) -> NDArray[np.float64]:
        each = [np.bincount(owner, column, shape[0]) for column in of.T]
        return np.stack(each, axis=1) if each else np.zeros(shape)

    count = np.maximum(sums(there.astype(np.float64)), 1)
    mean = sums(kept) / count
    apart = np.where(there, values - mean[owner], 0.0)
    std = np.sqrt(sums(apart**2) / count)
    # A tiny one is the rounding error of a constant series.
    size = np.abs(mean)
    std = np.where(std > 1e-7 * size, std, np.where(size > 0, size, 1.0))
    return np.stack([mean, std], axis=1)


def static_scales(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the static numbers [series, S] over the series."""
    if not values.size:
        return np.empty(0), np.empty(0)
    mean, std = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(std > 0, std, 1.0)
