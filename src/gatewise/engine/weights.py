"""What goes into and comes out of an engine."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """The tensors of one cell in one layer and direction; G gates, R with W, F inputs, H hidden."""

    input: Tensor
    """U, [G·H, F]."""
    hidden: Tensor
    """W, [R·H, H]."""
    bias: Tensor | None
    """b, [G·H]."""
    own: dict[str, Tensor]
    """The cell's own parameters, by name."""


class Result(NamedTuple):
    """What an engine returns; N packed steps, B sequences, H hidden."""

    outputs: Tensor
    """[N, H] hidden state of every step."""
    state: tuple[Tensor, ...]
    """Final state, each [B, H]."""
    history: dict[str, Tensor]
    """[N, H] of every shown gate and state by name; empty unless asked for."""
