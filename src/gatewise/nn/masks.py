"""Masks of dropout: random bits, many of which are drawn at once on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.engine import looked_into

STEPS = 1 << 16
"""Of 16 bits each: on a CPU the share of what is dropped is a multiple of one through this number."""

_of_torch = False


@contextmanager
def as_torch_draws_them() -> Iterator[None]:
    """Masks of one random number for each value, as earlier versions had them on a CPU, too."""
    global _of_torch
    before, _of_torch = _of_torch, True
    try:
        yield
    finally:
        _of_torch = before


def are_of_torch() -> bool:
    """Whether masks are drawn so."""
    return _of_torch


def _torch_draws(like: Tensor) -> bool:
    """Whether torch draws masks: on a GPU, and where torch.func has rules for what is random."""
    return like.device.type != "cpu" or are_of_torch() or looked_into()


def kept(p: float, shape: Sequence[int], like: Tensor) -> Tensor:
    """What dropout multiplies by: 0 with probability ``p`` > 0, else so much that the mean is 1."""
    mask = like.new_empty(shape)
    if p == 1:
        return mask.zero_()
    if _torch_draws(mask):
        return mask.bernoulli_(1 - p).div_(1 - p)
    dropped = min(max(round(p * STEPS), 1), STEPS - 1)
    # Torch draws numbers of 64 bits, one after the other, and its own masks of one number for each value.
    drawn = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    bits = drawn.view(torch.int16)[: mask.numel()].view(mask.shape)
    torch.ge(bits, dropped - STEPS // 2, out=mask)
    return mask.mul_(STEPS / (STEPS - dropped))


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` with each value dropped with probability ``p`` in training, and the others scaled."""
    if p == 0 or not training:
        return x
    return F.dropout(x, p) if _torch_draws(x) else x * kept(p, x.shape, x)


class Dropout(nn.Dropout):
    """Dropout of single values."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
