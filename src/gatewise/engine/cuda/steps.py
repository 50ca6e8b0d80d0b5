"""The sequence step by step: library products, and between them one kernel for all that a step computes.

It runs every cell of every size, projections and reductions along the features included, in float32 as exact
as torch's products are, and in float64.

A request may be of K models, with weights [K, …] and x [N, K, F]: then its other tensors have the rows of all
models in turn, K for every sequence, and so do the results. Each product is one of K matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.cuda.design import Backward, Forward
from gatewise.engine.cuda.digits import product_of_all_digits, tf32_allowed
from gatewise.engine.cuda.emit import kept_values, threads_of
from gatewise.engine.cuda.graphs import Graphs, Tensors, graphs_of, product_settings
from gatewise.engine.cuda.launcher import Launcher
from gatewise.engine.packing import step_slices
from gatewise.engine.request import Request
from gatewise.engine.traced.trace import Trace


class Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    a: Tensor
    """[N, A·H]: U x + b, and the noise."""
    hidden: Tensor
    """[N, P]: the masked hidden state before every step."""
    values: Tensor
    """[N, what a row keeps]."""
    unprojected: Tensor | None
    """[N, H], or None where nothing is projected."""


@dataclass(frozen=True, eq=False)
class StepKernels:
    """A cell's two kernels, and what they were made from."""

    trace: Trace
    launcher: Launcher
    step_forward: Any
    step_backward: Any
    of_gates: Callable[[Cell, tuple[int, ...]], StepKernels] | None = None

    def starter(self, kernel: Any, request: Request, models: int) -> Callable[[Sequence[int], int], None]:
        """What starts one of the two, with its words, for so many rows of all models."""
        threads = threads_of(request.hidden_size)
        shared = threads * accumulated(request.x.dtype).itemsize if self.trace.row_values else 0
        launch = self.launcher.launch

        def start(words: Sequence[int], rows: int) -> None:
            launch(kernel, words, rows // models, threads, shared, models=models)

        return start

    kept: ClassVar[type[Kept]] = Kept

    def forward(self, request: Request, keep: bool) -> Forward:
        """The forward pass, which keeps what a backward pass needs."""
        graphs = _graphs_for(request)
        if graphs is None:
            return forward(self, request, keep)
        settings, states = request.settings, len(request.state)

        def run(tensors: Tensors) -> Tensors:
            result = forward(self, settings.request(tensors), keep)
            kept = result.kept if keep else (None,) * len(Kept._fields)
            return (result.outputs, *result.final, result.gates, result.states, *kept)

        key = ("forward", self, settings, keep, product_settings())
        outputs, *results = graphs.call(key, run, request.tensors())
        assert outputs is not None
        final, (gates, history), kept = results[:states], results[states : states + 2], results[states + 2 :]
        return Forward(outputs, final, gates, history, Kept(*kept) if keep else None)  # type: ignore[arg-type]

    def backward(
        self,
        request: Request,
        kept: Any,
        above: Tensor,
        grad_final: Sequence[Tensor | None],
        carried: Sequence[Tensor | None] = (),
    ) -> Backward:
        """The backward pass."""
        graphs = _graphs_for(request)
        if graphs is None:
            return backward(self, request, kept, above, grad_final, carried)
        settings, given = request.settings, request.tensors()
        first, last = len(given), len(given) + len(Kept._fields)
        end = last + 1 + len(grad_final)

        def run(tensors: Tensors) -> Tensors:
            again = Kept(*tensors[first:last])  # type: ignore[arg-type]
            of_outputs, *of_final = tensors[last:end]
            same = settings.request(tensors[:first])
            result = backward(self, same, again, of_outputs, of_final, tensors[end:])  # type: ignore[arg-type]
            of_r = None if self.trace.one_gradient else result.of_r
            return (result.of_a, of_r, result.of_projection, result.of_own, *result.of_states)

        key = ("backward", self, settings, product_settings())
        of_a, of_r, *rest = graphs.call(key, run, (*given, *kept, above, *grad_final, *carried))
        assert of_a is not None
        return Backward(of_a, of_a if of_r is None else of_r, rest[0], rest[1], rest[2:])  # type: ignore[arg-type]


FEWEST_STEPS = 8
"""With fewer, copying what a graph reads and writes takes as long as launching the steps."""


def _graphs_for(request: Request) -> Graphs | None:
    return graphs_of(request.x.device) if len(request.batch_sizes) >= FEWEST_STEPS else None


def accumulated(dtype: torch.dtype) -> torch.dtype:
    """The dtype of states and sums where tensors have ``dtype``."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product(x: Tensor, y: Tensor) -> Tensor:
    """x [N, I] times y [I, J], with sums in float32 (float64 for float64).

    With y of K models, [K, I, J], and x of their rows in turn, [N·K, I] or [N, K, I]: [K, N, J].
    """
    wide = accumulated(x.dtype)
    multiply: Any = torch.mm if y.dim() == 2 else torch.bmm
    x = _of_each(x, y)
    if x.dtype == wide:
        return multiply(x, y)  # type: ignore[no-any-return]
    if not x.is_cuda:
        return multiply(x.to(wide), y.to(wide))  # type: ignore[no-any-return]
    try:
        return multiply(x, y, out_dtype=wide)  # type: ignore[no-any-return]
    except TypeError:  # torch before 2.8
        return multiply(x, y).to(wide)  # type: ignore[no-any-return]


def in_turn(result: Tensor) -> Tensor:
    """A result of :func:`product` with the models' rows in turn, [N·K, J]."""
    return result if result.dim() == 2 else result.transpose(0, 1).flatten(0, 1)


def _of_each(x: Tensor, weights: Tensor) -> Tensor:
    """Rows in turn as each model's, [K, N, I], for weights [K, …]; as they are for those of one model."""
    if weights.dim() == 2:
        return x
    return (x.unflatten(0, (-1, len(weights))) if x.dim() == 2 else x).transpose(0, 1)


def forward(kernels: StepKernels, request: Request, keep: bool) -> Forward:
    """The forward pass, step by step."""
    cell, weights, trace = request.cell, request.weights, kernels.trace
    dtype, size, rows = request.x.dtype, request.hidden_size, sum(request.batch_sizes)
    wide, models = accumulated(dtype), _models(request)
    batch, features = len(request.state[0]), cell.state_sizes(size)[0]
    projects = weights.projection is not None
    a = inputs(request, normed=bool(trace.row_values))
    like: dict[str, Any] = {"device": a.device}
    state = torch.stack(
        [s.new_zeros(batch, size) if projects and k == 0 else s for k, s in enumerate(request.state)]
    )
    mask = None if request.state_mask is None else request.state_mask.contiguous()
    first_hidden = (request.state[0] if mask is None else request.state[0] * mask).to(dtype, copy=True)
    outputs = torch.empty(rows, features, dtype=dtype, **like)
    final_hidden = request.state[0].clone() if projects else None
    unprojected = torch.empty(rows, size, dtype=dtype, **like) if projects else None
    # Where it is kept, a step writes the hidden state to where the next one multiplies it; of a sequence that
    # has ended, to a row of a later step, which another one writes again.
    before = torch.empty(rows + batch, features, dtype=dtype, **like) if keep else None
    in_place = before is not None and not projects
    per_row = len(kept_values(trace)) * size + len(trace.saved_of_row)
    values = torch.empty(rows, max(1, per_row), dtype=wide, **like) if keep else None
    wanted = request.return_gates
    gates = torch.empty(rows, len(trace.gates), size, dtype=dtype, **like) if wanted else None
    states = torch.empty(rows, len(request.state), size, dtype=dtype, **like) if wanted else None
    own = stacked(request)
    recurrent = weights.hidden.mT
    multiply = _multiplier(recurrent, batch, wide) if trace.uses_hidden else None
    start = kernels.starter(kernels.step_forward, request, models)
    target = outputs if unprojected is None else unprojected
    by_row = [_by_row(t) for t in (a, target, before, values, gates, states)]
    fixed = (at(state), at(mask), at(first_hidden), at(own))
    slices = [
        (step.start, alive) for step, alive in step_slices(request.batch_sizes, request.reverse) if alive
    ]
    h, alive_before = first_hidden, 0
    for place, (first, alive) in enumerate(slices):
        if before is not None and in_place:
            if alive > alive_before:
                before[first + alive_before : first + alive] = first_hidden[alive_before:alive]
            h = before[first : first + alive]
        elif alive != alive_before:
            h = first_hidden[:alive]
        if before is not None and not in_place:
            before[first : first + alive] = h
        alive_before = alive
        r = None if multiply is None else multiply(h)
        a_at, target_at, next_at, values_at, gates_at, states_at = (
            base + first * size for base, size in by_row
        )
        if in_place:
            after = slices[place + 1][0] if place + 1 < len(slices) else rows
            next_at += (after - first) * by_row[2][1]
        else:
            next_at = fixed[2]
        words = [
            *(a_at, at(r), *fixed[:2], target_at, next_at, fixed[3]),
            *(values_at, gates_at, states_at, batch),
        ]
        start(words, alive)
        if unprojected is not None and final_hidden is not None:
            step = slice(first, first + alive)
            projection = weights.projection.mT  # type: ignore[union-attr]
            projected = in_turn(_of_each(unprojected[step], projection) @ projection)
            outputs[step] = projected
            first_hidden[:alive] = projected if mask is None else projected * mask[:alive]
            final_hidden[:alive] = projected
    final = list(state.unbind(0))
    if final_hidden is not None:
        final[0] = final_hidden
    kept = Kept(a, before[:rows], values, unprojected) if before is not None and values is not None else None
    return Forward(outputs, final, gates, states, kept)


def backward(
    kernels: StepKernels,
    request: Request,
    kept: Kept,
    above: Tensor,
    grad_final: Sequence[Tensor | None],
    carried: Sequence[Tensor | None] = (),
) -> Backward:
    """The backward pass, step by step."""
    cell, weights, trace = request.cell, request.weights, kernels.trace
    dtype, size, rows = request.x.dtype, request.hidden_size, sum(request.batch_sizes)
    batch, models = len(request.state[0]), _models(request)
    projects = weights.projection is not None
    like: dict[str, Any] = {"device": above.device}
    above = above.contiguous()
    of_final = [
        torch.zeros_like(state) if grad is None else grad
        for grad, state in zip(grad_final, request.state, strict=True)
    ]
    grad = torch.stack(
        [g.new_zeros(batch, size) if projects and k == 0 else g for k, g in enumerate(of_final)]
    )
    grad_hidden = of_final[0].clone() if projects else grad[0]
    grad_a = torch.empty(rows, len(cell.gates) * size, dtype=dtype, **like)
    grad_r = (
        grad_a if trace.one_gradient else torch.empty(rows, len(cell.recurrent) * size, dtype=dtype, **like)
    )
    of_outputs = torch.empty(rows, grad_hidden.shape[1], dtype=dtype, **like) if projects else None
    own = stacked(request)
    grad_own = None if own is None else own.new_zeros(batch, *own.shape[-2:])
    mask = None if request.state_mask is None else request.state_mask.to(grad.dtype)
    start = kernels.starter(kernels.step_backward, request, models)
    reaches, plain = trace.reaches("r"), weights.hidden.dim() == 2 and dtype is grad.dtype and mask is None
    by_row = [_by_row(None if projects else above)]
    by_row += [_by_row(t) for t in (kept.values, kept.a, grad_a, None if trace.one_gradient else grad_r)]
    grad_at, own_at, grad_own_at = at(grad), at(own), at(grad_own)
    passed, alive_before = grad_hidden, 0
    for step, alive in reversed(step_slices(request.batch_sizes, request.reverse)):
        if not alive:
            continue
        first = step.start
        if alive != alive_before:
            passed, alive_before = grad_hidden[:alive], alive
        if of_outputs is not None:
            passed += above[step]
            of_outputs[step] = passed
            through = product(of_outputs[step], weights.projection)  # type: ignore[arg-type]
            grad[0, :alive] = in_turn(through)
            passed.zero_()
        above_at, values_at, a_at, grad_a_at, grad_r_at = (base + first * size for base, size in by_row)
        words = [
            *(grad_at, above_at, own_at, values_at, a_at),
            *(grad_a_at, grad_r_at, grad_own_at, batch),
            *(at(g, first) for g in carried),
        ]
        start(words, alive)
        if not reaches:
            continue
        of_r = grad_r[step]
        if plain:
            passed.addmm_(of_r, weights.hidden)
            continue
        through = in_turn(product(of_r, weights.hidden))
        if mask is None:
            passed += through
        else:
            passed.addcmul_(through, mask[:alive])
    grad_projection = None
    if of_outputs is not None and kept.unprojected is not None:
        of_each = _of_each(of_outputs, weights.hidden), _of_each(kept.unprojected, weights.hidden)
        grad_projection = of_each[0].mT @ of_each[1]
    grad_states = list(grad.unbind(0))
    if projects:
        grad_states[0] = grad_hidden
    of_own = None
    if own is not None and grad_own is not None:
        of_own = grad_own.unflatten(0, (-1, *own.shape[:-2])).sum(0)
    return Backward(grad_a, grad_r, grad_projection, of_own, grad_states)


def inputs(request: Request, normed: bool) -> Tensor:
    """U x + b and the noise, [N, A·H], in the dtype of sums: a norm would magnify what is rounded off."""
    weights = request.weights
    x, bias = request.x, weights.bias
    if x.dim() == 2 and normed and x.dtype == torch.float32 and tf32_allowed():
        a = product_of_all_digits(x, weights.input)
        a = a if bias is None else a + bias
    elif x.dim() == 3 and not x.stride(1):  # one input for all models, whose weights are then as one
        a = product(x[:, 0], weights.input.flatten(0, 1).t())
        if bias is not None:
            a += bias.flatten()
        a = a.unflatten(1, (x.shape[1], -1)).flatten(0, 1)
    else:
        a = product(x, weights.input.mT)
        if bias is not None:
            a += bias.unsqueeze(-2)
        a = in_turn(a)
    return a if request.noise is None else torch.cat([a, request.noise.to(a.dtype)], 1)


def stacked(request: Request) -> Tensor | None:
    """The cell's own parameters, [O, H] or of each model [K, O, H], or None where it has none."""
    own = list(request.weights.own.values())
    if len(own) == 1:
        return own[0].unsqueeze(-2).contiguous()
    return torch.stack(own, -2) if own else None


def _models(request: Request) -> int:
    return len(request.weights.hidden) if request.weights.hidden.dim() == 3 else 1


def at(tensor: Tensor | None, row: int = 0) -> int:
    """The address of a row of a contiguous tensor; 0 for None."""
    if tensor is None:
        return 0
    assert tensor.is_contiguous()
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()


def _by_row(tensor: Tensor | None) -> tuple[int, int]:
    """The address of a contiguous tensor and the bytes of one of its rows; 0 and 0 for None."""
    return (0, 0) if tensor is None else (at(tensor), tensor.stride(0) * tensor.element_size())


def _multiplier(weights: Tensor, batch: int, wide: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The product with these weights, into the same memory at every step where one dtype does for all."""
    if weights.dim() != 2 or weights.dtype is not wide:
        return partial(product, y=weights)
    space = weights.new_empty(batch, weights.shape[1])
    into = space

    def multiply(x: Tensor) -> Tensor:
        nonlocal into
        if len(into) != len(x):
            into = space[: len(x)]
        return torch.mm(x, weights, out=into)

    return multiply
