"""Many models in one launch: a grid over models, and each product one of K matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.autocast import without_autocast
from gatewise.engine.cuda import steps
from gatewise.engine.cuda.design import Backward, Design
from gatewise.engine.cuda.steps import StepKernels
from gatewise.engine.models import Forward
from gatewise.engine.request import Request, Unsupported
from gatewise.engine.traced.trace import Trace

MOST_MODELS = 65535
"""Of one launch: as many rows has a grid."""


@dataclass(frozen=True)
class Models:
    """A cell's kernels for K models, as :class:`gatewise.engine.models.Compiled` describes them."""

    steps: StepKernels
    in_one_launch: Callable[[Request, bool, int], Design | None]
    """The kernels for whole sequences of so many models, with or without gradients; None where none fit."""

    @property
    def trace(self) -> Trace:
        """The step that they were made from."""
        return self.steps.trace

    def reads(self, tensors: Sequence[Tensor]) -> bool:
        """Whether all are on one device."""
        return len({tensor.device for tensor in tensors}) == 1

    def forward(self, request: Request, count: int, keep: bool) -> Forward:
        """Run ``count`` models. Raises Unsupported where they are too many."""
        if count > MOST_MODELS:
            raise Unsupported(f"{count:,} models at once")
        with without_autocast(request.x.device):  # it would round the sums, too
            in_one = self.in_one_launch(request, keep, count)
            if in_one is not None:
                result = in_one.forward(request, keep)
                return Forward(result.outputs, result.final, tuple(result.kept or ()))
            result = self.steps.forward(_in_turn(request, count), keep)
            kept = (_of_each(tensor, count) for tensor in result.kept or () if tensor is not None)
            final = [_of_each(state, count) for state in result.final]
            return Forward(_of_each(result.outputs, count), final, tuple(kept))

    def backward(
        self,
        request: Request,
        count: int,
        kept: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Sequence[Tensor | None]:
        """Each model's gradients."""
        outputs, *rest = kept
        above, *grad_final = (
            torch.zeros_like(like) if grad is None else grad
            for grad, like in zip(grads, (outputs, *request.state), strict=True)
        )
        with without_autocast(request.x.device):
            if rest[-1].dtype == torch.int32:  # the words of the kernels for whole sequences
                found, hidden = self._in_one(request, count, rest, above, grad_final)
            else:
                found, hidden = self._step_by_step(request, count, rest, above, grad_final)
            return _gradients(request, found, hidden, wanted)

    def _in_one(
        self,
        request: Request,
        count: int,
        rest: Sequence[Tensor],
        above: Tensor,
        grad_final: Sequence[Tensor],
    ) -> tuple[Backward, Tensor]:
        in_one = self.in_one_launch(request, True, count)
        if in_one is None:
            raise Unsupported(f"a backward pass of {count} models")
        kept = in_one.kept(*(tensor.contiguous() for tensor in rest))
        return in_one.backward(request, kept, above, grad_final), kept.hidden

    def _step_by_step(
        self,
        request: Request,
        count: int,
        rest: Sequence[Tensor],
        above: Tensor,
        grad_final: Sequence[Tensor],
    ) -> tuple[Backward, Tensor]:
        a, hidden, values, *unprojected = (_rows_in_turn(tensor) for tensor in rest)
        kept = steps.Kept(a, hidden, values, unprojected[0] if unprojected else None)
        found = self.steps.backward(
            _in_turn(request, count), kept, _rows_in_turn(above), [_rows_in_turn(g) for g in grad_final]
        )
        each = Backward(
            _of_each(found.of_a, count),
            _of_each(found.of_r, count),
            found.of_projection,
            found.of_own,
            [_of_each(state, count) for state in found.of_states],
        )
        return each, _of_each(hidden, count)


def _gradients(
    request: Request, found: Backward, hidden: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The gradients [K, …] of a request's tensors, each product one of all models."""
    x_wanted, input_wanted, hidden_wanted, bias_wanted = wanted[:4]
    wide = steps.accumulated(request.x.dtype)
    own = () if found.of_own is None else found.of_own.unbind(1)
    return (
        torch.bmm(found.of_a, request.weights.input) if x_wanted else None,
        torch.bmm(found.of_a.mT, request.x) if input_wanted else None,
        torch.bmm(found.of_r.mT, hidden) if hidden_wanted else None,
        found.of_a.sum(1, dtype=wide).to(found.of_a.dtype) if bias_wanted else None,
        None,
        *own,
        *found.of_states,
        found.of_projection,
    )


def _in_turn(request: Request, count: int) -> Request:
    """The request of K models as ``steps`` takes it: their rows in turn."""

    def rows(tensor: Tensor | None) -> Any:
        return None if tensor is None else _rows_in_turn(tensor)

    return replace(
        request,
        x=request.x.transpose(0, 1),
        batch_sizes=tuple(count * size for size in request.batch_sizes),
        state=tuple(_rows_in_turn(state) for state in request.state),
        state_mask=rows(request.state_mask),
        noise=rows(request.noise),
    )


def _rows_in_turn(tensor: Tensor) -> Tensor:
    """[K, N, …] as [N·K, …]; without a copy where it came from :func:`_of_each`."""
    return tensor.transpose(0, 1).contiguous().flatten(0, 1)


def _of_each(tensor: Tensor, count: int) -> Tensor:
    """[N·K, …] as [K, N, …]."""
    rows: Tensor = tensor.unflatten(0, (-1, count))
    return rows.transpose(0, 1)
