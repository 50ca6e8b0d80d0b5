"""Whether one forecast is better than another by more than chance: the test of Diebold and Mariano."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FEWEST = 10
"""Differences; fewer tell nothing."""


class DieboldMariano(NamedTuple):
    """The result of the test; negative where the first forecast has the smaller losses."""

    statistic: float
    p: float
    """Two-sided: how probable a difference of at least that size is between forecasts equally good."""
    origins: int
    """Differences that it rests on."""
    lag: int
    over: str
    """What differs: ``windows``, ``times`` (means over the series) or ``series`` (the mean of each)."""


def diebold_mariano(
    differences: NDArray[np.float64], lag: int, over: str = "windows"
) -> DieboldMariano | None:
    """Test whether the mean of loss differences [N], in the order of their origins, is zero.

    The variance is that of Newey and West with Bartlett weights up to ``lag``: forecasts of h steps, one step
    apart, have errors in common up to lag h - 1. The statistic has the correction of Harvey, Leybourne and
    Newbold (1997) and is compared with Student's t of N - 1 degrees of freedom. None where there are too few
    differences, or they do not vary.
    """
    from scipy.stats import t

    count, horizon = len(differences), lag + 1
    if count < max(FEWEST, horizon + 1):
        return None
    mean = differences.mean()
    centred = differences - mean
    variance = float(centred @ centred) / count
    for step in range(1, horizon):
        variance += 2 * (1 - step / horizon) * float(centred[step:] @ centred[:-step]) / count
    if not variance > 1e-12 * float(np.abs(differences).mean()) ** 2:
        return None
    correction = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    statistic = math.sqrt(correction) * mean / math.sqrt(variance / count)
    return DieboldMariano(statistic, float(2 * t.sf(abs(statistic), count - 1)), count, lag, over)


def compared(
    differences: NDArray[np.float64], series: NDArray[np.int64], times: NDArray[np.int64] | None, lag: int
) -> DieboldMariano | None:
    """The test over windows [N] of one or many series.

    Of many series, the differences are averaged at each of ``times``, the places of the origins in time
    (Timmermann & Zhu, 2019: series err together). Where there are too few times for that, as where each
    series has one window, those of each series are averaged and taken to be independent. A difference that is
    NaN is left out.
    """
    there = ~np.isnan(differences)
    differences, series = differences[there], series[there]
    if len(np.unique(series)) <= 1:
        return diebold_mariano(differences, lag)
    if times is not None:
        means = _means(differences, times[there])
        if len(means) > min(3 * (lag + 1), len(np.unique(series))):
            return diebold_mariano(means, lag, "times")
    return diebold_mariano(_means(differences, series), 0, "series")


def _means(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean of each group, in their order."""
    _, places = np.unique(groups, return_inverse=True)
    means: NDArray[np.float64] = np.bincount(places, values) / np.bincount(places)
    return means


MANY_TIMES = 900
"""Percent from which on a larger error is told as a multiple."""


def in_words(best: str, own_mse: float, other_mse: float, test: DieboldMariano | None) -> str:
    """The line below a test's results: how the model compares with the best baseline."""
    change = (own_mse / other_mse - 1) * 100 if other_mse > 0 else math.nan
    if not math.isfinite(change):
        return f"Beside {best}, the best baseline: its MSE is {other_mse:g}, this run's {own_mse:g}"
    which = "lower" if change < 0 else "higher"
    share = f"MSE {which} by {abs(change):.{1 if abs(change) < 10 else 0}f} %"
    if change >= MANY_TIMES:
        share = f"MSE {own_mse / other_mse:.3g} times as high"
    if test is None:
        return f"Beside {best}, the best baseline: {share}; too few windows to say whether by chance"
    p = "p < .001" if test.p < 0.001 else f"p = {test.p:.3f}".replace("0.", ".", 1)
    rests = f"Diebold-Mariano {test.statistic:.2f} over {test.origins:,} {test.over}, {p}"
    if test.p >= 0.05:
        which = "better" if change < 0 else "worse"
        return f"Not clearly {which} than {best}, the best baseline: {share} ({rests})"
    # The mean of the windows' means may differ from the mean of all values where some are missing.
    better = "Better" if test.statistic < 0 else "Worse"
    return f"{better} than {best}, the best baseline: {share} ({rests})"
