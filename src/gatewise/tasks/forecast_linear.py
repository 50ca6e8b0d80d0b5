"""A linear map from the values seen to the values to come, fitted in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, SeriesHistory
from gatewise.tasks.forecast_history import pieces, starts_of_windows

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties to choose from, as shares of the mean square of an input (the mean of the diagonal)."""
MOST_PRODUCTS = 2e10
"""Multiplications of a fit: about ten seconds. Where all windows take more, only every so many are used."""
MOST_NUMBERS = 5e7
"""Numbers of the matrices of all targets: where they would be more, the targets share one map."""
_AT_ONCE = 500_000
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
        places = [slice(place, place + 1) for place in range(targets)] if own else [slice(None)]
        fit, check = (_Products.none(facts.lookback + 1, facts.horizon) for _ in range(2))
        errors = [0.0] * len(PENALTIES)
        maps: list[list[Tensor]] = [[] for _ in PENALTIES]
        for place in places:
            one, other = (_summed(history, place, some[::stride], facts) for some in (training, validation))
            fit, check = fit.plus(one), check.plus(other)
            if own:
                for number, weights in enumerate(one.solved()):
                    errors[number] += other.error(weights)
                    maps[number].append(weights.float())
        if not fit.count:
            return None, "No baseline linear: no window of the training part is without missing values"
        found = [
            (check.error(w), cls(w.float()[None], p)) for p, w in zip(PENALTIES, fit.solved(), strict=True)
        ]
        if own:
            owns = zip(errors, maps, PENALTIES, strict=True)
            found += [(error, cls(torch.stack(weights), penalty)) for error, weights, penalty in owns]
        remark = "" if stride == 1 else f"The baseline linear is fitted to every {stride}th training window"
        return min(found, key=lambda each: each[0])[1], remark

    def __call__(self, seen: Tensor, series: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The forecasts [B, horizon, C_targets] for values seen [B, L, C_targets]."""
        last = seen[:, -1:]
        inputs = torch.cat([seen - last, torch.ones_like(last)], 1).float().transpose(1, 2)
        steps = (inputs.transpose(0, 1) @ self.weights.to(seen.device)).permute(1, 2, 0)
        return last + steps.to(seen.dtype)


def _summed(history: SeriesHistory, place: slice, starts: NDArray[np.int64], facts: SeriesFacts) -> _Products:
    """The sums over the windows of one or several columns that miss no value."""
    sums = _Products.none(facts.lookback + 1, facts.horizon)
    size = facts.lookback + facts.horizon
    columns = len(facts.targets[place])
    for rows, first in pieces(starts, size, max(1, _AT_ONCE // (size * columns))):
        values = np.ascontiguousarray(history.targets(rows, place).T, dtype=np.float32)
        chunk = torch.from_numpy(values).unfold(1, size, 1)[:, first].flatten(0, 1).double()
        chunk = chunk[chunk.isfinite().all(1)]
        last = chunk[:, facts.lookback - 1 : facts.lookback]
        x = torch.cat([chunk[:, : facts.lookback] - last, torch.ones_like(last)], 1)
        sums.add(x, chunk[:, facts.lookback :] - last)
    return sums
