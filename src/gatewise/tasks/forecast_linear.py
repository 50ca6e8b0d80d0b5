"""A linear map from the values seen to the values to come, fitted in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties to choose from, as shares of the mean square of an input (the mean of the diagonal)."""
MOST_PRODUCTS = 2e10
"""Multiplications of a fit: about ten seconds. Where all windows take more, only every so many are used."""
MOST_NUMBERS = 5e7
"""Numbers of the matrices of all targets: where they would be more, the targets share one map."""
_AT_ONCE = 2_000_000
"""Numbers of the windows that are added up together."""


@dataclass
class _Products:
    """Sums over windows of the products of inputs x [K] with themselves and with outputs y [h]."""

    xx: Tensor
    xy: Tensor
    yy: float = 0.0
    count: int = 0

    @classmethod
    def none(cls, inputs: int, outputs: int) -> _Products:
        xx, xy = (torch.zeros(inputs, n, dtype=torch.float64) for n in (inputs, outputs))
        return cls(xx, xy)

    def add(self, x: Tensor, y: Tensor) -> None:
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += float(y.square().sum())
        self.count += len(x)

    def plus(self, other: _Products) -> _Products:
        return _Products(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy, self.count + other.count)

    def error(self, weights: Tensor) -> float:
        """The sum of squared errors of y = x @ weights."""
        fit = (weights * (self.xx @ weights)).sum() - 2 * (weights * self.xy).sum()
        return self.yy + float(fit)

    def solved(self) -> Iterator[Tensor]:
        """The ridge weights [K, h] of each of ``PENALTIES``."""
        values, vectors = torch.linalg.eigh(self.xx)
        turned = vectors.T @ self.xy
        scale = float(values.clamp(min=0).mean()) or 1.0
        for penalty in PENALTIES:
            yield vectors @ (turned / (values.clamp(min=0) + penalty * scale)[:, None])


@dataclass
class LinearForecast:
    """Each step's difference from the last value seen, as a linear map of all such differences seen.

    As DLinear's and NLinear's one layer (Zeng et al., "Are Transformers Effective for Time Series
    Forecasting?", 2023), with ridge regression in the place of their training. Whether each target has a map
    of its own or all share one, and the penalty, is what the validation part is forecast best with.
    """

    weights: Tensor
    """[C_targets or 1, L + 1, horizon] float32; the last input is a constant 1."""
    penalty: float = field(default=PENALTIES[0])

    @classmethod
    def fitted(cls, history: SeriesHistory, facts: SeriesFacts) -> tuple[LinearForecast | None, str]:
        """The map, and a line about what was left out; None where no training window is whole."""
        size = facts.lookback + facts.horizon
        training = starts_of_windows(history.starts, history.training_ends, size)
        # A validation window may look back into the training part, but its targets are all behind it.
        first = np.maximum(history.starts, history.training_ends - facts.lookback)
        validation = starts_of_windows(first, history.ends, size)
        targets = len(facts.targets)
        products = float(facts.lookback + 1) * (size + 1) * targets
        stride = max(1, int(np.ceil(len(training) * products / MOST_PRODUCTS)))
        own = targets > 1 and targets * (facts.lookback + 1) * (size + 1) <= MOST_NUMBERS
        # A column at a time: a table may be larger than memory.
        places = [slice(place, place + 1) for place in range(targets)] if own else [slice(None)]
        fits, checks = [], []
        for place in places:
            rows = torch.from_numpy(np.ascontiguousarray(history.values[:, place].T, dtype=np.float32))
            fits.append(_summed(rows, training[::stride], facts))
            checks.append(_summed(rows, validation[::stride], facts))
        if not sum(fit.count for fit in fits):
            return None, "No baseline linear: no window of the training part is without missing values"
        best, least = None, np.inf
        for maps, tests in [([_total(fits)], [_total(checks)]), *([(fits, checks)] if own else [])]:
            solved = zip(*(fit.solved() for fit in maps), strict=True)
            for penalty, weights in zip(PENALTIES, solved, strict=True):
                error = sum(test.error(w) for test, w in zip(tests, weights, strict=True))
                if error < least or best is None:
                    best, least = cls(torch.stack(weights).float(), penalty), error
        remark = "" if stride == 1 else f"The baseline linear is fitted to every {stride}th training window"
        return best, remark

    def __call__(self, seen: Tensor, series: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The forecasts [B, horizon, C_targets] for values seen [B, L, C_targets]."""
        last = seen[:, -1:]
        inputs = torch.cat([seen - last, torch.ones_like(last)], 1).float().transpose(1, 2)
        steps = (inputs.transpose(0, 1) @ self.weights.to(seen.device)).permute(1, 2, 0)
        return last + steps.to(seen.dtype)


def starts_of_windows(starts: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The first rows of all windows of ``size`` rows within rows ``starts`` to ``ends`` of each series."""
    counts = np.maximum(ends - starts - size + 1, 0)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    first: NDArray[np.int64] = np.repeat(starts, counts) + np.arange(counts.sum()) - before
    return first


def _summed(rows: Tensor, starts: NDArray[np.int64], facts: SeriesFacts) -> _Products:
    """The sums over the windows of one or several rows of values that miss none."""
    sums = _Products.none(facts.lookback + 1, facts.horizon)
    size = facts.lookback + facts.horizon
    if not len(starts):
        return sums
    windows = rows.unfold(1, size, 1)
    step = max(1, _AT_ONCE // (size * len(rows)))
    for first in range(0, len(starts), step):
        chunk = windows[:, starts[first : first + step]].flatten(0, 1).double()
        chunk = chunk[chunk.isfinite().all(1)]
        last = chunk[:, facts.lookback - 1 : facts.lookback]
        x = torch.cat([chunk[:, : facts.lookback] - last, torch.ones_like(last)], 1)
        sums.add(x, chunk[:, facts.lookback :] - last)
    return sums


def _total(products: list[_Products]) -> _Products:
    total = products[0]
    for other in products[1:]:
        total = total.plus(other)
    return total
