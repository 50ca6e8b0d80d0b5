"""The windows of the rows before a test, some at a time: their table may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

ROWS = 100_000
"""Most rows that are worked on together, unless a window alone is longer."""


def starts_of_windows(starts: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The first rows of all windows of ``size`` rows within rows ``starts`` to ``ends`` of each series."""
    counts = np.maximum(ends - starts - size + 1, 0)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    first: NDArray[np.int64] = np.repeat(starts, counts) + np.arange(counts.sum()) - before
    return first


def pieces(starts: NDArray[np.int64], size: int, most: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """The rising first rows of windows of ``size`` rows, at most ``most`` (one or more) at a time.

    Each piece comes with the rows that its windows lie in, about ``ROWS`` at most, and its first rows are
    counted from the first one of these.
    """
    first = 0
    while first < len(starts):
        row = starts[first]
        last = min(first + most, int(np.searchsorted(starts, row + max(ROWS - size, 0), side="right")))
        yield slice(int(row), int(starts[last - 1]) + size), starts[first:last] - row
        first = last
