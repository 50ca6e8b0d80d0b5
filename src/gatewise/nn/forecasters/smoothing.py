"""Exponential smoothing whose weights are learnt: the level and the seasons of windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.nn.forecasters.shape import Shape, Window

SmoothingName = Literal["window", "series"]


class Smoothed(NamedTuple):
    """What is left out of some windows, and added to what is forecast after them."""

    level: Tensor
    """[B, 1, C]: at the last step."""
    seen: Tensor
    """[B, L, C]: the season of every step."""
    ahead: Tensor
    """[B, S, C]: the season of each step to come, from the next one on."""


class Smoothing(nn.Module, ABC):
    """Two numbers of every target of every series: how much level and season take from each new value.

    A series that the training has not seen has the mean of them all.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.season, self.targets = shape.season, list(shape.targets)
        self.count = max(shape.series, 1)
        # In the form of a sigmoid: .5 of the level and .2 of the season to begin with.
        start = torch.tensor([0.0, -1.4]).view(1, 2, 1)
        self.weight = nn.Parameter(start.repeat(self.count, 1, len(self.targets)))

    @abstractmethod
    def forward(self, values: Tensor, there: Tensor | None, window: Window) -> Smoothed:
        """Smooth values [B, L, C], of which some may be missing: ``there`` [B, L, C] is 0 for these."""

    def of_series(self, table: Tensor, window: Window, batch: int) -> Tensor:
        """The entries [B, ...] of a table [series, ...] for some windows."""
        table = torch.cat([table, table.mean(0, keepdim=True)])
        number = window.series
        return table[table.new_zeros(batch, dtype=torch.long) if number is None else number]


class WindowSmoothing(Smoothing):
    """The level and the seasons that a window shows.

    A season's value is the mean over the window's seasons of how far that place lies from its season's mean;
    the level is the mean over all steps without the seasons. Both are weighted: a step by (1 - a)^age, a
    season by (1 - g)^age. A lookback of two seasons or more is meant.
    """

    def forward(self, values: Tensor, there: Tensor | None, window: Window) -> Smoothed:
        there = torch.ones_like(values) if there is None else there
        # The logarithms of how much every step and season counts of the one after it.
        shares = F.logsigmoid(-self.of_series(self.weight, window, len(values)))
        keep_level, keep_season = shares.unbind(1)
        season = self._seasons(values, there, keep_season)
        # The step before the forecast is the last place of the season that ends there.
        places = torch.arange(-values.shape[1], 0, device=values.device) % season.shape[1]
        seen = season[:, places]
        return Smoothed(_weighted(values - seen, there, keep_level), seen, season)

    def _seasons(self, values: Tensor, there: Tensor, keep: Tensor) -> Tensor:
        """How far each place of a season lies from its mean, [B, S, C]; 0 where there is no whole season."""
        batch, steps, targets = values.shape
        count = steps // self.season
        if self.season == 1 or count == 0:
            return values.new_zeros(batch, 1, targets)
        size = (batch, count, self.season, targets)
        whole, real = (part[:, -count * self.season :].reshape(size) for part in (values, there))
        mean = (whole * real).sum(2, keepdim=True) / real.sum(2, keepdim=True).clamp(min=1)
        apart = ((whole - mean) * real).flatten(2)
        season = _weighted(apart, real.flatten(2), keep.repeat(1, self.season)).view(
            batch, self.season, targets
        )
        return season - season.mean(1, keepdim=True)


class SeriesSmoothing(Smoothing):
    """Exponential smoothing from first seasons on that are weights of each series as well.

    l_t = a (y_t - s_t) + (1 - a) l_(t-1) and s_(t+S) = g (y_t - l_t) + (1 - g) s_t, as Holt and Winters have
    it without a trend, which is the net's to find (Smyl 2020). The first level is that of the first value
    there is. A value that is missing leaves level and season as they are.

    Where windows begin with their series (``data.lookback`` as long as the longest, with
    ``data.short_series=pad``), this is the smoothing of the whole series; else the first seasons stand for
    what came before.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.first = None
        if self.season > 1:
            self.first = nn.Parameter(torch.zeros(self.count, self.season, len(self.targets)))
            """[series, S, C]: the season at each place, before anything is smoothed; a new training begins
            with that of its training part."""

    def forward(self, values: Tensor, there: Tensor | None, window: Window) -> Smoothed:
        steps = values.shape[1]
        shares = self.of_series(self.weight, window, len(values)).sigmoid()
        take_level, take_season = shares.unsqueeze(2).unbind(1)
        season = self._first(values, window)
        length = season.shape[1] if self.first is not None else steps
        # The first value that is there is a level by itself.
        real = torch.ones_like(values) if there is None else there
        is_first = (real.cumsum(1) == 1) & (real > 0)
        share = torch.where(is_first, 1.0, take_level * real)
        level = torch.zeros_like(values[:, :1])
        seen = []
        # A season at a time: within it, no season depends on a level.
        for start in range(0, steps, length):
            some = slice(start, start + length)
            now = season[:, : len(range(steps)[some])]
            seen.append(now.expand_as(values[:, some]))
            levels = _recursion(1 - share[:, some], share[:, some] * (values[:, some] - now), level)
            level = levels[:, -1:]
            if self.first is not None:
                later = now + take_season * real[:, some] * (values[:, some] - levels - now)
                season = torch.cat([season[:, now.shape[1] :], later], 1)
        return Smoothed(level, torch.cat(seen, 1), season)

    def _first(self, values: Tensor, window: Window) -> Tensor:
        """The seasons from each window's first step on, [B, S, C]."""
        if self.first is None:
            return values.new_zeros(len(values), 1, values.shape[2])
        if window.phase is None:
            raise ValueError(
                f"task.smoothing=series learns a season of {self.season} steps, and the times have no "
                f"constant step that says where in it a window begins: set task.smoothing=window, or "
                f"data.season=1"
            )
        places = window.phase[:, None] + torch.arange(self.season, device=values.device)
        places = (places % self.season)[..., None].expand(-1, -1, values.shape[2])
        return self.of_series(self.first, window, len(values)).gather(1, places)


def _recursion(keep: Tensor, added: Tensor, before: Tensor) -> Tensor:
    """x_t = keep_t x_(t-1) + added_t over the steps of [B, T, C], from ``before`` [B, 1, C] on.

    All steps at once, in log2(T) rounds (Hillis & Steele 1986).
    """
    apart = 1
    while apart < keep.shape[1]:
        later = keep[:, apart:]
        added = torch.cat([added[:, :apart], added[:, apart:] + later * added[:, :-apart]], 1)
        keep = torch.cat([keep[:, :apart], later * keep[:, :-apart]], 1)
        apart *= 2
    return added + keep * before


def _weighted(values: Tensor, there: Tensor, log_keep: Tensor) -> Tensor:
    """The mean over T steps [B, T, C] that are there; each counts exp(log_keep) [B, C] of the next."""
    age = torch.arange(values.shape[1] - 1, -1, -1, device=values.device, dtype=values.dtype).view(1, -1, 1)
    # As a softmax, whose sum is never 0, however little the last step that is there counts.
    weights = (age * log_keep.unsqueeze(1)).masked_fill(there == 0, -1e9).softmax(1)
    return (values * weights).sum(1, keepdim=True)


def make_smoothing(name: SmoothingName, shape: Shape) -> Smoothing:
    """The smoothing of a name."""
    return {"window": WindowSmoothing, "series": SeriesSmoothing}[name](shape)
