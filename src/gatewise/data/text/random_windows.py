"""Windows of random length for truncated BPTT."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

SHORT_SHARE = 0.05
"""Share of windows whose length is drawn around half the usual one."""
DEVIATION, SHORTEST = 5.0, 5
_FULL_SHARE = 1 - SHORT_SHARE / 2
"""The mean length, as a share of the usual one."""


class RandomWindows(Sampler[slice]):
    """Sampler of one epoch's windows, as slices over the steps of a lane, one after the other.

    Each length is drawn from a normal distribution around ``window``, or of one in twenty around half of it,
    with a deviation of 5 steps and at least 5 (Merity, Keskar & Socher, "Regularizing and Optimizing LSTM
    Language Models", ICLR 2018). All lengths are then stretched alike, by a percent or so in a long text, to
    fill the lane: every epoch has the same number of windows and reads every token once. The draw depends
    only on (seed, epoch), so a resumed epoch sees the same windows as an uninterrupted one.
    """

    def __init__(self, length: int, window: int, seed: int, epoch: Callable[[], int] = lambda: 0) -> None:
        self.length, self.window, self.seed, self.epoch = length, window, seed, epoch
        self.start = 0
        """Windows that the next pass skips, because a resumed epoch has seen them already."""

    def __len__(self) -> int:
        return max(round(self.length / (_FULL_SHARE * self.window)), 1)

    def __iter__(self) -> Iterator[slice]:
        first, self.start = self.start, 0
        random = np.random.default_rng([self.seed, self.epoch()])
        is_short = random.random(len(self)) < SHORT_SHARE
        drawn = random.normal(np.where(is_short, self.window / 2, self.window), DEVIATION)
        ends = np.cumsum(np.maximum(drawn.astype(int), SHORTEST))
        bounds = [0, *np.round(ends * (self.length / ends[-1])).astype(int).tolist()]
        for index in range(first, len(self)):
            yield slice(bounds[index], bounds[index + 1])
