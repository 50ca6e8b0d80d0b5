"""Drawings a little turned, stretched and slanted, as other hands would have written them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Variation:
    """What is drawn for each drawing in each epoch, from (seed, epoch, drawing) alone.

    A turn by up to ``rotate`` degrees either way; width and height times up to exp(``stretch``), or divided
    by it; a slant that moves a point by up to ``shear`` times its height.
    """

    rotate: float
    stretch: float
    shear: float
    seed: int
    epoch: Callable[[], int] = lambda: 0
    _drawn: tuple[tuple[int, int], NDArray[np.float64]] | None = field(default=None, repr=False)

    @property
    def is_any(self) -> bool:
        return bool(self.rotate or self.stretch or self.shear)

    def matrices(self, size: int) -> NDArray[np.float64]:
        """[size, 2, 2]: what the points of each drawing are multiplied with in this epoch."""
        key = size, self.epoch()
        if self._drawn is None or self._drawn[0] != key:
            draws = np.random.default_rng([self.seed, key[1], 2]).uniform(-1, 1, (size, 4))
            self._drawn = key, self._made(draws)
        return self._drawn[1]

    def _made(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = draws[:, 0] * np.radians(self.rotate)
        wide, high = np.exp(draws[:, 1:3].T * self.stretch)
        slant = draws[:, 3] * self.shear
        cosine, sine = np.cos(angle), np.sin(angle)
        turned = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
        slanted = np.zeros((len(draws), 2, 2))
        slanted[:, 0, 0], slanted[:, 0, 1], slanted[:, 1, 1] = wide, wide * slant, high
        return turned @ slanted
