"""A whole-sequence kernel, compiled in one variant, and how it is launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from gatewise.engine.cuda.launcher import Launcher
from gatewise.engine.cuda.plan import models_at_once
from gatewise.engine.cuda.variant import GRID, Shape, Variant


class _Launch(NamedTuple):
    """What a launch for one batch takes."""

    blocks: int
    threads: int
    shared: int
    """Bytes of shared memory of a block."""
    cluster: int
    """Blocks of a cluster."""
    cooperative: bool
    """Whether all blocks run at once."""


@dataclass(frozen=True, eq=False)
class SequenceKernel:
    """One direction of a cell, compiled in one variant."""

    shape: Shape
    variant: Variant
    launcher: Launcher
    function: Any
    _launches: dict[int, _Launch] = field(default_factory=dict)
    """For each batch that it is ready for."""

    @cached_property
    def polled(self) -> bool:
        """Whether blocks poll what others hand on."""
        return self.variant.exchange == GRID and self.shape.recurrent > 0

    def prepare(self, batch: int, models: int = 1) -> None:
        """Make it ready for a batch of each model. Raises Unsupported where the GPU cannot run it."""
        variant, shape = self.variant, self.shape
        blocks = -(-batch // (8 * variant.tiles)) * variant.blocks
        threads, shared = variant.warps(shape) * 32, variant.shared(shape)
        numbers = _Launch(blocks, threads, shared, variant.cluster, variant.exchange == GRID)
        at_once = self._at_once(batch, models)
        self.launcher.prepare(self.function, blocks * at_once, *numbers[1:])
        self._launches[batch] = numbers

    def launch(self, words: Sequence[int], batch: int, models: int = 1) -> None:
        """Start it for a batch that it is ready for.

        Models follow in further launches where not all blocks that poll each other run at once. The words
        lack the last, which is the first model of a launch.
        """
        numbers = self._launches[batch]
        if models == 1:
            return self.launcher.launch(self.function, (*words, 0), *numbers)
        at_once = self._at_once(batch, models)
        for first in range(0, models, at_once):
            here = min(at_once, models - first)
            self.launcher.launch(self.function, (*words, first), *numbers, models=here)
        return None

    def _at_once(self, batch: int, models: int) -> int:
        """How many of the models one launch has."""
        if self.variant.exchange != GRID:
            return models
        return max(1, min(models, models_at_once(self.variant, batch, self.launcher.gpu)))
