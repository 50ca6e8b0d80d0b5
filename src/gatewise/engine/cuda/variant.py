"""How the whole-sequence kernels can share their work, and what that takes of a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

BLOCK, CLUSTER, GRID = 0, 1, 2
"""How a block hands its features on: in its own shared memory, in its cluster's, or in global memory."""

MOST_WARPS = 16
REGISTERS = 65536
"""Of a multiprocessor, which has one block at a time."""
MOST_REGISTERS = 224
"""Of a thread, as they are estimated: a thread may have 255, and the compiler takes some more at times."""
ESTIMATED = 0.84
"""The share of the registers there are that an estimate may take, for the same reason."""
CHUNK = 16
"""Words of a row that a step of the product takes."""


@dataclass(frozen=True)
class Calls:
    """What is known of every call of a kernel, which then need not ask; None where a call says it."""

    full: bool = False
    """Whether all sequences have all steps; False where they may or may not."""
    keeps: bool | None = None
    """Whether values are kept for a backward pass."""
    returns: bool | None = None
    """Whether gates and states are returned."""
    masked: bool | None = None
    """Whether the hidden state is masked before its next product."""


@dataclass(frozen=True)
class Shape:
    """What a cell asks for at one size and dtype, in one direction."""

    way: Literal["forward", "backward"]
    hidden: int
    inputs: int
    """Blocks of gates and noise."""
    recurrent: int
    """Recurrent products."""
    states: int
    kept: int
    """Values that are kept of a feature for the backward pass."""
    dtype: torch.dtype
    carried: int = 0
    """Gradients of a feature that come in beside that of the outputs: of other states, and of gates."""
    exact: bool = False
    """Of float32: whether products take all of its digits, and not TF32's alone."""
    kept_of_row: int = 0
    """Values that are kept of a sequence, which are one number for all its features."""
    exchanged: tuple[tuple[int, int], ...] = ()
    """Of each exchange between the phases of a step: values that are reduced, words of a sequence."""
    alive: int = 0
    """Values of a feature that are in registers from one phase to the next, or to what follows the last."""
    own: int = 0
    """Own parameters."""
    calls: Calls = Calls()

    @property
    def halves(self) -> int:
        """Numbers in a word."""
        return 4 // self.dtype.itemsize

    @property
    def kept_words(self) -> int:
        """Words of a kept value of two sequences: in 16 bits where these have float32's range."""
        return 1 if self.dtype == torch.bfloat16 else 2

    @property
    def exchanged_words(self) -> int:
        """Words of a sequence that a block hands on in all exchanges of a step."""
        return sum(words for _, words in self.exchanged)

    @property
    def record_words(self) -> int:
        """Words that are kept of 8 features of 8 sequences."""
        return self.kept * 32 * self.kept_words + 8 * self.kept_of_row


@dataclass(frozen=True)
class Variant:
    """How a tile of sequences is shared; the names are explained in ``sequence.cu``."""

    blocks: int = 1
    split: int = 1
    wsplit: int = 1
    groups: int = 1
    tiles: int = 1
    exchange: int = BLOCK
    depth: int = 4
    at_once: int = 4
    """Tiles of sequences that a warp multiplies at a time, where there are so many."""
    staged: bool = False
    """Whether a block fetches only so many at a time: for rows that shared memory does not hold all of."""
    eights: int = 2
    """Backward, how many times 8 features a tile of the tensor cores has; with 1, its other half is 0."""

    @property
    def cluster(self) -> int:
        """Blocks of a cluster; 0 without one."""
        if self.exchange == CLUSTER:
            return self.blocks
        return self.split if self.split > 1 else 0

    @property
    def passes(self) -> int:
        """Tiles of sequences that a warp multiplies at a time."""
        return min(self.tiles, self.at_once)

    def rows_of_a_tile(self, shape: Shape) -> int:
        """Features in a tile of the tensor cores: forward, each has two gates of 8."""
        return 8 if shape.way == "forward" else 8 * self.eights

    def of_block(self, shape: Shape) -> int:
        """Features of a block: whole rows of the tensor cores' tiles, which blocks that split a sum share."""
        rows = 8 if self.split > 1 else self.rows_of_a_tile(shape)
        return math.ceil(shape.hidden / self.blocks / rows) * rows

    def warps(self, shape: Shape) -> int:
        """Warps of a block; 0 where they do not come out even."""
        count, rest = divmod(self.of_block(shape) * self.split, self.rows_of_a_tile(shape) * self.groups)
        return 0 if rest else count * self.wsplit

    def part(self, shape: Shape) -> int:
        """Words of a row that a block multiplies."""
        row = shape.hidden // shape.halves * (1 if shape.way == "forward" else shape.recurrent)
        if self.exchange == CLUSTER and self.split > 1:
            words = self.of_block(shape) // shape.halves * (1 if shape.way == "forward" else shape.recurrent)
        else:
            words = -(-row // self.split)
        return -(-words // CHUNK) * CHUNK

    def units(self, shape: Shape) -> int:
        """Units of 8 features of 8 sequences that a warp computes."""
        if self.split * self.wsplit == 1:
            return self.groups * self.tiles * (1 if shape.way == "forward" else self.eights)
        return -(-(self.of_block(shape) // 8 * self.tiles) // self.warps(shape))

    def shared(self, shape: Shape) -> int:
        """Bytes of shared memory of a block."""
        unit, sums = 32 * (3 - shape.halves), self.split * self.wsplit
        exchanged = summed = 0
        biases = self.of_block(shape) * shape.inputs if shape.way == "forward" else 0
        if shape.recurrent:
            buffers = 1 if self.staged or (self.exchange == GRID and sums > 1) else 2
            held = self.passes if self.staged else self.tiles
            exchanged = buffers * 8 * held * _spread(self.part(shape))
            if sums > 1:
                sum_buffers = 1 if self.exchange == GRID and self.split == 1 else 2
                words = 128 * (-(-shape.recurrent // 2)) if shape.way == "forward" else 64
                summed = sum_buffers * sums * (self.of_block(shape) // 8) * self.tiles * words
        slot = (
            shape.inputs * unit if shape.way == "forward" else shape.record_words + (1 + shape.carried) * unit
        )
        ring = self.warps(shape) * self.units(shape) * self.depth * slot
        return 4 * (4 * shape.exact + biases + exchanged + summed + self._reduced(shape) + ring)

    def _reduced(self, shape: Shape) -> int:
        """Words of shared memory for reductions along the features, as ``sequence_rows.cu`` has them."""
        if not shape.exchanged:
            return 0
        values = max(values for values, _ in shape.exchanged)
        words = max(words for _, words in shape.exchanged)
        handed = words if self.exchange == GRID else shape.exchanged_words
        from_others = handed * self.blocks if self.blocks > 1 else 0
        return 8 * self.tiles * (values * (self.of_block(shape) + 4) + words + from_others)

    def registers(self, shape: Shape) -> int:
        """About how many registers a thread takes."""
        rows = (-(-shape.recurrent // 2) if shape.way == "forward" else 1) * self.groups
        chunks = -(-(self.part(shape) // CHUNK) // self.wsplit) if shape.recurrent else 0
        weights = chunks * rows * (8 if shape.way == "forward" else 4 * self.eights)
        twice = 2 if rows * self.passes <= 4 else 1
        sums = rows * self.passes * 4 * twice
        per_unit = 2 * shape.states + 6
        if shape.way == "backward":
            per_unit += (shape.inputs + shape.recurrent) * (3 - shape.halves) + shape.carried
        per_unit += 2 * shape.alive
        if shape.exchanged:
            per_unit += shape.own * (1 if shape.way == "forward" else 2)
            if shape.way == "backward" and shape.kept_words == 2:
                per_unit += max(values for values, _ in shape.exchanged)
            of_row = 2 * max(words for _, words in shape.exchanged)
            sums += of_row * (self.tiles if self.split * self.wsplit == 1 else self.units(shape))
        return 40 + weights + sums + self.units(shape) * per_unit

    def fits(self, shape: Shape, shared_memory: int, largest_cluster: int) -> bool:
        """Whether a multiprocessor can hold a block of it."""
        if self.blocks % self.split or self.cluster > largest_cluster:
            return False
        warps = self.warps(shape)
        if not 1 <= warps <= MOST_WARPS:
            return False
        if self.exchange == CLUSTER and self.split not in (1, self.blocks):
            return False
        if self.staged and (self.exchange != GRID or not shape.recurrent):
            return False
        if self.exchange == BLOCK and self.blocks > 1 and shape.recurrent:
            return False
        if shape.exchanged and not shape.recurrent and (self.split > 1 or self.exchange == GRID):
            return False  # nothing keeps the blocks in step
        if shape.exchanged and self.exchange == BLOCK and self.blocks > 1:
            return False
        if self.of_block(shape) * (self.blocks - max(1, self.split)) >= shape.hidden and self.blocks > 1:
            return False  # the last blocks would have nothing to do
        if self.shared(shape) > shared_memory:
            return False
        return self.registers(shape) <= min(MOST_REGISTERS, ESTIMATED * REGISTERS / (warps * 32))


def _spread(words: int) -> int:
    """Words between rows in shared memory, as ``sequence.cu`` has them."""
    return words // 32 * 32 + (16 if words % 32 <= 16 else 48)
