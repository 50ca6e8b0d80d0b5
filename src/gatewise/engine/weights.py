"""What goes into and comes out of an engine."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """The tensors of one cell in one layer and direction; G gates, R with W, F inputs, H hidden.

    With a projection the hidden state has P features, and without one P is H.
    """

    input: Tensor
    """U, [G·H, F]."""
    hidden: Tensor
    """W, [R·H, P]."""
    bias: Tensor | None
    """b, [G·H]."""
    own: dict[str, Tensor]
    """The cell's own parameters, by name."""
    projection: Tensor | None = None
    """P, [P, H]: what makes the hidden state of the first tensor that ``step`` returns."""


class Result(NamedTuple):
    """What an engine returns; N packed steps, B sequences, H hidden (P the hidden state, if projected)."""

    outputs: Tensor
    """[N, P] hidden state of every step."""
    state: tuple[Tensor, ...]
    """Final state: h [B, P], the others [B, H]."""
    history: dict[str, Tensor]
    """[N, H] of every shown gate and state by name, h [N, P]; empty unless asked for."""
