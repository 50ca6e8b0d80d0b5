"""What a design of kernels gives: results of a forward and of a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.request import Request
from gatewise.engine.traced.trace import Trace


class Forward(NamedTuple):
    """Results of a forward pass over N rows."""

    outputs: Tensor
    """[N, P]."""
    final: list[Tensor]
    """The final state, in the dtype of sums."""
    gates: Tensor | None
    """[N, gates, H], where they are asked for."""
    states: Tensor | None
    """[N, K, H], where gates are asked for."""
    kept: Any
    """A tuple of tensors (or None) for the backward pass, with ``hidden`` [N, P]; None without one."""


class Backward(NamedTuple):
    """Gradients of a backward pass over N rows."""

    of_a: Tensor
    """[N, G·H]."""
    of_r: Tensor
    """[N, R·H]."""
    of_projection: Tensor | None
    of_own: Tensor | None
    """[O, H]."""
    of_states: list[Tensor]
    """Of the initial state, in the dtype of sums."""


class Design(Protocol):
    """A cell's kernels in one design.

    Requests have their tensors in one dtype, but states and own parameters in that of sums.
    """

    @property
    def trace(self) -> Trace:
        """The step that they were made from."""

    @property
    def kept(self) -> Any:
        """The type of what the forward pass keeps."""

    def forward(self, request: Request, keep: bool) -> Forward:
        """Run the sequences."""

    @property
    def of_gates(self) -> Callable[[Cell, tuple[int, ...]], Design] | None:
        """Where gates carry gradients: a design that goes back from those of the gates at some places."""

    def backward(
        self,
        request: Request,
        kept: Any,
        above: Tensor,
        grad_final: Sequence[Tensor | None],
        carried: Sequence[Tensor | None] = (),
    ) -> Backward:
        """Gradients, from those of the outputs [N, P] and of the final state; None is zero.

        Where gates carry gradients, those of every step's states [N, H] (none in place of the first) and of
        gates [N, H] are ``carried``.
        """
