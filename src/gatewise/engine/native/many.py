"""Many models in one call of the native engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.engine.models import Forward
from gatewise.engine.native import memory
from gatewise.engine.native.call import Calls
from gatewise.engine.native.gradients import empty_gradients
from gatewise.engine.native.kernel import Kernel
from gatewise.engine.request import Request
from gatewise.engine.traced.trace import Trace


class Models(NamedTuple):
    """A kernel for K models, as :class:`gatewise.engine.models.Compiled` describes it."""

    kernel: Kernel

    @property
    def trace(self) -> Trace:
        """The step that it was made from."""
        return self.kernel.trace

    def reads(self, tensors: Sequence[Tensor]) -> bool:
        """Whether all are on the CPU, and of one dtype."""
        return all(t.device.type == "cpu" and t.dtype == tensors[0].dtype for t in tensors)

    def forward(self, request: Request, count: int, keep: bool) -> Forward:
        """Run ``count`` models."""
        request, trace = _readable(request), self.trace
        x, initial = request.x, request.state
        rows = x.shape[1]
        lengths = [rows if keep or k == 0 else 2 * s.shape[1] for k, s in enumerate(initial)]
        states = [
            s.new_empty(count, length, s.shape[2]) if k == 0 else memory.empty(s, count, length, s.shape[2])
            for k, (length, s) in enumerate(zip(lengths, initial, strict=True))
        ]
        final = [torch.empty_like(s, memory_format=torch.contiguous_format) for s in initial]
        unprojected = saved = None
        if keep:
            if request.weights.projection is not None:
                unprojected = x.new_empty(count, rows, request.hidden_size)
            if not request.recompute:
                saved = memory.empty(x, count, rows, max(1, trace.saved_size(request.hidden_size)))
        calls = Calls(self.kernel, request, count)
        calls.forward(x, initial, states, final, unprojected, saved, None, keep)
        kept = (*states[1:], unprojected, saved)
        return Forward(states[0], final, [tensor for tensor in kept if tensor is not None])

    def backward(
        self,
        request: Request,
        count: int,
        kept: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        wanted: Sequence[bool],
    ) -> Sequence[Tensor | None]:
        """Each model's gradients."""
        request = _readable(request)
        computed = [_rows(tensor) for tensor in kept]
        states, rest = computed[: len(request.state)], computed[len(request.state) :]
        unprojected = rest.pop(0) if request.weights.projection is not None else None
        saved = rest.pop(0) if rest else None
        above, *grad_final = grads
        if above is None:
            above = torch.zeros_like(states[0], memory_format=torch.contiguous_format)
        # These are replaced by the gradients of the initial state.
        grad_state = [
            torch.zeros_like(state, memory_format=torch.contiguous_format)
            if grad is None
            else grad.clone(memory_format=torch.contiguous_format)
            for grad, state in zip(grad_final, request.state, strict=True)
        ]
        calls = Calls(self.kernel, request, count)
        one = request.settings.request([None if t is None else t[0] for t in request.tensors()])
        sums = empty_gradients(
            self.trace, one, wanted, calls.threads, 1 if calls.together else calls.threads, count
        )
        before_states = 5 + len(request.weights.own)
        to_initial = any(wanted[before_states : before_states + len(request.state)])
        x, above = request.x, _rows(above)
        calls.backward(x, request.state, states, grad_state, unprojected, saved, above, sums, to_initial)
        grad_x, *by_thread = sums
        grad_input, grad_hidden, grad_projection, grad_bias, grad_own = (
            None if total is None else total.squeeze(1) if total.shape[1] == 1 else total.sum(1)
            for total in by_thread
        )
        own = () if grad_own is None else grad_own.unbind(1)
        first = (grad_x, grad_input, grad_hidden, grad_bias, None)
        return (*first, *own, *grad_state, grad_projection)


def _readable(request: Request) -> Request:
    """The request with each model's tensors contiguous."""
    return request.settings.request([None if t is None else _rows(t) for t in request.tensors()])


def _rows(tensor: Tensor) -> Tensor:
    """A tensor [K, …] each of whose rows is contiguous; rows that all models share stay one."""
    return tensor if tensor[0].is_contiguous() else tensor.contiguous()
