"""The function engine: one autograd node for the whole sequence, in torch operations.

Against the loop it saves the bookkeeping of one graph node per operation and step. The forward pass records
only the states. The backward pass uses that ``step`` treats every row and feature alone: one call on all N
steps at once gives the local derivatives of every step, the loop back through time is a few products with
them, and all weight gradients are one product over all steps each.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.cells import Cell
from gatewise.engine.packing import step_slices
from gatewise.engine.second import differentiable_backward, sequence_inputs
from gatewise.engine.weights import Result, Unsupported, Weights


def run(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    reverse: bool,
    state_mask: Tensor | None = None,
    noise: Tensor | None = None,
) -> Result:
    """Run a cell over packed sequences, as :func:`gatewise.engine.loop.run` does, without a history.

    Raises Unsupported, saying why, where another engine has to do it.
    """
    if not supports(cell):
        raise Unsupported("a step that mixes features")
    inputs = sequence_inputs(weights, x, state, state_mask, noise)
    outputs, *final = _Sequence.apply(cell, batch_sizes, reverse, tuple(weights.own), *inputs)
    return Result(outputs, tuple(final), {})


class _Sequence(torch.autograd.Function):
    """:func:`sequence_inputs` to (outputs, final state…)."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        batch_sizes: tuple[int, ...],
        reverse: bool,
        own_names: tuple[str, ...],
        x: Tensor,
        weight_input: Tensor,
        weight_hidden: Tensor,
        bias: Tensor | None,
        state_mask: Tensor | None,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        n_own, n_states = len(own_names), len(cell.states)
        own_values, initial = others[:n_own], others[n_own : n_own + n_states]
        own = SimpleNamespace(**dict(zip(own_names, own_values, strict=True)))
        a = F.linear(x, weight_input, bias)
        projection = _projection(cell, own_names, others)
        if cell.noise:
            a = torch.cat([a, others[-1].to(a.dtype)], dim=1)
        state = tuple(s.contiguous() for s in initial)
        history: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []
        for rows, alive in step_slices(batch_sizes, reverse):
            full = alive == len(state[0])
            current = state if full else tuple(s[:alive] for s in state)
            h = current[0] if state_mask is None else current[0] * state_mask[:alive]
            r = F.linear(h, weight_hidden)
            after, _ = cell.step(
                cell.split_gates(a[rows]), cell.split_recurrent(r), cell.name_state(current), own
            )
            if projection is not None:
                after = (F.linear(after[0], projection), *after[1:])
            history.append(current)
            outputs.append(after[0])
            state = (
                tuple(after)
                if full
                else tuple(torch.cat([new, old[alive:]]) for new, old in zip(after, state, strict=True))
            )
        if reverse:
            history.reverse()
            outputs.reverse()
        before = [torch.cat(values) for values in zip(*history, strict=True)]
        ctx.cell, ctx.batch_sizes, ctx.reverse, ctx.own_names = cell, batch_sizes, reverse, own_names
        # The meta device, for one, knows no autocast; the CPU's then stands in.
        device = x.device.type if torch.amp.is_autocast_available(x.device.type) else "cpu"
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(x, weight_input, weight_hidden, bias, state_mask, *others, a, *before)
        return (torch.cat(outputs), *state)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight_input, weight_hidden, bias, state_mask, *rest = ctx.saved_tensors
        n_states = len(ctx.cell.states)
        others, (a, *before) = rest[: -1 - n_states], rest[-1 - n_states :]
        inputs = (x, weight_input, weight_hidden, bias, state_mask, *others)
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype, enabled):
            if torch.is_grad_enabled():
                # Somebody wants derivatives of these gradients (create_graph): the loop has them.
                wanted = ctx.needs_input_grad[4:]
                return (None, None, None, None, *differentiable_backward(ctx, inputs, grads, wanted))
            return (None, None, None, None, *_backward(ctx, inputs, a, before, grads))


def _backward(
    ctx: Any, inputs: tuple[Any, ...], a: Tensor, before: list[Tensor], grads: tuple[Tensor, ...]
) -> list[Tensor | None]:
    """Backpropagation through time; gradients in the order of ``inputs``."""
    cell: Cell = ctx.cell
    x, weight_input, weight_hidden, _, state_mask, *others = inputs
    grad_outputs, *grad_final = grads
    grad_state = [grad.clone() for grad in grad_final]
    projection = _projection(cell, ctx.own_names, others)
    hidden_size = len(weight_input) // len(cell.gates)
    masked_h = before[0]
    if state_mask is not None:
        masked_h = masked_h * torch.cat([state_mask[:size] for size in ctx.batch_sizes or (0,)])

    with torch.enable_grad():
        a_all = a.detach().requires_grad_()
        r_all = F.linear(masked_h, weight_hidden).detach().requires_grad_()
        s_all = [s.detach().requires_grad_() for s in before]
        own_values = [value.detach().requires_grad_() for value in others[: len(ctx.own_names)]]
        own = SimpleNamespace(**dict(zip(ctx.own_names, own_values, strict=True)))
        after, _ = cell.step(
            cell.split_gates(a_all), cell.split_recurrent(r_all), cell.name_state(s_all), own
        )
    # For each input (r, then the states before) and each new state: the derivative of the one by the other,
    # [N, blocks, H] with r's gate blocks side by side, or None where there is none.
    by_new = [_grad([new], [r_all, *s_all], [torch.ones_like(new)], retain_graph=True) for new in after]
    local = [
        [None if d is None else d.unflatten(1, (-1, hidden_size)) for d in by_input]
        for by_input in zip(*by_new, strict=True)
    ]

    grad_after = [torch.empty_like(new) for new in after]
    grad_hidden = torch.empty_like(grad_outputs)
    for rows, alive in reversed(step_slices(ctx.batch_sizes, ctx.reverse)):
        grad_state[0][:alive] += grad_outputs[rows]
        incoming = [grad[:alive] for grad in grad_state]
        of_step = incoming
        if projection is not None:
            grad_hidden[rows] = incoming[0]
            of_step = [torch.mm(incoming[0], projection.to(incoming[0].dtype)), *incoming[1:]]
        for total, grad in zip(grad_after, of_step, strict=True):
            total[rows] = grad
        by_r, *by_state = [_through(derivatives, rows, of_step) for derivatives in local]
        for grad, through in zip(incoming, by_state, strict=True):
            grad.zero_() if through is None else grad.copy_(through)
        if by_r is not None:
            through_r = torch.mm(by_r, weight_hidden.to(by_r.dtype))
            incoming[0] += through_r if state_mask is None else through_r * state_mask[:alive]

    # None where `step` leaves a, r or a parameter out: a product with zeros would let NaN into the gradient.
    grad_a, grad_r, *grad_own = _grad(after, [a_all, r_all, *own_values], grad_after)
    if grad_a is not None:
        grad_a = grad_a[:, : len(weight_input)]
    x_wanted, input_wanted, hidden_wanted, bias_wanted, *_ = ctx.needs_input_grad[4:]
    return [
        F.linear(grad_a, weight_input.t()) if x_wanted and grad_a is not None else None,
        F.linear(grad_a.t(), x.t()) if input_wanted and grad_a is not None else None,
        F.linear(grad_r.t(), masked_h.t()) if hidden_wanted and grad_r is not None else None,
        grad_a.sum(0) if bias_wanted and grad_a is not None else None,
        None,
        *grad_own,
        *grad_state,
        *([] if projection is None else [F.linear(grad_hidden.t(), after[0].detach().t())]),
        *([None] if cell.noise else []),
    ]


def _projection(cell: Cell, own_names: tuple[str, ...], others: Sequence[Any]) -> Any:
    """The projection among what follows the mask in :func:`sequence_inputs`, if the cell has one."""
    return None if cell.projection_size is None else others[len(own_names) + len(cell.states)]


def _grad(
    outputs: Any, inputs: list[Tensor], grads: list[Tensor], retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """autograd.grad with None for what the outputs do not depend on."""
    connected = [
        (out, grad.to(out.dtype)) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad
    ]
    if not connected:
        return (None,) * len(inputs)
    outs, outer = zip(*connected, strict=True)
    return torch.autograd.grad(outs, inputs, outer, retain_graph=retain_graph, allow_unused=True)


def _through(derivatives: list[Tensor | None], rows: slice, incoming: list[Tensor]) -> Tensor | None:
    """Sum over the new states of derivative [n, blocks, H] · gradient [n, H], as [n, blocks·H]."""
    total: Tensor | None = None
    for derivative, grad in zip(derivatives, incoming, strict=True):
        if derivative is None:
            continue
        if total is None:
            total = derivative[rows] * grad.unsqueeze(1)
        else:
            total = total.addcmul(derivative[rows], grad.unsqueeze(1))
    return None if total is None else total.flatten(1)


_row_and_feature_alone: WeakKeyDictionary[Cell, bool] = WeakKeyDictionary()


def supports(cell: Cell) -> bool:
    """Whether each feature of the new state depends on r and the old state in that row and feature alone.

    So it is for cells of element-wise operations; a layer norm over r or the state mixes features. Found by
    differentiating ``step`` once at an arbitrary point.
    """
    if cell not in _row_and_feature_alone:
        _row_and_feature_alone[cell] = _probe(cell)
    return _row_and_feature_alone[cell]


@torch.compiler.disable
@torch.enable_grad()
def _probe(cell: Cell, rows: int = 2, features: int = 3) -> bool:
    def point(blocks: int, offset: float) -> Tensor:
        values = torch.arange(rows * blocks * features, dtype=torch.float64).add(offset).sin()
        return values.view(rows, -1).requires_grad_()

    # Noise of 0 leaves the whole of a step to be seen.
    noise = torch.zeros(rows, len(cell.noise) * features, dtype=torch.float64)
    a, r = torch.cat([point(len(cell.gates), 0.1), noise], dim=1), point(len(cell.recurrent), 0.7)
    state = [point(1, 1.3 + k) for k in range(len(cell.states))]
    # Not the starting values: a matrix of zeros mixes features once it is trained.
    own = {
        name: torch.arange(value.numel(), dtype=torch.float64).sin().mul(0.4).add(1).view_as(value)
        for name, value in cell.own_parameters(features).items()
    }
    with torch.autocast("cpu", enabled=False):
        after, _ = cell.step(
            cell.split_gates(a), cell.split_recurrent(r), cell.name_state(state), SimpleNamespace(**own)
        )
    for new in after:
        for feature in range(features):
            one = torch.zeros_like(new)
            one[0, feature] = 1
            for derivative in _grad([new], [r, *state], [one], retain_graph=True):
                if derivative is None:
                    continue
                blocks = derivative.view(rows, -1, features).clone()
                blocks[0, :, feature] = 0
                if bool(blocks.any()):
                    return False
    return True
