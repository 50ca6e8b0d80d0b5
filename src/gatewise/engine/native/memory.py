"""Large memory that is used again: for a new page the system takes longer than a step does to fill it."""

from __future__ import annotations

import threading
import weakref
from math import prod
from typing import Any

import torch
from torch import Tensor

# The C library hands out smaller memory again by itself.
LARGE = 4 << 20

_free: list[Any] = []
_taking = threading.Lock()


def empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor of the shape, with the dtype of ``like``, in memory that goes to a later one when it is freed.

    No more is kept than was once in use, as what is too small for a new tensor is given up for it.
    """
    size = prod(shape) * like.element_size()
    if size < LARGE:
        return like.new_empty(shape)
    with _taking:
        block = _smallest(size)
        if block is None:
            _free.clear()
    if block is None:
        # Pages that are never touched cost nothing.
        block = torch.empty(1 << (size - 1).bit_length(), dtype=torch.uint8).numpy()
    lent = block[:size]
    # A tensor may be freed at any time, in any thread: hence no lock, and only an appending.
    weakref.finalize(lent, _free.append, block).atexit = False
    return torch.from_numpy(lent).view(like.dtype).view(shape)


def _smallest(size: int) -> Any:
    """The smallest free block of at least this size, no longer free; None where there is none."""
    fitting = [(len(block), place) for place, block in enumerate(_free) if len(block) >= size]
    return _free.pop(min(fitting)[1]) if fitting else None
