"""Draw scenes of coloured shapes, many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.scenes import CELLS, COLOURS, NONE, SHAPES

RGB = {
    "red": (215, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 225), "yellow": (225, 205, 45),
    "purple": (160, 50, 185), "white": (235, 235, 235),
}  # fmt: skip
RADII = (0.24, 0.42)
"""Of small and large shapes, in cells."""
COLOUR_SPREAD, NOISE = 15, 6.0
"""How far a colour is from its own at most, and the standard deviation of a pixel."""
_ROWS = 256
"""Scenes that are drawn at once."""


def draw(scenes: NDArray[np.int64], pictures: NDArray[np.uint8], generator: np.random.Generator) -> None:
    """Fill ``pictures`` [N, 3, S, S] with scenes [N, K, 5], each thing somewhere in its cell of S / 3 pixels.

    The background is a grey of its own in each picture, and every pixel has some noise.
    """
    for first in range(0, len(scenes), _ROWS):
        part = slice(first, first + _ROWS)
        pictures[part] = _drawn(scenes[part], pictures.shape[-1], generator)


def _drawn(scenes: NDArray[np.int64], size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    count, cell = len(scenes), size // CELLS
    grey = generator.uniform(30, 100, (count, 1, 1, 1)).astype(np.float32)
    whole = np.broadcast_to(grey, (count, 3, size, size)).copy()
    number, place = np.nonzero(scenes[:, :, 0] != NONE)
    shape, colour, big, column, row = scenes[number, place].T
    radius = np.asarray(RADII, np.float32)[big] * cell
    room = cell / 2 - radius
    middles = cell / 2 - 0.5 + generator.uniform(-1, 1, (2, len(number))) * room
    steps = np.arange(cell, dtype=np.float32)
    across = steps - middles[0, :, None, None].astype(np.float32)
    down = steps[:, None] - middles[1, :, None, None].astype(np.float32)
    inside = np.clip(0.5 - _distances(shape, across, down, radius[:, None, None]), 0, 1)[:, None]
    own = np.asarray([RGB[name] for name in COLOURS], np.float32)[colour]
    own = own + generator.uniform(-COLOUR_SPREAD, COLOUR_SPREAD, own.shape).astype(np.float32)
    cells = whole.reshape(count, 3, CELLS, cell, CELLS, cell)
    below = cells[number, :, row, :, column]
    cells[number, :, row, :, column] = below + inside * (own[:, :, None, None] - below)
    noisy = whole + generator.standard_normal(whole.shape, np.float32) * np.float32(NOISE)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _distances(shape: NDArray[np.int64], x: NDArray[Any], y: NDArray[Any], r: NDArray[Any]) -> NDArray[Any]:
    """About how far each pixel [M, P, P] is outside of its shape (negative inside), y pointing down."""
    far = np.broadcast_to(np.float32(0), np.broadcast_shapes(x.shape, y.shape)).copy()
    for number, name in enumerate(SHAPES):
        chosen = shape == number
        far[chosen] = _OUTLINES[name](x[chosen], y[chosen], r[chosen])
    return far


def _cross(x: NDArray[Any], y: NDArray[Any], r: NDArray[Any]) -> NDArray[Any]:
    across, down = np.abs(x), np.abs(y)
    arm = 0.34 * r
    bars = np.maximum(across - r, down - arm), np.maximum(across - arm, down - r)
    found: NDArray[Any] = np.minimum(*bars)
    return found


_OUTLINES = {
    "circle": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) - 0.86 * r,
    # Its top and its base as far from the middle as the cell has room for.
    "triangle": lambda x, y, r: np.maximum(y - 0.75 * r, 0.87 * np.abs(x) - 0.5 * (y + r)),
    "cross": _cross,
    "ring": lambda x, y, r: np.abs(np.hypot(x, y) - 0.74 * r) - 0.26 * r,
    "diamond": lambda x, y, r: (np.abs(x) + np.abs(y) - r) / np.sqrt(2),
}
assert tuple(_OUTLINES) == SHAPES
