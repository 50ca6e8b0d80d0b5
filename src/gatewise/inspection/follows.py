"""Which units follow which features of the steps, and whether more than chance makes them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from gatewise.inspection.standardised import Floats, standardised

LEVEL = 0.05
_TIES = 2e-6
"""Correlations this near to the observed one count as equal to it: the error of a float32 transform."""
_BLOCK = 1 << 21
"""Values that one thread transforms at once."""
_MOST_THREADS = 8
_ORDERS_AT_ONCE = 255
"""Orders of the sequences that are tried in one product: it stays in the cache, and a byte counts them."""


class Followed(NamedTuple):
    """How units follow features; NaN where a unit or feature is constant or not finite."""

    r: Floats
    """[U, F] Pearson's correlation over all steps."""
    p: Floats
    """[U, F] two-sided permutation p-value, of one unit and one feature."""
    least: Floats
    """[F] the least p that this number of steps, or of sequences, can show; NaN for a constant feature."""


def follow(
    units: Floats, features: Floats, lengths: Sequence[int], *, permutations: int = 9999, seed: int = 0
) -> Followed:
    """Correlation of every unit with every feature, and its permutation p-value.

    A unit and a feature of text both change slowly, so that their steps are not independent, and to shuffle
    the steps would call nearly everything significant (of two unrelated series with autocorrelation .9,
    a shuffle finds p ≤ .05 in about half of all cases instead of 5 %). The feature is therefore shifted in a
    circle along the units, by each of the N possible shifts in turn: that breaks what ties the two together
    and leaves the autocorrelation of both as it is, but for the seam. p is the share of the N shifts, no
    shift included, at which \\|r\\| is at least as large as without; the least that can come out is 1 / N.
    Both are taken to go on alike through the whole input: two that drift from one end of it to the other are
    called significant.

    A feature that is constant within each of several sequences, such as a label, has as many independent
    values as there are sequences. Its null gives the sequences each other's values, ``permutations`` times,
    drawn with ``seed``, and the order that was observed once; the least p is one over that number, or over
    the number of different orders if that is smaller.

    Args:
        units: [N, U] values at the steps of several sequences, laid end to end without padding.
        features: [N, F] at the same steps.
        lengths: steps of each sequence; their sum is N.

    Raises ValueError where these do not go together.
    """
    steps = len(units)
    if len(features) != steps or sum(lengths) != steps or min(lengths, default=0) < 1:
        raise ValueError(
            f"units have {steps} steps, features {len(features)} and the {len(lengths)} sequences "
            f"{sum(lengths)}: give all three of the same sequences, each of one step or more"
        )
    targets, varies = standardised(features)
    shape = units.shape[1], targets.shape[1]
    r, p = np.full(shape, np.nan), np.full(shape, np.nan)
    least = np.full(shape[1], np.nan)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    whole = _constant_within(targets, starts) & varies
    shifted = varies & ~whole
    least[shifted] = 1.0 / steps
    shifts = _Shifts(targets[:, shifted])
    orders = _Orders(targets[:, whole], np.asarray(lengths), starts, permutations, seed)
    least[whole] = orders.least

    def fill(block: slice) -> None:
        values, moving = standardised(units[:, block])
        observed = values.T @ targets
        p[block, shifted] = shifts.p(values, observed[:, shifted])
        p[block, whole] = orders.p(values, observed[:, whole])
        observed[~moving] = np.nan
        observed[:, ~varies] = np.nan
        r[block] = observed

    width = max(1, _BLOCK // max(1, steps))
    blocks = [slice(first, first + width) for first in range(0, shape[0], width)]
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:  # numpy works beside Python
        list(pool.map(fill, blocks))
    p[np.isnan(r)] = np.nan
    return Followed(r, p, least)


def holm(p: Floats) -> Floats:
    """Holm's correction of each column over all its rows: [U, F] -> [U, F]; NaN is no test and stays NaN.

    Give the units of all layers and directions together: the chance that any unit is called significant that
    is not then stays the level, however many units were looked at.
    """
    tested = np.sum(~np.isnan(p), axis=0)
    order = np.argsort(p, axis=0, kind="stable")  # NaN last
    places = np.arange(len(p))[:, None]
    corrected = np.take_along_axis(p, order, axis=0) * np.maximum(tested - places, 1)
    corrected = np.minimum(np.maximum.accumulate(corrected, axis=0), 1.0)
    result = np.empty_like(corrected)
    np.put_along_axis(result, order, corrected, axis=0)
    return result


def ranks(r: Floats) -> Floats:
    """Rank of each unit by \\|r\\| among all rows, 1 being the largest: [U, F] -> [U, F].

    Equal ones share a rank; NaN stays NaN.
    """
    strength = np.abs(r)
    descending = -np.sort(-strength, axis=0)  # NaN last
    result = np.full(strength.shape, np.nan)
    for feature in range(strength.shape[1]):
        column = strength[:, feature]
        there = ~np.isnan(column)
        in_order = -descending[: there.sum(), feature]
        result[there, feature] = 1 + np.searchsorted(in_order, -column[there], side="left")
    return result


def shifts_needed(units: int, level: float = LEVEL) -> int:
    """How many shifts, or orders of sequences, one unit of so many needs to reach the level after Holm."""
    return math.ceil(units / level)


def _constant_within(features: Floats, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a feature says something of whole sequences only, which a single one cannot show."""
    if len(starts) < 2:
        return np.zeros(features.shape[1], dtype=bool)
    spread = np.maximum.reduceat(features, starts) - np.minimum.reduceat(features, starts)
    result: NDArray[np.bool_] = (spread == 0).all(0)
    return result


class _Shifts:
    """Correlations at all circular shifts, as products of Fourier transforms."""

    def __init__(self, features: Floats) -> None:
        self.steps = len(features)
        self.size: int = fft.next_fast_len(self.steps, real=True)
        if self.size != self.steps:
            # A length with large prime factors is slow to transform. Units twice in a row against one
            # feature and zeros come to the same shifts, and their length may be any.
            self.size = fft.next_fast_len(2 * self.steps - 1, real=True)
        self.transforms = [np.conj(fft.rfft(column.astype(np.float32), n=self.size)) for column in features.T]

    def p(self, units: Floats, observed: Floats) -> Floats:
        """[N, U] and r [U, F] -> [U, F]."""
        result = np.empty(observed.shape)
        if not self.transforms:
            return result
        rows: NDArray[Any] = np.ascontiguousarray(units.T, dtype=np.float32)
        if self.size != self.steps:
            rows = np.concatenate([rows, rows[:, :-1]], axis=1)
        transformed = fft.rfft(rows, n=self.size)
        for feature, other in enumerate(self.transforms):
            shifted = fft.irfft(transformed * other, n=self.size, overwrite_x=True)[:, : self.steps]
            bound = np.abs(observed[:, feature, None]).astype(np.float32) - np.float32(_TIES)
            reached = np.count_nonzero(np.abs(shifted, out=shifted) >= bound, axis=1)
            result[:, feature] = np.maximum(reached, 1) / self.steps
        return result


class _Orders:
    """Correlations after sequences were given each other's values."""

    def __init__(
        self, features: Floats, lengths: NDArray[np.int64], starts: NDArray[np.int64], count: int, seed: int
    ) -> None:
        self.starts = starts
        self.least = np.empty(features.shape[1])
        self.drawn: list[Floats] = []
        generator = np.random.default_rng(seed)
        for place, column in enumerate(features.T):
            values = column[starts]
            _, counts = np.unique(values, return_counts=True)
            different = math.lgamma(len(values) + 1) - sum(math.lgamma(n + 1) for n in counts)
            self.least[place] = max(1.0 / (count + 1), math.exp(-different))
            orders = generator.permuted(np.tile(values, (count, 1)), axis=1)
            # Lengths differ, so another order has another mean and another spread over the steps.
            mean = orders @ lengths / lengths.sum()
            spread = np.sqrt(np.maximum(np.square(orders) @ lengths - lengths.sum() * mean**2, 0.0))
            orders /= np.where(spread > 0, spread, np.inf)[:, None]
            self.drawn.append(orders.astype(np.float32))  # there may be many sequences and labels

    def p(self, units: Floats, observed: Floats) -> Floats:
        """[N, U] and r [U, F] -> [U, F]."""
        result = np.empty(observed.shape)
        # [S, U]; the mean of a unit is 0, so that of a feature is no matter.
        sums = np.add.reduceat(units, self.starts).astype(np.float32)
        products = np.empty((_ORDERS_AT_ONCE, len(observed)), dtype=np.float32)
        reached = np.empty(products.shape, dtype=bool)
        for feature, orders in enumerate(self.drawn):
            bound = (np.abs(observed[:, feature]) - _TIES).astype(np.float32)
            total = np.zeros(len(observed), dtype=np.int64)
            for first in range(0, len(orders), _ORDERS_AT_ONCE):
                some = orders[first : first + _ORDERS_AT_ONCE]
                found = np.matmul(some, sums, out=products[: len(some)])
                np.greater_equal(np.abs(found, out=found), bound, out=reached[: len(some)])
                total += reached[: len(some)].view(np.uint8).sum(0, dtype=np.uint8)
            result[:, feature] = (1 + total) / (1 + len(orders))
        return result
