"""The mean of the newest steps, of as many as have forecast best so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory
from gatewise.tasks.forecast_history import ROWS, pieces, starts_of_windows

WITHOUT_SEASON = 4
"""Steps of the mean where there is neither a season nor anything to choose by."""
MOST_WINDOWS = 1_000_000
"""By which a length is chosen: of more, only every so many."""


def usual_length(facts: SeriesFacts) -> int:
    """One season where a window shows a whole one, else a few steps."""
    has_season = 1 < facts.season <= facts.lookback
    return facts.season if has_season else min(WITHOUT_SEASON, facts.lookback)


def possible_lengths(facts: SeriesFacts) -> list[int]:
    """Powers of two, whole seasons and the lookback; one step would be the last value."""
    lookback, season = facts.lookback, facts.season
    powers = {2**power for power in range(1, lookback.bit_length()) if 2**power <= lookback}
    seasons = set(range(season, lookback + 1, season)) if season > 1 else set()
    return sorted({usual_length(facts), lookback} | powers | seasons)


@dataclass
class MovingAverage:
    """The mean of the newest steps of each target, repeated."""

    lengths: Tensor
    """[C_targets] int64: steps of the mean."""
    horizon: int

    @classmethod
    def usual(cls, facts: SeriesFacts) -> MovingAverage:
        """Of one season, or a few steps."""
        return cls(torch.full((len(facts.targets),), usual_length(facts)), facts.horizon)

    @classmethod
    def fitted(cls, history: SeriesHistory, facts: SeriesFacts) -> MovingAverage:
        """Of each target the length with the least squared error in the validation part.

        Where that has no window, the training part chooses.
        """
        size = facts.lookback + facts.horizon
        first = np.maximum(history.starts, history.training_ends - facts.lookback)
        starts = starts_of_windows(first, history.ends, size)
        if not len(starts):
            starts = starts_of_windows(history.starts, history.training_ends, size)
        if not len(starts):
            return cls.usual(facts)
        starts = starts[:: -(-len(starts) // MOST_WINDOWS)]
        lengths = possible_lengths(facts)
        errors = np.stack(
            [_errors(history, place, starts, lengths, facts) for place in range(len(facts.targets))],
            axis=1,
        )
        return cls(torch.tensor(lengths)[torch.from_numpy(errors.argmin(0))], facts.horizon)

    def __call__(self, seen: Tensor, series: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The forecasts [B, horizon, C_targets] for values seen [B, L, C_targets]."""
        steps = torch.arange(seen.shape[1], 0, -1, device=seen.device)[:, None]
        lengths = self.lengths.to(seen.device).clamp(max=seen.shape[1])
        weights = (steps <= lengths) / lengths
        mean = (seen * weights.to(seen.dtype)).sum(1, keepdim=True)
        return mean.expand(-1, self.horizon, -1)


def _errors(
    history: SeriesHistory, place: int, starts: NDArray[np.int64], lengths: list[int], facts: SeriesFacts
) -> NDArray[np.float64]:
    """The sum of a target's squared errors in windows, by the mean of each length of rows before."""
    lookback, horizon = facts.lookback, facts.horizon
    errors = np.zeros(len(lengths))
    for rows, first in pieces(starts, lookback + horizon, ROWS):
        values = history.targets(rows, place).astype(np.float64)
        there, origins = ~np.isnan(values), first + lookback
        known = np.where(there, values, 0)
        seen = _summed(values if there.all() else _carried(values, there, history, place, rows.start))
        count, one, two = (
            each[origins + horizon] - each[origins]
            for each in (_summed(there.astype(np.float64)), _summed(known), _summed(known**2))
        )
        for number, length in enumerate(lengths):
            mean = (seen[origins] - seen[origins - length]) / length
            errors[number] += (two - 2 * mean * one + count * mean**2).sum()
    return errors


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows + 1]: the sum of all rows before each."""
    return np.concatenate([[0.0], values.cumsum()])


def _carried(
    values: NDArray[np.float64], there: NDArray[np.bool_], history: SeriesHistory, place: int, row: int
) -> NDArray[np.float64]:
    """Values from ``row`` on whose gaps are the last one before in their series; 0, the training mean,
    before the first.
    """
    rows = np.arange(len(values))
    last = np.maximum.accumulate(np.where(there, rows, -1))
    first = history.starts[np.searchsorted(history.starts, row + rows, side="right") - 1] - row
    before = history.targets(slice(row + first[0], row), place)
    before = before[~np.isnan(before)]
    own = np.where(first <= 0, before[-1] if len(before) else 0.0, 0.0)
    result: NDArray[np.float64] = np.where(last >= np.maximum(first, 0), values[np.maximum(last, 0)], own)
    return result
