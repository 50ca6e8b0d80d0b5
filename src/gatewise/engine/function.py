"""The function engine: one autograd node for the whole sequence, made of torch operations.

It is faster than the loop because there is no graph node for each operation of each step. The forward pass
records only the states. The backward pass relies on ``step`` treating every row and feature separately: one
call on all N steps at once gives the local derivatives of every step, the loop back through time is a few
products with them, and each weight gradient is one product over all steps.
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
from gatewise.engine.agreement import agrees_with_loop
from gatewise.engine.contract import raise_again
from gatewise.engine.packing import step_slices
from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.second import differentiable_backward


def run(request: Request) -> Result:
    """Run the request, without gates. Raises Unsupported where another engine has to run it."""
    if request.return_gates:
        raise Unsupported("gates to return")
    reason = _reason(request.cell, request.hidden_size)
    if reason is not None:
        raise Unsupported(reason)
    if not agrees_with_loop(_run, request.cell, request.hidden_size, torch.float64):
        raise Unsupported("a step with other results here than in the loop")
    return _run(request)


def _run(request: Request) -> Result:
    outputs, *final = _Sequence.apply(request.settings, *request.tensors())
    return Result(outputs, tuple(final), {})


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…)."""

    @staticmethod
    def forward(ctx: Any, settings: Settings, *tensors: Tensor) -> tuple[Tensor, ...]:
        request = settings.request(tensors)
        cell, weights, state_mask = request.cell, request.weights, request.state_mask
        own = SimpleNamespace(**weights.own)
        a = F.linear(request.x, weights.input, weights.bias)
        if request.noise is not None:
            a = torch.cat([a, request.noise.to(a.dtype)], dim=1)
        state = tuple(s.contiguous() for s in request.state)
        history: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []
        for rows, alive in step_slices(request.batch_sizes, request.reverse):
            full = alive == len(state[0])
            before = state if full else tuple(s[:alive] for s in state)
            h = before[0] if state_mask is None else before[0] * state_mask[:alive]
            r = F.linear(h, weights.hidden)
            try:
                after, _ = cell.step(
                    cell.split_gates(a[rows]), cell.split_recurrent(r), cell.name_state(before), own
                )
            except Exception as error:
                raise_again(cell, error)
            if weights.projection is not None:
                after = (F.linear(after[0], weights.projection), *after[1:])
            history.append(before)
            outputs.append(after[0])
            state = (
                tuple(after)
                if full
                else tuple(torch.cat([new, old[alive:]]) for new, old in zip(after, state, strict=True))
            )
        if request.reverse:
            history.reverse()
            outputs.reverse()
        all_before = [torch.cat(values) for values in zip(*history, strict=True)]
        ctx.settings = settings
        # Some devices have no autocast (the meta device, for one): the CPU's setting serves for them.
        kind = request.x.device.type
        device = kind if torch.amp.is_autocast_available(kind) else "cpu"
        ctx.autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(*tensors, a, *all_before)
        return (torch.cat(outputs), *state)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        tensors = ctx.saved_tensors[: len(needed)]
        a, *before = ctx.saved_tensors[len(needed) :]
        device, dtype, enabled = ctx.autocast
        with torch.autocast(device, dtype, enabled):
            if torch.is_grad_enabled():
                # These gradients will be differentiated (create_graph), which takes the loop.
                return (None, *differentiable_backward(ctx.settings, tensors, grads, needed))
            return (None, *_backward(ctx.settings.request(tensors), a, before, grads, needed))


def _backward(
    request: Request, a: Tensor, before: list[Tensor], grads: Sequence[Tensor], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Backpropagation through time; returns gradients in the order of :meth:`Request.tensors`.

    ``a`` and ``before`` are the input's part and the states before each step, each for all packed rows.
    """
    cell, weights, state_mask = request.cell, request.weights, request.state_mask
    hidden_size, projection = request.hidden_size, weights.projection
    grad_outputs, *grad_final = grads
    grad_state = [grad.clone() for grad in grad_final]
    masked_h = before[0]
    if state_mask is not None:
        masked_h = masked_h * torch.cat([state_mask[:size] for size in request.batch_sizes or (0,)])

    with torch.enable_grad():
        a_all = a.detach().requires_grad_()
        r_all = F.linear(masked_h, weights.hidden).detach().requires_grad_()
        s_all = [s.detach().requires_grad_() for s in before]
        own = {name: value.detach().requires_grad_() for name, value in weights.own.items()}
        try:
            after, _ = cell.step(
                cell.split_gates(a_all),
                cell.split_recurrent(r_all),
                cell.name_state(s_all),
                SimpleNamespace(**own),
            )
        except Exception as error:
            raise_again(cell, error)
    # For each input (r, then the states before) and each new state: the derivative of the new state by the
    # input, [N, blocks, H] with r's gate blocks side by side, or None where it does not depend on it.
    by_new = [_grad([new], [r_all, *s_all], [torch.ones_like(new)], retain_graph=True) for new in after]
    local = [
        [None if d is None else d.unflatten(1, (-1, hidden_size)) for d in by_input]
        for by_input in zip(*by_new, strict=True)
    ]

    grad_after = [torch.empty_like(new) for new in after]
    grad_hidden = torch.empty_like(grad_outputs)
    for rows, alive in reversed(step_slices(request.batch_sizes, request.reverse)):
        grad_state[0][:alive] += grad_outputs[rows]
        incoming = [grad[:alive] for grad in grad_state]
        grad_step = incoming
        if projection is not None:
            grad_hidden[rows] = incoming[0]
            grad_step = [torch.mm(incoming[0], projection.to(incoming[0].dtype)), *incoming[1:]]
        for total, grad in zip(grad_after, grad_step, strict=True):
            total[rows] = grad
        by_r, *by_state = [_through(derivatives, rows, grad_step) for derivatives in local]
        for grad, through in zip(incoming, by_state, strict=True):
            grad.zero_() if through is None else grad.copy_(through)
        if by_r is not None:
            through_r = torch.mm(by_r, weights.hidden.to(by_r.dtype))
            incoming[0] += through_r if state_mask is None else through_r * state_mask[:alive]

    # None where `step` does not use a, r or a parameter: a product with zeros would let NaN into it.
    grad_a, grad_r, *grad_own = _grad(after, [a_all, r_all, *own.values()], grad_after)
    if grad_a is not None:
        grad_a = grad_a[:, : len(weights.input)]
    x_needed, input_needed, hidden_needed, bias_needed, *_ = needed
    return [
        F.linear(grad_a, weights.input.t()) if x_needed and grad_a is not None else None,
        F.linear(grad_a.t(), request.x.t()) if input_needed and grad_a is not None else None,
        F.linear(grad_r.t(), masked_h.t()) if hidden_needed and grad_r is not None else None,
        grad_a.sum(0) if bias_needed and grad_a is not None else None,
        None,
        *grad_own,
        *grad_state,
        *([] if projection is None else [F.linear(grad_hidden.t(), after[0].detach().t())]),
        *([None] if cell.noise else []),
    ]


def _grad(
    outputs: Any, inputs: list[Tensor], grads: list[Tensor], retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """autograd.grad, with None for inputs that the outputs do not depend on."""
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


_reasons: WeakKeyDictionary[Cell, dict[int, str | None]] = WeakKeyDictionary()


def supports(cell: Cell, hidden_size: int = 3) -> bool:
    """Whether each feature of the new state depends on the same row and feature of r and the old state only.

    This holds for cells of element-wise operations; a layer norm over r or the state mixes features. The
    input's part ``a`` may be mixed within a row. The answer comes from differentiating ``step`` once at an
    arbitrary point.
    """
    return _reason(cell, hidden_size) is None


def _reason(cell: Cell, hidden_size: int) -> str | None:
    """Why this engine cannot run the cell, found once for each."""
    by_size = _reasons.setdefault(cell, {})
    if hidden_size not in by_size:
        try:
            by_size[hidden_size] = _probe(cell, hidden_size)
        except RuntimeError:  # it has constants of another dtype or device, for one
            by_size[hidden_size] = "a step that does not run in float64 on the CPU"
    return by_size[hidden_size]


@torch.enable_grad()
def _probe(cell: Cell, features: int, rows: int = 2) -> str | None:
    def point(blocks: int, offset: float) -> Tensor:
        values = torch.arange(rows * blocks * features, dtype=torch.float64).add(offset).sin()
        return values.view(rows, -1).requires_grad_()

    gates, r = point(len(cell.gates), 0.1), point(len(cell.recurrent), 0.7)
    state = [point(1, 1.3 + k) for k in range(len(cell.states))]
    # Other values than the starting ones: a matrix of zeros mixes features only once it is trained.
    own = {
        name: torch.arange(value.numel(), dtype=torch.float64).sin().mul(0.4).add(1).view_as(value)
        for name, value in cell.own_parameters(features).items()
    }
    # With a noise of 0 zoneout keeps nothing, so that the whole step counts; as a factor, a noise of 1 does.
    for noise in (0.0, 1.0) if cell.noise else (0.0,):
        blocks = torch.full((rows, len(cell.noise) * features), noise, dtype=torch.float64)
        a = torch.cat([gates, blocks], dim=1)
        with torch.autocast("cpu", enabled=False):
            after, _ = cell.step(
                cell.split_gates(a), cell.split_recurrent(r), cell.name_state(state), SimpleNamespace(**own)
            )
        if any(_mixes(new, gates, [r, *state]) for new in after):
            return "a step that mixes features"
    return None


def _mixes(new: Tensor, a: Tensor, others: list[Tensor]) -> bool:
    """Whether ``new`` [B, H] depends on another row of any of these, or another feature of the ``others``.

    Two places differ in a bit of their number. So the gradient of all places with the bit set, or of all
    without, must be zero everywhere else.
    """
    rows, features = new.shape
    row_of = torch.arange(rows)[:, None].expand(rows, features)
    feature_of = torch.arange(features).expand(rows, features)
    weights = torch.arange(1.0, new.numel() + 1, dtype=new.dtype).cos().view_as(new)
    for number, inputs in ((row_of, [a, *others]), (feature_of, others)):
        for bit in range((int(number.max())).bit_length()):
            for mask in ((number >> bit) % 2 == 1, (number >> bit) % 2 == 0):
                for derivative in _grad([new], inputs, [weights * mask], retain_graph=True):
                    if derivative is None:
                        continue
                    outside = derivative.view(rows, -1, features).masked_select(~mask[:, None])
                    if bool(outside.any()):
                        return True
    return False
