"""Large memory blocks that are reused: getting a new page from the system takes longer than filling it."""

from __future__ import annotations

import threading
import weakref
from math import prod
from typing import Any

import torch
from torch import Tensor

# The C library itself reuses smaller blocks.
LARGE = 4 << 20

_free: list[Any] = []
_taking = threading.Lock()


def empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor of this shape and of the dtype of ``like``; a later one reuses its memory once it is freed.

    No more memory is kept than was once in use: where no free block is large enough, all are given back.
    """
    size = prod(shape) * like.element_size()
    if size < LARGE:
        return like.new_empty(shape)
    with _taking:
        block = _smallest(size)
        if block is None:
            _free.clear()
    if block is None:
        # Rounded up to a power of two; pages that are never touched cost nothing.
        block = torch.empty(1 << (size - 1).bit_length(), dtype=torch.uint8).numpy()
    lent = block[:size]
    # A tensor may be freed at any time, in any thread: hence no lock, only an append.
    weakref.finalize(lent, _free.append, block).atexit = False
    return torch.from_numpy(lent).view(like.dtype).view(shape)


def _smallest(size: int) -> Any:
    """Take the smallest free block of at least this size; None where there is none."""
    fitting = [(len(block), place) for place, block in enumerate(_free) if len(block) >= size]
    return _free.pop(min(fitting)[1]) if fitting else None
