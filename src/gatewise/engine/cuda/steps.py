"""The sequence step by step: library products, and between them one kernel for all that a step computes.

It runs every cell of every size, projections and reductions along the features included, in float32 as exact
as torch's products are, and in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gatewise.engine.cuda.design import Backward, Forward
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

    def launch(
        self, kernel: Any, words: Sequence[int], rows: int, hidden_size: int, dtype: torch.dtype
    ) -> None:
        """Start one of the two for so many rows."""
        threads = threads_of(hidden_size)
        shared = threads * accumulated(dtype).itemsize if self.trace.row_values else 0
        self.launcher.launch(kernel, words, rows, threads, shared)

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

    def backward(self, request: Request, kept: Any, above: Tensor, grad_final: Sequence[Tensor]) -> Backward:
        """The backward pass."""
        graphs = _graphs_for(request)
        if graphs is None:
            return backward(self, request, kept, above, grad_final)
        settings, given = request.settings, request.tensors()
        first, last = len(given), len(given) + len(Kept._fields)

        def run(tensors: Tensors) -> Tensors:
            again = Kept(*tensors[first:last])  # type: ignore[arg-type]
            of_outputs, *of_final = tensors[last:]
            result = backward(self, settings.request(tensors[:first]), again, of_outputs, of_final)  # type: ignore[arg-type]
            of_r = None if self.trace.one_gradient else result.of_r
            return (result.of_a, of_r, result.of_projection, result.of_own, *result.of_states)

        key = ("backward", self, settings, product_settings())
        of_a, of_r, *rest = graphs.call(key, run, (*given, *kept, above, *grad_final))
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
    """x [N, K] times y [K, M], with sums in float32 (float64 for float64)."""
    wide = accumulated(x.dtype)
    if x.dtype == wide:
        return torch.mm(x, y)
    if not x.is_cuda:
        return torch.mm(x.to(wide), y.to(wide))
    try:
        return torch.mm(x, y, out_dtype=wide)
    except TypeError:  # torch before 2.8
        return torch.mm(x, y).to(wide)


def forward(kernels: StepKernels, request: Request, keep: bool) -> Forward:
    """The forward pass, step by step."""
    cell, weights, trace = request.cell, request.weights, kernels.trace
    dtype, size, rows = request.x.dtype, request.hidden_size, len(request.x)
    wide = accumulated(dtype)
    batch, features = len(request.state[0]), cell.state_sizes(size)[0]
    projects = weights.projection is not None
    a = inputs(request)
    like: dict[str, Any] = {"device": a.device}
    state = torch.stack(
        [s.new_zeros(batch, size) if projects and k == 0 else s for k, s in enumerate(request.state)]
    )
    mask = None if request.state_mask is None else request.state_mask.contiguous()
    hidden = (request.state[0] if mask is None else request.state[0] * mask).to(dtype, copy=True)
    outputs = torch.empty(rows, features, dtype=dtype, **like)
    final_hidden = request.state[0].clone()
    unprojected = torch.empty(rows, size, dtype=dtype, **like) if projects else None
    before = torch.empty(rows, features, dtype=dtype, **like) if keep else None
    per_row = len(kept_values(trace)) * size + len(trace.saved_of_row)
    values = torch.empty(rows, max(1, per_row), dtype=wide, **like) if keep else None
    wanted = request.return_gates
    gates = torch.empty(rows, len(trace.gates), size, dtype=dtype, **like) if wanted else None
    states = torch.empty(rows, len(request.state), size, dtype=dtype, **like) if wanted else None
    own = stacked(request)
    recurrent = weights.hidden.t()
    for step, alive in step_slices(request.batch_sizes, request.reverse):
        if not alive:
            continue
        h = hidden[:alive]
        if before is not None:
            before[step] = h
        r = product(h, recurrent) if trace.uses_hidden else None
        first = step.start
        target = outputs if unprojected is None else unprojected
        words = [
            *(at(a, first), at(r), at(state), at(mask), at(target, first), at(hidden), at(own)),
            *(at(values, first), at(gates, first), at(states, first), batch),
        ]
        kernels.launch(kernels.step_forward, words, alive, size, dtype)
        if unprojected is not None:
            projected = torch.mm(unprojected[step], weights.projection.t())  # type: ignore[union-attr]
            outputs[step] = projected
            hidden[:alive] = projected if mask is None else projected * mask[:alive]
        if projects:
            final_hidden[:alive] = outputs[step]
    final = list(state.unbind(0))
    if projects:
        final[0] = final_hidden
    kept = Kept(a, before, values, unprojected) if before is not None and values is not None else None
    return Forward(outputs, final, gates, states, kept)


def backward(
    kernels: StepKernels, request: Request, kept: Kept, above: Tensor, grad_final: Sequence[Tensor]
) -> Backward:
    """The backward pass, step by step."""
    cell, weights, trace = request.cell, request.weights, kernels.trace
    dtype, size, rows = request.x.dtype, request.hidden_size, len(request.x)
    batch = len(request.state[0])
    projects = weights.projection is not None
    like: dict[str, Any] = {"device": above.device}
    above = above.contiguous()
    grad = torch.stack(
        [g.new_zeros(batch, size) if projects and k == 0 else g for k, g in enumerate(grad_final)]
    )
    grad_hidden = grad_final[0].clone() if projects else grad[0]
    grad_a = torch.empty(rows, len(cell.gates) * size, dtype=dtype, **like)
    grad_r = (
        grad_a if trace.one_gradient else torch.empty(rows, len(cell.recurrent) * size, dtype=dtype, **like)
    )
    of_outputs = torch.empty(rows, grad_hidden.shape[1], dtype=dtype, **like) if projects else None
    own = stacked(request)
    grad_own = None if own is None else own.new_zeros(batch, *own.shape)
    for step, alive in reversed(step_slices(request.batch_sizes, request.reverse)):
        if not alive:
            continue
        first = step.start
        if of_outputs is not None:
            grad_hidden[:alive] += above[step]
            of_outputs[step] = grad_hidden[:alive]
            grad[0, :alive] = product(of_outputs[step], weights.projection)  # type: ignore[arg-type]
            grad_hidden[:alive] = 0
        words = [
            *(at(grad), 0 if projects else at(above, first), at(own), at(kept.values, first)),
            *(at(kept.a, first), at(grad_a, first), 0 if trace.one_gradient else at(grad_r, first)),
            *(at(grad_own), batch),
        ]
        kernels.launch(kernels.step_backward, words, alive, size, dtype)
        if trace.reaches("r"):
            through = product(grad_r[step], weights.hidden)
            if request.state_mask is not None:
                through = through * request.state_mask[:alive]
            grad_hidden[:alive] += through
    grad_projection = None
    if of_outputs is not None and kept.unprojected is not None:
        grad_projection = torch.mm(of_outputs.t(), kept.unprojected)
    grad_states = list(grad.unbind(0))
    if projects:
        grad_states[0] = grad_hidden
    of_own = None if grad_own is None else grad_own.sum(0)
    return Backward(grad_a, grad_r, grad_projection, of_own, grad_states)


def inputs(request: Request) -> Tensor:
    """U x + b and the noise, [N, A·H], in the dtype of sums: a norm would magnify what is rounded off."""
    weights = request.weights
    a = product(request.x, weights.input.t())
    if weights.bias is not None:
        a += weights.bias
    return a if request.noise is None else torch.cat([a, request.noise.to(a.dtype)], 1)


def stacked(request: Request) -> Tensor | None:
    """The cell's own parameters, [O, H], or None where it has none."""
    own = request.weights.own
    return torch.stack(list(own.values())) if own else None


def at(tensor: Tensor | None, row: int = 0) -> int:
    """The address of a row of a contiguous tensor; 0 for None."""
    if tensor is None:
        return 0
    assert tensor.is_contiguous()
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()
