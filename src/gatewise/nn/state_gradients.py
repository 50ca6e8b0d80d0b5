"""The gradient of a loss with respect to every state after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise.engine import Packing, Request, Result, loop
from gatewise.nn.interventions import Change

Loss = Callable[[Any, Any], Tensor]
"""From outputs and final state, as ``forward`` returns them, to a scalar."""


class StateGradients:
    """Runs the layers and directions of a call in the loop, and differentiates a loss by all their states."""

    def __init__(self, change: Change, layers: int, directions: int) -> None:
        self._change, self._shape = change, (layers, directions)
        self._packing: Packing | None = None
        self._states: tuple[str, ...] = ()
        self._steps: list[list[tuple[Tensor, ...]]] = []
        """Of each layer and direction the states after each step, in the order of the input."""

    def run(self, packing: Packing, index: int, request: Request) -> Result:
        """Run a request and keep the states after each step."""
        self._packing, self._states = packing, request.cell.states
        request = self._change(packing, index, request)
        request.check_shapes()
        steps: list[tuple[Tensor, ...]] = []

        def keep(before: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[Tensor, ...]:
            steps.append(_apart(before, after))
            return steps[-1]

        result = loop.run(request, keep)
        self._steps.append(steps[::-1] if request.reverse else steps)
        return result

    @property
    def tensors(self) -> list[Tensor]:
        """Every state that was kept."""
        return [tensor for steps in self._steps for step in steps for tensor in step]

    def stacked(self, grads: Iterator[Tensor]) -> dict[str, Tensor]:
        """The next gradients, those of ``tensors``, as [L, D, B, T, H] by state, with NaN as padding."""
        packing, count = self._packing, len(self._states)
        assert packing is not None  # it has run
        by_layer = [
            [packing.spread(torch.cat(of_state)) for of_state in _of_states(grads, len(steps), count)]
            for steps in self._steps
        ]
        return {
            name: torch.stack([of_states[k] for of_states in by_layer]).unflatten(0, self._shape)
            for k, name in enumerate(self._states)
        }


def gradients_of(calls: Sequence[StateGradients], loss: Tensor) -> list[dict[str, Tensor]]:
    """The gradients of a loss by the states of each of several calls, one after the other.

    Raises ValueError for a loss that is no scalar, or does not depend on what the calls have returned.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss(outputs, state) must return a scalar tensor, got {got}: sum over the rows")
    if not loss.requires_grad:
        raise ValueError("loss(outputs, state) depends on neither of the two: does it detach them?")
    tensors = [tensor for call in calls for tensor in call.tensors]
    grads = iter(torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True))
    return [call.stacked(grads) for call in calls]


def _of_states(grads: Any, steps: int, count: int) -> list[list[Tensor]]:
    """The next gradients, which come step by step, by state."""
    by_step = [[next(grads) for _ in range(count)] for _ in range(steps)]
    return [list(of_state) for of_state in zip(*by_step, strict=True)]


def _apart(before: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The new states as tensors of their own that require gradients."""
    own: list[Tensor] = []
    for new in after:
        if not new.requires_grad:
            own.append(new.detach().requires_grad_())
        elif any(new is other for other in (*before, *own)):
            own.append(new.view_as(new))
        else:
            own.append(new)
    return tuple(own)


def differentiable(x: Any) -> Any:
    """The input as a leaf that requires gradients, so that every state does; anything else as it is."""
    if isinstance(x, PackedSequence):
        return x._replace(data=differentiable(x.data))
    return x.detach().clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
