"""How long a state is remembered, told from the share of it that every step keeps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.inspection.standardised import Floats, without_padding

_NOTHING = float(np.log(np.finfo(np.float64).tiny))
"""In the place of log 0: far below one half, and a sum of many of them is still exact to 1e-9."""
_ROUNDING = 1e-9
"""A product that equals one half but for rounding has not fallen below it."""
_BLOCK = 1 << 18
"""Values worked on at once, so that the tables of minima take tens of megabytes whatever the input."""


class HalfLife(NamedTuple):
    """Lags in steps, [U] each: infinite where not reached within the input, NaN where a unit has NaN."""

    median: Floats
    low: Floats
    """The lower quartile."""
    high: Floats
    """The upper quartile."""
    forgotten: Floats
    """Share of the starts of which less than one half was left before the input ended."""


def kept_product(kept: Floats, start: int, *, reverse: bool = False) -> Floats:
    """What is left of the state after step ``start``, as a share: [T, U] -> [T, U].

    It is 1 at the step itself, then the product of \\|kept\\| over the steps that followed, and NaN at the
    steps that came before. In the reverse direction the steps that follow are the ones to the left.
    """
    factors = np.abs(np.asarray(kept, dtype=np.float64))
    if not 0 <= start < len(factors):
        raise ValueError(f"step {start} is none of the {len(factors)} steps: choose 0 to {len(factors) - 1}")
    product = np.full(factors.shape, np.nan)
    product[start] = 1.0
    if reverse:
        product[:start] = np.cumprod(factors[:start][::-1], axis=0)[::-1]
    else:
        product[start + 1 :] = np.cumprod(factors[start + 1 :], axis=0)
    return product


def half_life(kept: Floats, *, reverse: bool = False) -> HalfLife:
    """Lag at which the product of \\|kept\\| first falls below one half, over all starts: [T, U] -> [U].

    A start is the state after a step; its lag is the number of further steps until less than one half of it
    is left. The input ends before many starts get there: of a start n steps before the end one only knows
    that its lag is more than n. Leaving those out would make memory look short, and calling them endless
    would make it look long, the more so the shorter the input. They are therefore counted as in survival
    analysis (Kaplan & Meier, "Nonparametric Estimation from Incomplete Observations", 1958): at every lag the
    share that falls is taken of the starts that were observed that long, and the shares that remain are
    multiplied. The median is the lag at which the share that remains has come down to one half, infinite
    where it never does; likewise the quartiles. Where every start falls these are the plain quantiles.

    Steps that are NaN in all units are padding. Takes time and memory of T log T · U, by blocks of units.
    """
    factors = without_padding(np.asarray(kept, dtype=np.float64))
    if reverse:
        factors = factors[::-1]
    steps, units = factors.shape
    results = np.full((4, units), np.nan)
    width = max(1, _BLOCK // max(1, steps))
    for first in range(0, units, width):
        block = factors[:, first : first + width]
        lags = _lags(block)
        results[:, first : first + width] = _quantiles(lags)
    results[:, ~np.isfinite(factors).all(0)] = np.nan
    return HalfLife(*results)


def _lags(factors: Floats) -> NDArray[np.int64]:
    """For every start the lag, 0 where the input ends before: [T, U] -> [T - 1, U]."""
    steps, units = factors.shape
    if steps < 2:
        return np.zeros((0, units), dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.abs(factors.T))
    logs = np.nan_to_num(np.maximum(logs, _NOTHING), nan=0.0, posinf=0.0)
    left = np.cumsum(logs, axis=1)
    limit = left[:, :-1] - (np.log(2.0) + _ROUNDING)
    # The first later step with left < limit. Factors above 1 let it rise again, so it cannot be searched by
    # halving; instead steps are skipped by powers of two while the least of the skipped ones is not below.
    # One more column stands for the end of the input, which no start gets past. Memory that is short needs
    # few powers: those that no start can skip are not made.
    least = [np.concatenate([left, np.full((units, 1), -np.inf)], axis=1)]
    while (least[-1][:, 1:steps] >= limit).any():
        half = 1 << (len(least) - 1)
        shifted = np.concatenate([least[-1][:, half:], np.full((units, half), -np.inf)], axis=1)
        least.append(np.minimum(least[-1], shifted))
    row = (np.arange(units) * (steps + 1))[:, None]
    place = row + np.arange(1, steps)
    end = row + steps
    for power in reversed(range(len(least) - 1)):
        place = place + (least[power].ravel()[place] >= limit) * (1 << power)
    lags = place - row - np.arange(steps - 1)
    return np.where(place < end, lags, 0).T


def _quantiles(lags: NDArray[np.int64]) -> Floats:
    """Median, lower and upper quartile, and the share that fell: [S, U] -> [4, U]."""
    starts, units = lags.shape
    if not starts:
        return np.concatenate([np.full((3, units), np.inf), np.zeros((1, units))])
    observed = np.arange(starts, 0, -1)[:, None]
    fell = lags > 0
    until = np.where(fell, lags, observed)
    cells = until * units + np.arange(units)
    shape = starts + 1, units
    size = (starts + 1) * units
    ended = np.bincount(cells.ravel(), minlength=size).reshape(shape)
    falls = np.bincount(cells[fell], minlength=size).reshape(shape)
    watched = ended[::-1].cumsum(0)[::-1]  # starts that neither fell nor ended before this lag
    remaining = np.cumprod(1.0 - falls / np.maximum(watched, 1), axis=0)

    def lag_of(share: float) -> Floats:
        reached = remaining <= share + _ROUNDING
        return np.where(reached.any(0), reached.argmax(0), np.inf)

    return np.stack([lag_of(0.5), lag_of(0.75), lag_of(0.25), fell.mean(0)])
