"""Which variant of the whole-sequence kernels to take for a size, a batch and a GPU."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gatewise.engine.cuda.variant import BLOCK, CLUSTER, GRID, Shape, Variant


@dataclass(frozen=True)
class Gpu:
    """What a plan has to know of a GPU."""

    multiprocessors: int
    shared_memory: int
    """Bytes that a block may have."""
    capability: tuple[int, int]

    @property
    def largest_cluster(self) -> int:
        """Blocks of a cluster: 1 before sm_90."""
        return 8 if self.capability >= (9, 0) else 1


@functools.lru_cache(maxsize=256)
def best(shape: Shape, batch: int, gpu: Gpu, models: int = 1) -> Variant | None:
    """The variant that is expected to be fastest; None where none fits, or the GPU lacks the instructions.

    With several models of the same sizes in one launch, ``batch`` is that of each. The tensor cores' bfloat16
    and TF32, and asynchronous copies, came with sm_80.
    """
    if gpu.capability < (8, 0):
        return None
    for variants in (_variants, _of_large_layers):
        fitting = [
            variant
            for variant in variants(shape)
            if _runs_at_once(variant, batch, gpu)
            and variant.fits(shape, gpu.shared_memory, gpu.largest_cluster)
        ]
        if fitting:
            return min(fitting, key=lambda variant: _microseconds(variant, shape, batch, gpu, models))
    return None


def _variants(shape: Shape) -> Iterator[Variant]:
    for tiles, groups, wsplit in product((1, 2, 3, 4, 8), (1, 2, 4), (1, 2, 4)):
        yield Variant(1, 1, wsplit, groups, tiles, BLOCK)
        for blocks in (2, 4, 8):
            for split in (1, blocks):
                yield Variant(blocks, split, wsplit, groups, tiles, CLUSTER)
        for features, split in product((8, 16, 24, 32, 48), (1, 4, 7, 8)):
            blocks = math.ceil(math.ceil(shape.hidden / features) / split) * split
            yield Variant(blocks, split, wsplit, groups, tiles, GRID)


def _of_large_layers(shape: Shape) -> Iterator[Variant]:
    """Few features a block, many warps that share each sum, and rows that are fetched some at a time."""
    eights = (1,) if shape.way == "forward" else (1, 2)
    sequences = [
        (tiles, at_once, staged)
        for tiles, at_once, staged in product((1, 2, 3, 4, 8), (1, 2, 4), (False, True))
        if at_once <= tiles
    ]
    for features, wsplit, of_tile, depth in product((8, 16), (4, 8, 16), eights, (4, 2)):
        blocks = math.ceil(shape.hidden / features)
        for tiles, at_once, staged in sequences:
            yield Variant(blocks, 1, wsplit, 1, tiles, GRID, depth, at_once, staged, of_tile)


def _runs_at_once(variant: Variant, batch: int, gpu: Gpu) -> bool:
    """Whether all blocks that poll each other have a multiprocessor each; a tenth of them is left free.

    Clusters do not fill a GPU: they stay within its parts.
    """
    return variant.exchange != GRID or models_at_once(variant, batch, gpu) > 0


def models_at_once(variant: Variant, batch: int, gpu: Gpu) -> int:
    """How many models one launch may have where blocks poll each other, so that all of these run."""
    blocks = -(-batch // (8 * variant.tiles)) * variant.blocks
    return (gpu.multiprocessors * 9 // 10 if variant.split > 1 else gpu.multiprocessors) // blocks


def _microseconds(variant: Variant, shape: Shape, batch: int, gpu: Gpu, models: int = 1) -> float:
    """About how long a step of all models takes, where each step's launches come one after the other.

    From cycles of its parts that were measured on an H200, at 1.7 GHz.
    """
    warps, units = variant.warps(shape), variant.units(shape)
    rows = variant.groups * (-(-shape.recurrent // 2) if shape.way == "forward" else 1)
    chunks = -(-(variant.part(shape) // 16) // variant.wsplit)
    cycles = 150.0 + 130 * units + 10 * warps
    if shape.recurrent:
        cycles += chunks * 2 * _product(variant, shape, rows)
        if variant.split > 1:
            cycles += 500 + 20 * variant.units(shape) * variant.split
        elif variant.wsplit > 1:
            cycles += 120
        if variant.exchange == CLUSTER and variant.split == 1:
            cycles += 350 + 12 * units * variant.blocks
        if variant.exchange == GRID:
            words = 8 * variant.tiles * variant.part(shape)
            # What a further piece of the rows costs, 700, is a guess: nobody has measured it.
            pieces = -(-variant.tiles // variant.passes) if variant.staged else 1
            cycles += 400 + 700 * pieces + 4 * variant.blocks + words / (warps * 32) * 40
    cycles += sum(_exchange(variant, shape, values) for values, _ in shape.exchanged)
    blocks = -(-batch // (8 * variant.tiles)) * variant.blocks
    if variant.exchange == GRID:
        waves = -(-models // models_at_once(variant, batch, gpu))
    else:
        waves = -(-blocks * models // gpu.multiprocessors)
    return waves * cycles / 1700


def _product(variant: Variant, shape: Shape, rows: int) -> float:
    """Cycles of 8 words' product, of so many rows of a warp's tiles."""
    warps, tiles = variant.warps(shape), variant.tiles
    product = max(18, rows * tiles * warps / 2)
    if not shape.exact:
        return product
    # Three products for one, while four schedulers issue what splits the weights, once a pass, and the state,
    # and what adds up the sums. Counted, and not measured.
    weights = 8 * rows if shape.way == "forward" else 4 * variant.eights * rows
    instructions = weights * -(-tiles // variant.passes) + 4 * tiles + 2 * rows * tiles
    return max(3 * product, instructions * warps / 4)


def _exchange(variant: Variant, shape: Shape, values: int) -> float:
    """About how many cycles it takes to reduce so many values along the features: guessed, not measured."""
    numbers = values * 8 * variant.tiles * variant.of_block(shape) / (variant.warps(shape) * 32)
    cycles = 250 + 8 * numbers  # two barriers of the block, shuffles, shared memory
    if variant.blocks > 1:
        cycles += 250 + 8 * variant.blocks if variant.exchange == CLUSTER else 700 + 4 * variant.blocks
    return cycles
