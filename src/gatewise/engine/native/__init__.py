"""The native engine: a cell's step and its derivative as C, compiled once, called once per sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.native import memory
from gatewise.engine.native.call import Call
from gatewise.engine.native.kernel import Kernel, kernel_for
from gatewise.engine.native.trace import Trace
from gatewise.engine.second import differentiable_backward, sequence_inputs
from gatewise.engine.weights import Result, Unsupported, Weights

__all__ = ["run"]


def run(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    reverse: bool,
    state_mask: Tensor | None = None,
    noise: Tensor | None = None,
    show: bool = False,
    recompute: bool = False,
) -> Result:
    """Run a cell over packed sequences, as :func:`gatewise.engine.loop.run` does.

    With ``recompute`` the forward pass keeps the states alone, and the backward pass computes the rest again.
    Raises Unsupported, saying why, where another engine has to do it.
    """
    compiled = kernel_for(cell, weights, x, (*state, state_mask, noise))
    inputs = sequence_inputs(weights, x, state, state_mask, noise)
    # Asked here: within an autograd.Function there is no grad mode, and without one its inputs still say that
    # they need gradients.
    differentiated = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    if show and (differentiated or not compiled.trace.shown_names):
        raise Unsupported("gates that carry gradients" if differentiated else "gates of other shapes")
    settings = _Settings(
        cell, batch_sizes, reverse, tuple(weights.own), compiled, differentiated, show, recompute
    )
    outputs, *rest = _Sequence.apply(settings, *inputs)
    final, history = rest[: len(state)], rest[len(state) :]
    names = (*compiled.trace.shown_names, *cell.states) if show else ()
    return Result(outputs, tuple(final), dict(zip(names, history, strict=True)))


class _Settings:
    """What a sequence depends on beside its tensors."""

    def __init__(
        self,
        cell: Cell,
        batch_sizes: tuple[int, ...],
        reverse: bool,
        own_names: tuple[str, ...],
        compiled: Kernel,
        differentiated: bool,
        show: bool,
        recompute: bool,
    ) -> None:
        self.cell, self.batch_sizes, self.reverse, self.own_names = cell, batch_sizes, reverse, own_names
        self.compiled, self.differentiated = compiled, differentiated
        self.show, self.recompute = show, recompute

    def parted(self, inputs: Any) -> tuple[Tensor, Weights, tuple[Tensor, ...], Any, Any]:
        """:func:`sequence_inputs` as x, weights, initial state, mask and noise."""
        x, weight_input, weight_hidden, bias, mask, *others = inputs
        rest = iter(others)
        own = {name: next(rest) for name in self.own_names}
        initial = tuple(next(rest).contiguous() for _ in self.cell.states)
        projection = None if self.cell.projection_size is None else next(rest)
        noise = next(rest) if self.cell.noise else None
        return x, Weights(weight_input, weight_hidden, bias, own, projection), initial, mask, noise


class _Sequence(torch.autograd.Function):
    """:func:`sequence_inputs` to (outputs, final state…, shown gates…, states…)."""

    @staticmethod
    def forward(ctx: Any, settings: _Settings, *inputs: Tensor) -> tuple[Tensor, ...]:
        x, weights, initial, mask, noise = settings.parted(inputs)
        x = x.contiguous()
        recorded, cell = settings.compiled.trace, settings.cell
        hidden_size = len(weights.input) // len(cell.gates)
        differentiated = settings.differentiated
        keeps = differentiated or settings.show
        lengths = [len(x) if keeps or k == 0 else 2 * len(s) for k, s in enumerate(initial)]
        # The outputs are the caller's, who may keep them for long.
        states = [
            s.new_empty(length, s.shape[1]) if k == 0 else memory.empty(s, length, s.shape[1])
            for k, (length, s) in enumerate(zip(lengths, initial, strict=True))
        ]
        final = [torch.empty_like(s) for s in initial]
        made = saved = shown = None
        if differentiated:
            if weights.projection is not None:
                made = x.new_empty(len(x), hidden_size)
            if not settings.recompute:
                saved = memory.empty(x, len(x), max(1, recorded.kept(hidden_size)))
        if settings.show:
            shown = x.new_empty(len(x), len(recorded.shown), hidden_size)
        batch = len(initial[0])
        call = Call(settings.compiled, settings.batch_sizes, batch, settings.reverse, weights, mask, noise)
        call.forward(x, initial, states, final, made, saved, shown, keeps)
        ctx.settings, ctx.call = settings, call
        if differentiated:
            ctx.save_for_backward(*inputs, *states, *(t for t in (made, saved) if t is not None))
        history = (*shown.unbind(1), *states) if shown is not None else ()
        return (states[0], *final, *history)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        settings: _Settings = ctx.settings
        n_states = len(settings.cell.states)
        needed = ctx.needs_input_grad[1:]
        inputs = ctx.saved_tensors[: len(needed)]
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these gradients (create_graph): the loop has them.
            return (None, *differentiable_backward(settings, inputs, grads[: 1 + n_states], needed))
        x, weights, initial, *_ = settings.parted(inputs)
        states, (*kept,) = (
            ctx.saved_tensors[len(needed) :][:n_states],
            ctx.saved_tensors[len(needed) + n_states :],
        )
        made = kept.pop(0) if weights.projection is not None else None
        saved = kept.pop(0) if kept else None
        above, *grad_final = (grad.contiguous() for grad in grads[: 1 + n_states])
        grad_state = [grad.clone() for grad in grad_final]
        call: Call = ctx.call
        recorded = settings.compiled.trace
        sums = _gradients(recorded, weights, x, needed, call)
        call.backward(x.contiguous(), initial, states, grad_state, made, saved, above, sums)
        grad_x, *by_thread = sums
        grad_input, grad_hidden, grad_projection, grad_bias, grad_own = (
            None if total is None else total[0] if len(total) == 1 else total.sum(0) for total in by_thread
        )
        own = () if grad_own is None else grad_own.unbind(0)
        return (
            None,
            *(grad_x, grad_input, grad_hidden, grad_bias),
            None,
            *(total if used else None for total, used in zip(own, recorded.grad["p"], strict=True)),
            *grad_state,
            *(() if weights.projection is None else (grad_projection,)),
            *((None,) if settings.cell.noise else ()),
        )


def _gradients(
    recorded: Trace, weights: Weights, x: Tensor, needed: tuple[bool, ...], call: Call
) -> list[Tensor | None]:
    """Room for the gradients of x, U, W, the projection, b and the own parameters, as far as wanted.

    All but the first hold a sum for each thread; where the threads share every step only that of the own
    parameters does. None where ``step`` leaves a, r or a parameter out: a product with zeros would let NaN
    into the gradient.
    """
    x_needed, input_needed, hidden_needed, bias_needed = needed[:4]
    by_a, by_r = recorded.reaches("a"), recorded.reaches("r")
    sums = 1 if call.together else call.threads

    def zeros(weight: Tensor | None, wanted: bool) -> Tensor | None:
        return weight.new_zeros(sums, *weight.shape) if weight is not None and wanted else None

    own = (
        x.new_zeros(call.threads, len(weights.own), *next(iter(weights.own.values())).shape)
        if weights.own
        else None
    )
    return [
        x.new_empty(x.shape) if x_needed and by_a else None,
        zeros(weights.input, input_needed and by_a),
        zeros(weights.hidden, hidden_needed and by_r),
        zeros(weights.projection, True),
        zeros(weights.bias, bias_needed and by_a),
        own,
    ]
