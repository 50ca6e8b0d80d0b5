"""Whole sequences of a cell that projects its hidden state, h = P u: P is folded into the recurrent weights.

The recurrent products are W h = (W P) u, so the kernels hold W P and their blocks exchange u. Before a
sequence's first step u is 0, and W h of the initial state comes as an addend. What has to do with P alone is
one large product over all rows, before the kernel or after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gatewise.engine.cuda import whole
from gatewise.engine.cuda.design import Backward, Forward
from gatewise.engine.cuda.steps import product
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.request import Request
from gatewise.engine.traced.trace import Trace


class Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Tensor
    """[N, P]: the hidden state before every step."""
    before: Tensor
    """[N, H]: u before every step, 0 before the first."""
    unprojected: Tensor
    """[N, H]: u."""
    last: Tensor
    """[B, H]: u after each sequence's last step, 0 where it has none."""
    values: Tensor
    """Words, as ``sequence.cu`` has them."""


@dataclass(frozen=True)
class ProjectedKernels:
    """The kernels of the cell without its projection, which run with W P for W."""

    kernels: WholeKernels

    kept: ClassVar[type[Kept]] = Kept

    @property
    def trace(self) -> Trace:
        """The step that they were made from."""
        return self.kernels.trace

    @property
    def of_gates(self) -> None:
        """Gates with gradients run step by step."""
        return

    def forward(self, request: Request, keep: bool) -> Forward:
        """The forward pass; of K models, if all tensors of the request are [K, …]."""
        weights, initial = request.weights, request.state[0]
        dtype, projection = request.x.dtype, _projection(request)
        addend = None
        if self.trace.uses_hidden:
            addend = _product(initial.to(dtype), weights.hidden.mT).contiguous()
        found = whole.forward(self.kernels.forth, self.trace, _folded(request, self.trace), keep, addend)
        outputs = found.outputs @ projection.mT
        count = request.batch_sizes[0]
        hidden = initial.clone()
        hidden[..., :count, :] = outputs[..., _ends(request, first=False), :].to(hidden.dtype)
        kept = None
        if found.kept is not None:
            before = found.kept.hidden @ projection.mT
            before[..., _ends(request, first=True), :] = initial[..., :count, :].to(dtype)
            kept = Kept(before, found.kept.hidden, found.outputs, found.final[0], found.kept.values)
        return Forward(outputs, [hidden, *found.final[1:]], found.gates, found.states, kept)

    def backward(
        self,
        request: Request,
        kept: Any,
        above: Tensor,
        grad_final: Sequence[Tensor | None],
        carried: Sequence[Tensor | None] = (),
    ) -> Backward:
        """The backward pass; of K models as the forward pass."""
        assert self.kernels.back is not None
        assert not carried
        dtype, projection = request.x.dtype, _projection(request)
        of_hidden = grad_final[0]
        if of_hidden is None:
            of_hidden = torch.zeros_like(request.state[0])
        of_last = of_hidden.to(dtype)
        found = whole.backward(
            self.kernels.back,
            self.trace,
            _folded(request, self.trace),
            whole.Kept(kept.before, kept.values),
            above @ projection,
            [_product(of_last, projection), *grad_final[1:]],
        )
        # The gradient of h is a sum of three: of the output, of the final state, and of the next step's W h.
        of_projection = _product(above.mT, kept.unprojected)
        of_projection += _product(of_last.mT, kept.last.to(dtype))
        of_initial = of_hidden.clone()
        count = request.batch_sizes[0]
        of_initial[..., :count, :] = 0
        if self.trace.reaches("r"):
            of_before = _product(found.of_r, request.weights.hidden)
            of_projection += _product(of_before.mT.to(dtype), kept.before)
            of_initial[..., :count, :] = of_before[..., _ends(request, first=True), :]
        of_states = [of_initial, *found.of_states[1:]]
        return found._replace(of_projection=of_projection.to(dtype), of_states=of_states)


def _projection(request: Request) -> Tensor:
    projection = request.weights.projection
    assert projection is not None
    return projection


def _folded(request: Request, trace: Trace) -> Request:
    """The request of the cell without its projection: with W P for W, and u = 0 before the first step."""
    weights, projection = request.weights, _projection(request)
    first, *others = request.state
    *models, batch, _ = first.shape
    hidden = weights.hidden
    if trace.uses_hidden:
        hidden = _product(hidden, projection).to(hidden.dtype)
    return replace(
        request,
        weights=weights._replace(hidden=hidden, projection=None),
        state=(first.new_zeros(*models, batch, request.hidden_size), *others),
    )


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x [N, I] times y [I, J] in the dtype of sums; of each model [K, N, I] times [K, I, J]."""
    return product(x if y.dim() == 2 else x.transpose(0, 1), y)


def _ends(request: Request, first: bool) -> slice | Tensor:
    """The row of each sequence's first step or last one, of those that have steps."""
    sizes, rows = request.batch_sizes, sum(request.batch_sizes)
    count = sizes[0]
    if first != request.reverse:  # step 0
        return slice(0, count)
    if sizes[-1] == count:
        return slice(rows - count, rows)
    starts, lengths = whole.packed(sizes, request.state[0].shape[-2], request.x.device)
    assert starts is not None
    assert lengths is not None
    return starts[lengths[:count].long() - 1] + torch.arange(count, device=starts.device)
