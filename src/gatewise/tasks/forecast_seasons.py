"""The season that each series shows in its training part, for a smoothing that is learnt to begin with."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.series import SeriesFacts, SeriesHistory

MOST_SEASONS = 20
"""Of each series, the first ones."""


def first_seasons(history: SeriesHistory, facts: SeriesFacts, logarithm: bool) -> NDArray[np.float64] | None:
    """[series, season, C_targets]: how far each place of the season lies from the mean of its season.

    The mean over the seasons of the training part, without the line through the first and the last; with
    ``logarithm`` of the logarithms in the original units. 0 where there is no whole season, or no value. None
    where the times do not tell the places.
    """
    if history.phases is None:
        return None
    size, targets = facts.season, len(facts.targets)
    found = np.zeros((len(history.starts), size, targets))
    for number, (start, end) in enumerate(zip(history.starts, history.training_ends, strict=True)):
        count = min((end - start) // size, MOST_SEASONS)
        if count < 1:
            continue
        values = history.targets(slice(start, start + count * size), slice(None)).astype(np.float64)
        if logarithm:
            scales = None if history.scales is None else history.scales[number, None]
            values = facts.unscaled(values[None], scales)[0]
            values = np.log(values, out=np.full_like(values, np.nan), where=values > 0)
        season = _season(values.reshape(count, size, targets))
        found[number, (history.phases[number] + np.arange(size)) % size] = season
    return found


def _season(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[S, C] of values [seasons, S, C], of which some may be NaN."""
    count, size, _ = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of places where all is missing
        means = np.nanmean(values, axis=1)
        season = np.nanmean(values - means[:, None], axis=0)
        slope = (means[-1] - means[0]) / max((count - 1) * size, 1)
    season = season - np.nan_to_num(slope) * (np.arange(size) - (size - 1) / 2)[:, None]
    season = np.nan_to_num(season)
    centred: NDArray[np.float64] = season - season.mean(axis=0)
    return centred
