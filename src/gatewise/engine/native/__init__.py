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
from gatewise.engine.native.gates import carrying_gates
from gatewise.engine.native.gradients import empty_gradients
from gatewise.engine.native.kernel import Kernel, kernel_for
from gatewise.engine.native.kernel import rounded as with_rounded_factors
from gatewise.engine.native.many import Models
from gatewise.engine.native.prepared import Prepared, kernel_of
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.returned import Incoming, result_of
from gatewise.engine.second import backward_by_loop, differentiable_backward
from gatewise.engine.torch_internals import in_torch_func

__all__ = ["Prepared", "prepare", "run"]


def run(request: Request) -> Result:
    """Run the request.

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
        kernel = with_rounded_factors(kernel, request.cell, request.hidden_size)
    if in_torch_func():
        return models.run(request, Models(kernel))
    # Asked here, because inside an autograd.Function there is no grad mode, and its inputs claim to need
    # gradients even under no_grad.
    differentiated = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if request.return_gates and not kernel.trace.gate_names:
        raise Unsupported("gates of other shapes")
    if request.return_gates and differentiated:
        kernel = carrying_gates(kernel, request, _agrees)
    return _apply(request.settings, kernel, differentiated, tensors)


def _apply(
    settings: Settings, kernel: Kernel, differentiated: bool, tensors: Sequence[Tensor | None]
) -> Result:
    returned = _Sequence.apply(settings, kernel, differentiated, *tensors)
    return result_of(settings, kernel.trace, returned)


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
        return _apply(request.settings, kernel, True, request.tensors())

    return agrees_with_loop(run_kernel, cell, hidden_size, dtype, kernel.backward_of_gates is not None)


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…, gates…, states but the first…)."""

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
        if gates is None:
            return (states[0], *final)
        # By `data` each is a tensor of its own: a caller could not change views of one in place.
        of_gates = [gate.data for gate in gates.unbind(1)]
        if differentiated:
            ctx.set_materialize_grads(False)
            constant = set(range(len(of_gates))).difference(trace.carrying)
            ctx.mark_non_differentiable(*(of_gates[place] for place in constant))
        return (states[0], *final, *of_gates, *states[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        settings: Settings = ctx.settings
        call: Call = ctx.call
        n_states = len(settings.cell.states)
        needed = ctx.needs_input_grad[3:]
        tensors, (*computed,) = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        incoming = Incoming(settings, call.kernel.trace, grads)
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            gradients = differentiable_backward(settings, tensors, grads, needed, incoming.names)
            return (None, None, None, *gradients)
        request = settings.request(tensors)
        weights = request.weights
        states, rest = computed[:n_states], computed[n_states:]
        unprojected = rest.pop(0) if weights.projection is not None else None
        saved = rest.pop(0) if rest else None
        if call.kernel.backward_of_gates is not None:
            try:
                kernel = call.kernel.backward_of_gates(settings.cell, call.kernel, incoming.places)
            except Unsupported:  # the compiler is gone, or the disk is full
                return (None, None, None, *backward_by_loop(settings, tensors, grads, needed, incoming.names))
            call = call.by(kernel)
        trace = call.kernel.trace
        above = torch.zeros_like(states[0]) if incoming.above is None else incoming.above.contiguous()
        initial = [s.contiguous() for s in request.state]
        grad_state = [
            torch.zeros_like(state) if grad is None else grad.clone(memory_format=torch.contiguous_format)
            for grad, state in zip(incoming.final, initial, strict=True)
        ]
        # Where the threads share every step, only the sums of own parameters are one for each.
        sums = empty_gradients(trace, request, needed, call.threads, 1 if call.together else call.threads)
        first = 5 + len(weights.own)
        to_initial = any(needed[first : first + n_states])
        x, carried = request.x.contiguous(), incoming.carried()
        call.backward(x, initial, states, grad_state, unprojected, saved, above, sums, to_initial, carried)
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
