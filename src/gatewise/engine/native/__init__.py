"""The native engine: a cell's step and its derivative as C, compiled once, called once per sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import models
from gatewise.engine.agreement import agrees_with_loop
from gatewise.engine.native import bfloat16, memory
from gatewise.engine.native.call import Call
from gatewise.engine.native.gradients import empty_gradients
from gatewise.engine.native.kernel import Kernel, kernel_for, rounded_products
from gatewise.engine.native.many import Models
from gatewise.engine.native.prepared import Prepared, kernel_of
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.second import differentiable_backward
from gatewise.engine.torch_internals import in_torch_func

__all__ = ["Prepared", "prepare", "run"]


def run(request: Request) -> Result:
    """Run the request; its gates only where no gradients are needed.

    With ``recompute`` the forward pass keeps only the states, and the backward pass computes the rest again.
    Raises Unsupported where another engine has to run the request.
    """
    if bfloat16.wanted(request):
        rounded = bfloat16.worthwhile(request)
        return bfloat16.as_asked(_run(bfloat16.in_float32(request), rounded), request)
    return _run(request, rounded=False)


def _run(request: Request, rounded: bool) -> Result:
    """Run the request, by products of factors that are ``rounded`` to bfloat16, or not."""
    tensors = request.tensors()
    kernel = kernel_for(request, tensors, _agrees)
    if rounded:
        kernel = kernel._replace(products=rounded_products(), rounded=True)
    if in_torch_func():
        return models.run(request, Models(kernel))
    # Asked here, because inside an autograd.Function there is no grad mode, and its inputs claim to need
    # gradients even under no_grad.
    differentiated = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if request.return_gates and (differentiated or not kernel.trace.gate_names):
        raise Unsupported("gates that carry gradients" if differentiated else "gates of other shapes")
    outputs, *rest = _Sequence.apply(request.settings, kernel, differentiated, *tensors)
    count = len(request.state)
    names = (*kernel.trace.gate_names, *request.cell.states) if request.return_gates else ()
    return Result(outputs, tuple(rest[:count]), dict(zip(names, rest[count:], strict=True)))


def prepare(layers: Sequence[Request], gradients: bool) -> Prepared | PreparedLayers | None:
    """Requests of a stack's layers, full batches of one direction, prepared to run with gradients or without.

    None where that is not for them: their cell, dtype or length.
    """
    kernel = kernel_of(layers, _agrees)
    if kernel is None:
        return None
    return PreparedLayers(kernel, layers, _Sequence.apply) if gradients else Prepared(kernel, layers)


def _agrees(kernel: Kernel, cell: Cell, hidden_size: int, dtype: torch.dtype) -> bool:
    def run_kernel(request: Request) -> Result:
        outputs, *final = _Sequence.apply(request.settings, kernel, True, *request.tensors())
        return Result(outputs, tuple(final), {})

    return agrees_with_loop(run_kernel, cell, hidden_size, dtype)


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…, gates…, states…)."""

    @staticmethod
    def forward(
        ctx: Any, settings: Settings, kernel: Kernel, differentiated: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        request = settings.request(tensors)
        trace, hidden_size = kernel.trace, request.hidden_size
        x, initial = request.x.contiguous(), [s.contiguous() for s in request.state]
        keeps_states = differentiated or request.return_gates
        rows = x.shape[0]
        lengths = [rows if keeps_states or k == 0 else 2 * s.shape[0] for k, s in enumerate(initial)]
        # The outputs belong to the caller, who may keep them for long: they get memory of their own.
        states = [
            s.new_empty(length, s.shape[1]) if k == 0 else memory.empty(s, length, s.shape[1])
            for k, (length, s) in enumerate(zip(lengths, initial, strict=True))
        ]
        final = [torch.empty_like(s) for s in initial]
        unprojected = saved = gates = None
        if differentiated:
            if request.weights.projection is not None:
                unprojected = x.new_empty(rows, hidden_size)
            if not request.recompute:
                saved = memory.empty(x, rows, max(1, trace.saved_size(hidden_size)))
        if request.return_gates:
            gates = x.new_empty(rows, len(trace.gates), hidden_size)
        call = Call(kernel, request)
        call.forward(x, initial, states, final, unprojected, saved, gates, keeps_states)
        ctx.settings, ctx.call = settings, call
        if differentiated:
            ctx.save_for_backward(*tensors, *states, *(t for t in (unprojected, saved) if t is not None))
        history = (*gates.unbind(1), *states) if gates is not None else ()
        return (states[0], *final, *history)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        settings: Settings = ctx.settings
        call: Call = ctx.call
        n_states = len(settings.cell.states)
        needed = ctx.needs_input_grad[3:]
        tensors, (*computed,) = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        grads = grads[: 1 + n_states]
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            return (None, None, None, *differentiable_backward(settings, tensors, grads, needed))
        request = settings.request(tensors)
        weights, trace = request.weights, call.kernel.trace
        states, rest = computed[:n_states], computed[n_states:]
        unprojected = rest.pop(0) if weights.projection is not None else None
        saved = rest.pop(0) if rest else None
        above, *grad_final = (grad.contiguous() for grad in grads)
        grad_state = [grad.clone() for grad in grad_final]
        initial = [s.contiguous() for s in request.state]
        # Where the threads share every step, only the sums of own parameters are one for each.
        sums = empty_gradients(trace, request, needed, call.threads, 1 if call.together else call.threads)
        first = 5 + len(weights.own)
        to_initial = any(needed[first : first + n_states])
        x = request.x.contiguous()
        call.backward(x, initial, states, grad_state, unprojected, saved, above, sums, to_initial)
        grad_x, *by_thread = sums
        grad_input, grad_hidden, grad_projection, grad_bias, grad_own = (
            None if total is None else total[0] if total.shape[0] == 1 else total.sum(0)
            for total in by_thread
        )
        own = () if grad_own is None else grad_own.unbind(0)
        return (
            *(None, None, None),
            *(grad_x, grad_input, grad_hidden, grad_bias),
            None,
            *(total if used else None for total, used in zip(own, trace.grad["p"], strict=True)),
            *(grad_state if to_initial else (None,) * n_states),
            *(() if weights.projection is None else (grad_projection,)),
            *((None,) if settings.cell.noise else ()),
        )
