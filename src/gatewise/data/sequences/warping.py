"""Dynamic time warping between many pairs of sequences at once, and the nearest neighbours it gives.

The distance of two sequences is the least sum of squared differences, over all features together
("dependent" warping), along a path from their first steps to their last that moves by one step in one of them
or in both (Sakoe & Chiba, 1978). A window keeps the path within a share of the longer one's length of the
diagonal. A wider window only allows more paths, so that its distance is a lower bound for a narrower one:
neighbours within a window need few distances once those without a window are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTS = tuple(range(101))
"""Windows that are tried, in percent of the longer sequence; 100 is none."""
_AT_ONCE = 16384
"""Cells of a diagonal that are computed at once: so many fit into a processor's second cache."""


@dataclass(frozen=True)
class Stacked:
    """N sequences of F features, padded at the end to the longest."""

    values: NDArray[np.float64]
    """[F, T, N]"""
    lengths: NDArray[np.int64]
    """[N]"""

    @classmethod
    def of(cls, sequences: Sequence[NDArray[np.float64]]) -> Stacked:
        """Of sequences [T, F]."""
        lengths = np.array([len(sequence) for sequence in sequences])
        values = np.zeros((sequences[0].shape[1], int(lengths.max()), len(sequences)))
        for place, sequence in enumerate(sequences):
            values[:, : len(sequence), place] = sequence.T
        return cls(values, lengths)

    def __len__(self) -> int:
        return len(self.lengths)


def radius(first: NDArray[np.int64], second: NDArray[np.int64], percent: int) -> NDArray[np.int64]:
    """How far from the diagonal a path may lead, for the lengths of two sequences.

    It is at least what the difference of their lengths needs.
    """
    longer = np.maximum(first, second)
    radii: NDArray[np.int64] = np.maximum(-(-longer * percent // 100), np.abs(first - second))
    return radii


def distances(
    first: Stacked, second: Stacked, pairs: NDArray[np.int64], percent: int = 100
) -> NDArray[np.float64]:
    """[P]: the distance of each of the ``pairs`` [P, 2] of indices, within a window of ``percent``."""
    lengths = (first.lengths[pairs[:, 0]], second.lengths[pairs[:, 1]])
    found = np.empty(len(pairs))
    order = np.lexsort(lengths)
    start = 0
    while start < len(order):
        # The longest of a batch is not known before its size; the pairs are in order of length.
        chosen = order[start : start + _size(lengths, order[start : start + _AT_ONCE], percent)]
        start += len(chosen)
        n, m = (side[chosen] for side in lengths)
        left = first.values[:, : n.max()].take(pairs[chosen, 0], axis=2)
        right = second.values[:, m.max() - 1 :: -1].take(pairs[chosen, 1], axis=2)
        found[chosen] = _least_sums(left, right, n, m, radius(n, m, percent))
    return found


def _size(lengths: Sequence[NDArray[np.int64]], ahead: NDArray[np.int64], percent: int) -> int:
    """How many pairs are computed at once, of those ``ahead``."""
    n, m = (side[ahead] for side in lengths)
    width = np.maximum.accumulate(np.minimum(np.minimum(n, m), radius(n, m, percent) + 1))
    fits = int(np.searchsorted(width * np.arange(1, len(ahead) + 1), _AT_ONCE, side="right"))
    return max(fits, 1)


def _least_sums(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    n: NDArray[np.int64],
    m: NDArray[np.int64],
    radii: NDArray[np.int64],
) -> NDArray[np.float64]:
    """[P]: the least sums over paths of pairs ``left`` [F, N, P] and ``right`` [F, M, P], that reversed.

    Computed by diagonals, of which each follows from the two before: row i + 1 of a buffer is step i of
    ``left``, and a row just outside of the diagonal is infinite.
    """
    (features, rows, size), columns = left.shape, right.shape[1]
    widest, is_uneven = int(radii.max()), bool((radii != radii[0]).any())
    before, previous, current = (np.full((rows + 2, size), np.inf) for _ in range(3))
    cost, least = np.empty((rows, size)), np.empty((rows, size))
    before[0] = 0.0
    sums = np.empty(size)
    last = n + m - 2
    ends = set(last.tolist())
    for diagonal in range(int(last.max()) + 1):
        low = max(0, diagonal - columns + 1, -(-(diagonal - widest) // 2))
        high = min(rows - 1, diagonal, (diagonal + widest) // 2) + 1
        count, shift = high - low, columns - 1 - diagonal
        new, step = current[low + 1 : high + 1], cost[:count]
        for feature in range(features):
            part = new if feature == 0 else step
            np.subtract(left[feature, low:high], right[feature, shift + low : shift + high], out=part)
            np.multiply(part, part, out=part)
            if feature:
                new += step
        if is_uneven:
            off = np.abs(2 * np.arange(low, high) - diagonal)
            new[off[:, None] > radii] = np.inf
        best = np.minimum(previous[low:high], previous[low + 1 : high + 1], out=least[:count])
        new += np.minimum(best, before[low:high], out=best)
        current[low] = current[high + 1] = np.inf
        if diagonal == 0:
            before[0] = np.inf
        if diagonal in ends:
            done = np.flatnonzero(last == diagonal)
            sums[done] = current[n[done], done]
        before, previous, current = previous, current, before
    return sums


def all_distances(first: Stacked, second: Stacked) -> NDArray[np.float64]:
    """[N, M]: the distance of every pair, without a window."""
    pairs = np.stack(np.divmod(np.arange(len(first) * len(second)), len(second)), 1)
    return distances(first, second, pairs).reshape(len(first), len(second))


def distances_among(sequences: Stacked) -> NDArray[np.float64]:
    """[N, N]: the distance of every pair, without a window; of one with itself infinite."""
    found = np.full((len(sequences),) * 2, np.inf)
    above = np.triu_indices(len(sequences), 1)
    found[above] = distances(sequences, sequences, np.stack(above, 1))
    both: NDArray[np.float64] = np.minimum(found, found.T)
    return both


def nearest(
    first: Stacked, second: Stacked, bounds: NDArray[np.float64], percent: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N]: for each of ``first`` the nearest of ``second`` within a window, of equally near ones the first.

    ``bounds`` [N, M] are lower bounds of the distances; returned are also those, with the distances that had
    to be computed.
    """
    known = np.zeros(bounds.shape, bool)
    bounds = bounds.copy()
    at_once = 1
    while True:
        best = np.where(known, bounds, np.inf).min(1, initial=np.inf)
        open_bounds = np.where(known | (bounds > best[:, None]) | np.isinf(bounds), np.inf, bounds)
        chosen = np.argpartition(open_bounds, min(at_once, bounds.shape[1]) - 1, axis=1)[:, :at_once]
        rows = np.repeat(np.arange(len(bounds)), chosen.shape[1])
        pairs = np.stack((rows, chosen.reshape(-1)), 1)
        pairs = pairs[np.isfinite(open_bounds[pairs[:, 0], pairs[:, 1]])]
        if not len(pairs):
            return np.where(known, bounds, np.inf).argmin(1), bounds
        bounds[pairs[:, 0], pairs[:, 1]] = distances(first, second, pairs, percent)
        known[pairs[:, 0], pairs[:, 1]] = True
        at_once *= 2
