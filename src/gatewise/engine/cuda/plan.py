"""Which variant of the whole-sequence kernels to take for a size, a batch and a GPU."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewise.engine.cuda.variant import BLOCK, CHUNK, CLUSTER, GRID, Shape, Variant

CLUSTERED = 0.92
"""The share of a GPU's multiprocessors that clusters may take: of an H200's 132 blocks 120, in eights."""


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
    for variants in (_variants, _of_large_layers):
        found = fitting(variants(shape), shape, batch, gpu)
        if found:
            return min(found, key=lambda variant: microseconds(variant, shape, batch, gpu, models))
    return None


def every(shape: Shape, batch: int, gpu: Gpu) -> list[Variant]:
    """All variants that fit a GPU, also those for large layers where others do."""
    return fitting(itertools.chain(_variants(shape), _of_large_layers(shape)), shape, batch, gpu)


def fitting(variants: Iterable[Variant], shape: Shape, batch: int, gpu: Gpu) -> list[Variant]:
    """Those that fit a GPU; none before sm_80, which lacks the instructions."""
    if gpu.capability < (8, 0):
        return []
    return [
        variant
        for variant in variants
        if _runs_at_once(variant, batch, gpu) and variant.fits(shape, gpu.shared_memory, gpu.largest_cluster)
    ]


def _variants(shape: Shape) -> Iterator[Variant]:
    for tiles, groups, wsplit in itertools.product((1, 2, 3, 4, 8), (1, 2, 4), (1, 2, 4)):
        yield Variant(1, 1, wsplit, groups, tiles, BLOCK)
        for blocks in (2, 4, 8):
            for split in (1, blocks):
                yield Variant(blocks, split, wsplit, groups, tiles, CLUSTER)
        for features, split in itertools.product((8, 16, 24, 32, 48), (1, 4, 7, 8)):
            blocks = math.ceil(math.ceil(shape.hidden / features) / split) * split
            yield Variant(blocks, split, wsplit, groups, tiles, GRID)


def _of_large_layers(shape: Shape) -> Iterator[Variant]:
    """Few features a block, many warps that share each sum, and rows that are fetched some at a time."""
    eights = (1,) if shape.way == "forward" else (1, 2)
    sequences = [
        (tiles, at_once, staged)
        for tiles, at_once, staged in itertools.product((1, 2, 3, 4, 8), (1, 2, 4), (False, True))
        if at_once <= tiles
    ]
    for features, wsplit, of_tile, depth in itertools.product((8, 16), (4, 8, 16), eights, (4, 2)):
        blocks = math.ceil(shape.hidden / features)
        for tiles, at_once, staged in sequences:
            yield Variant(blocks, 1, wsplit, 1, tiles, GRID, depth, at_once, staged, of_tile)


def _runs_at_once(variant: Variant, batch: int, gpu: Gpu) -> bool:
    """Whether all blocks that poll each other have a multiprocessor each."""
    return variant.exchange != GRID or models_at_once(variant, batch, gpu) > 0


def models_at_once(variant: Variant, batch: int, gpu: Gpu) -> int:
    """How many models one launch may have where blocks poll each other, so that all of these run."""
    return _blocks_at_once(variant, gpu) // _blocks(variant, batch)


def _blocks(variant: Variant, batch: int) -> int:
    return -(-batch // (8 * variant.tiles)) * variant.blocks


def _blocks_at_once(variant: Variant, gpu: Gpu) -> int:
    """Blocks that run at the same time. Clusters do not fill a GPU: they stay within its parts."""
    size = max(1, variant.cluster)
    return gpu.multiprocessors if size == 1 else int(CLUSTERED * gpu.multiprocessors) // size * size


def microseconds(variant: Variant, shape: Shape, batch: int, gpu: Gpu, models: int = 1) -> float:
    """About how long a step of all models takes, where each step's launches come one after the other.

    By cycles at 1.98 GHz that were fitted to what ``experiments/engine/variants.py`` measured on an H200.
    """
    warps, units = variant.warps(shape), variant.units(shape)
    summed = variant.split * variant.wsplit > 1
    busy = warps  # those that have units
    if summed:
        busy = min(warps, -(-(variant.of_block(shape) // 8) * variant.tiles // max(1, units)))
    values = shape.inputs + shape.kept
    read = values + (shape.recurrent if shape.way == "backward" else 0)
    cycles = units * (21 * read + 56 * values * max(0.0, busy / 4 - 1))
    if not summed:
        cycles += 356 * (units - 1)
    if shape.recurrent:
        cycles += _product(variant, shape)
        cycles += _handing_on(variant, shape, batch)
    cycles += sum(_exchange(variant, shape, words) for _, words in shape.exchanged)
    if variant.exchange == GRID:
        waves = -(-models // models_at_once(variant, batch, gpu))
    else:
        waves = -(-_blocks(variant, batch) * models // _blocks_at_once(variant, gpu))
    return waves * cycles / 1980


def _product(variant: Variant, shape: Shape) -> float:
    """Cycles of a block's product, and of adding up its sums where several have them."""
    warps, tiles, units = variant.warps(shape), variant.tiles, variant.units(shape)
    gates = -(-shape.recurrent // 2) if shape.way == "forward" else 1
    rows = variant.groups * gates
    chunks = -(-(variant.part(shape) // CHUNK) // variant.wsplit)
    product = 4.0 * rows * tiles * warps
    if shape.exact:
        # Three products for one, while four schedulers issue what splits the weights, once a pass, and the
        # state, and what adds up the sums. Counted, and not measured.
        weights = 8 * rows if shape.way == "forward" else 4 * variant.eights * rows
        instructions = weights * -(-tiles // variant.passes) + 4 * tiles + 2 * rows * tiles
        product = max(3 * product, instructions * warps / 4)
    cycles = chunks * (2 * product + 19 * tiles)
    if variant.split > 1:
        cycles += 1263
    elif variant.wsplit > 1:
        cycles += 164
    if variant.split * variant.wsplit > 1:
        cycles += 46 * units * variant.split * variant.wsplit * gates
    return cycles


def _handing_on(variant: Variant, shape: Shape, batch: int) -> float:
    """Cycles until what a block has computed is where the others multiply it."""
    if variant.exchange == CLUSTER and variant.split == 1:
        gradients = shape.recurrent if shape.way == "backward" else 1
        return 925 + 42 * variant.units(shape) * variant.blocks * gradients * 2 / shape.halves
    if variant.exchange != GRID:
        return 0
    words = min(batch, 8 * variant.tiles) * variant.part(shape) / (variant.warps(shape) * 32)
    pieces = -(-variant.tiles // variant.passes) if variant.staged else 1
    added_up = variant.wsplit > 1 and variant.split == 1
    return 1102 + 380 * added_up + 135 * (pieces - 1) + 77 * words + 10 * variant.blocks


def _exchange(variant: Variant, shape: Shape, words: int) -> float:
    """Cycles of reducing along the features, where a block hands on so many words of a sequence."""
    if variant.blocks == 1:
        return 829
    of_thread = words * 8 * variant.tiles * variant.blocks / (variant.warps(shape) * 32)
    if variant.exchange == CLUSTER:
        return 829 + 311 + 62 * of_thread
    return 829 + 834 + 139 * of_thread + 16 * variant.blocks
