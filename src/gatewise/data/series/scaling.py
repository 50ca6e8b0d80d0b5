"""Scales of the values, from the training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel

Scaling = Literal["columns", "robust", "none", "series"]
_QUARTILES = 1.349
"""Standard deviations of a normal distribution between its quartiles."""


def column_scales(
    train: NDArray[np.floating], columns: Sequence[str], how: Scaling, source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is taken from each column and by what it is divided, [C] each; ``train`` [rows, C] may have NaN.

    Raises ValueError, naming the column, where there is no value or it is too large.
    """
    empty = np.isnan(train).all(axis=0)
    if empty.any():
        name = columns[int(empty.argmax())]
        raise ValueError(
            f"{source}: column {name!r} has no value in the training rows: leave it out with data.columns, "
            f"or train on more rows"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        # mean() where it can be: nanmean() copies, and may differ in the last digit.
        has_missing = bool(np.isnan(train).any())
        mean, std = (
            (np.nanmean(train, axis=0), np.nanstd(train, axis=0))
            if has_missing
            else (train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64))
        )
    for column, finite in zip(columns, np.isfinite(mean) & np.isfinite(std), strict=True):
        if not finite:
            raise ValueError(
                f"{source}: column {column!r} holds numbers too large to scale: "
                f"correct them, or leave the column out with data.columns"
            )
    # Rounding can give a constant column a tiny std, which would blow it up.
    std[(np.nanmin(train, axis=0) == np.nanmax(train, axis=0)) | (std == 0)] = 1.0
    if how == "none":
        return np.zeros_like(mean), np.ones_like(std)
    if how == "robust":
        lower, middle, upper = np.nanquantile(train, [0.25, 0.5, 0.75], axis=0)
        return middle, np.where(upper > lower, (upper - lower) / _QUARTILES, std)
    return mean, std


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
