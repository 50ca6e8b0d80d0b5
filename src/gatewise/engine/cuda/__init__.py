"""The cuda engine: a cell's traced step as CUDA C, compiled once for a GPU.

Nothing here knows a cell by name. ``whole`` runs the sequence in one launch, where the weights fit into the
GPU's registers, and ``projected`` that of a cell which projects its hidden state; ``steps`` launches one
kernel a step between library products, for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import loop, models
from gatewise.engine.agreement import agrees_with_loop
from gatewise.engine.aside import aside
from gatewise.engine.autocast import without_autocast
from gatewise.engine.cuda import plan, steps, whole
from gatewise.engine.cuda.compared import compared_forward
from gatewise.engine.cuda.design import Design
from gatewise.engine.cuda.digits import tf32_allowed
from gatewise.engine.cuda.dtypes import in_dtype, product_dtype
from gatewise.engine.cuda.emit import steps_source
from gatewise.engine.cuda.gates import StepsOfGates, WholeOfGates, backward_shape
from gatewise.engine.cuda.launcher import capturing, launcher_of, stream_of
from gatewise.engine.cuda.many import Models
from gatewise.engine.cuda.projected import ProjectedKernels
from gatewise.engine.cuda.steps import StepKernels
from gatewise.engine.cuda.variant import Calls
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.examine import loop_only
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.returned import Incoming, result_of
from gatewise.engine.second import backward_by_loop, differentiable_backward
from gatewise.engine.torch_internals import in_torch_func
from gatewise.engine.traced.kept import traced

__all__ = ["prepare", "run"]

_DesignName = Literal["any", "whole", "steps"]

_designs: WeakKeyDictionary[Cell, dict[Any, Design | Unsupported | None]] = WeakKeyDictionary()


def run(request: Request, design: _DesignName = "any") -> Result:
    """Run the request in a design, or in that which fits.

    With ``recompute`` the forward pass keeps nothing, and the backward pass runs it again. Raises Unsupported
    where another engine, or design, has to run it.
    """
    device, tensors = request.x.device, request.tensors()
    launcher_of(device)
    _check_tensors(tensors, device)
    dtype = product_dtype(request)
    kernels = _step_by_step(request.cell, request.hidden_size, dtype, device)
    differentiated = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if request.return_gates and not kernels.trace.gate_names:
        raise Unsupported("gates of other shapes")
    if not len(request.x):
        return loop.run(request)
    with without_autocast(device):  # it would round the sums, too
        converted = in_dtype(request, dtype)
        if in_torch_func():
            result = models.run(converted, _of_models(kernels, dtype))
        else:
            if request.return_gates and differentiated:
                kernels = _with_gates(kernels, converted, dtype)
            in_one = None if design == "steps" else _in_one_launch(request, kernels, dtype, differentiated)
            if in_one is None and design == "whole":
                raise Unsupported("no kernel for the whole sequence")
            result = _run(converted, in_one or kernels, differentiated)
    first, *others = result.state
    rest = [state.to(given.dtype) for state, given in zip(others, request.state[1:], strict=True)]
    return Result(result.outputs, (first.to(dtype), *rest), result.gates)


def prepare(
    layers: Sequence[Request],
    gradients: bool,
    design: _DesignName = "any",
    settings: Callable[[], object] | None = None,
) -> PreparedLayers | Literal["later"] | None:
    """As :func:`gatewise.engine.prepare`, in a design; ``settings`` are those of torch that have to stay."""
    first, settings = layers[0], settings or tf32_allowed
    device = first.x.device
    if capturing(device):
        return "later"  # its zeros would be the graph's
    try:
        if loop_only(first.cell, first.hidden_size, first.x.dtype, device) is not None or not first.x.numel():
            return None
        launcher_of(device)
        dtype = product_dtype(first)
        for layer in layers:
            layer.check_shapes()
        kernels = _step_by_step(first.cell, first.hidden_size, dtype, device)
        in_one = None if design == "steps" else _in_one_launch(first, kernels, dtype, gradients)
    except (Unsupported, ValueError):
        return None
    if in_one is None and design == "whole":
        return None
    # On another stream the zeros of the state might not be there yet.
    before = settings(), stream_of(device)

    def is_current() -> bool:
        return (settings(), stream_of(device)) == before

    dtypes = dtype, steps.accumulated(dtype)
    return PreparedLayers(in_one or kernels, layers, _Sequence.apply, is_current, dtypes)


def _run(request: Request, kernels: Design, differentiated: bool) -> Result:
    returned = _Sequence.apply(request.settings, kernels, differentiated, *request.tensors())
    return result_of(request.settings, kernels.trace, returned)


def _of_models(kernels: StepKernels, dtype: torch.dtype) -> Models:
    """The kernels for several models, whose number shows when they run."""

    def in_one_launch(stacked: Request, differentiated: bool, count: int) -> Design | None:
        return _in_one_launch(stacked, kernels, dtype, differentiated, count)

    return Models(kernels, in_one_launch)


def _check_tensors(tensors: Sequence[Tensor | None], device: torch.device) -> None:
    """Raise Unsupported where a tensor is not plain memory on the input's device."""
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device != device or tensor.layout is not torch.strided:
            raise Unsupported(f"tensors on {tensor.device} and {device}")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unsupported(f"tensors of the class {type(tensor).__name__}")  # they may have no data


def _step_by_step(cell: Cell, hidden_size: int, dtype: torch.dtype, device: torch.device) -> StepKernels:
    """The kernels that run every cell. Raises Unsupported where another engine has to."""
    compiled = partial(_compiled_steps, cell, hidden_size, dtype, device)
    return _found(cell, (hidden_size, dtype, device), device, compiled)


def _with_gates(kernels: StepKernels, request: Request, dtype: torch.dtype) -> StepKernels:
    """Kernels whose gates carry gradients. Raises Unsupported where another engine has to run."""
    cell, size, device = request.cell, request.hidden_size, request.x.device
    names = kernels.trace.gate_names
    compiled = partial(_compiled_steps, cell, size, dtype, device, names)
    return _found(cell, ("gates", size, dtype, device), device, compiled)


def _found(
    cell: Cell, key: tuple[Any, ...], device: torch.device, compiled: Callable[[], StepKernels]
) -> StepKernels:
    """The kernels that were ``compiled`` the first time. Raises Unsupported where they could not be."""
    by_key = _designs.setdefault(cell, {})
    if key not in by_key:
        if capturing(device):  # it would be compiled and tried, which waits for the GPU
            raise Unsupported("a CUDA graph that is captured before the first call")
        try:
            by_key[key] = compiled()
        except Unsupported as reason:
            by_key[key] = reason
    kernels = by_key[key]
    if isinstance(kernels, Unsupported):
        raise kernels
    assert isinstance(kernels, StepKernels)
    return kernels


def _compiled_steps(
    cell: Cell,
    hidden_size: int,
    dtype: torch.dtype,
    device: torch.device,
    gate_names: Sequence[str] = (),
) -> StepKernels:
    """The kernels of a cell; with ``gate_names`` those whose gates carry gradients."""
    launcher = launcher_of(device)
    # In another thread, where the caller's modes and hooks (those of checkpointing, for one) are not.
    found = aside(traced, "cuda", cell, hidden_size, steps.accumulated(dtype), gate_names)

    def kernels_of(kind: torch.dtype) -> StepKernels:
        if gate_names:
            return StepsOfGates(found.trace, launcher, hidden_size, kind, device).forth(cell)
        source = steps_source(cell, found.trace, hidden_size, kind, fast=kind.itemsize == 2)
        both = (launcher.kernel(source, name) for name in ("step_forward", "step_backward"))
        return StepKernels(found.trace, launcher, *both)

    exact = kernels_of(steps.accumulated(dtype))

    def run_exactly(request: Request) -> Result:
        there = request.settings.request([None if t is None else t.to(device) for t in request.tensors()])
        result = _run(there, exact, True)
        gates = {name: gate.cpu() for name, gate in result.gates.items()}
        return Result(result.outputs.cpu(), tuple(state.cpu() for state in result.state), gates)

    if not agrees_with_loop(run_exactly, cell, hidden_size, steps.accumulated(dtype), bool(gate_names)):
        raise Unsupported("a step with other results here than in the loop")
    found.keep()
    return exact if dtype.itemsize > 2 else kernels_of(dtype)


def _in_one_launch(
    request: Request, kernels: StepKernels, dtype: torch.dtype, differentiated: bool, count: int = 1
) -> Design | None:
    """The kernels for the whole sequence; None where the cell, its size or the GPU is not for them.

    With a ``count`` of models, the request has the tensors of all.
    """
    # What is rounded off is magnified by a norm, and a gradient then has fewer digits than TF32's products.
    exact = dtype == torch.float32 and not (tf32_allowed() and not kernels.trace.row_values)
    if request.weights.projection is not None and request.state_mask is not None:
        return None  # W times what is masked of P u cannot be folded
    by_key = _designs.setdefault(request.cell, {})
    batch, of_gates = request.state[0].shape[-2], kernels.of_gates is not None
    calls = _calls(request, differentiated)
    key = (request.hidden_size, dtype, exact, request.x.device, batch, differentiated, count, of_gates, calls)
    if key not in by_key:
        if capturing(request.x.device):
            return None
        try:
            by_key[key] = _compiled_in_one(request, kernels, dtype, exact, differentiated, count, calls)
        except Unsupported:
            by_key[key] = None
    found = by_key[key]
    assert not isinstance(found, Unsupported)
    return found


def _calls(request: Request, differentiated: bool) -> Calls:
    """What is known of calls like this one."""
    full = request.batch_sizes[-1] == request.state[0].shape[-2]
    keeps = None if request.recompute and differentiated else differentiated
    return Calls(full, keeps, request.return_gates, request.state_mask is not None)


def _compiled_in_one(
    request: Request,
    kernels: StepKernels,
    dtype: torch.dtype,
    exact: bool,
    differentiated: bool,
    count: int,
    calls: Calls,
) -> Design | None:
    batch = request.state[0].shape[-2]
    cell, size, launcher = request.cell, request.hidden_size, kernels.launcher
    traced = compared_forward(kernels.trace)
    if not whole.suits(size, dtype):
        return None
    of_gates = kernels.of_gates is not None
    if of_gates and (traced.row_values or cell.projection_size is not None):
        return None
    ways = ("forward", "backward") if differentiated and not of_gates else ("forward",)
    compiled = []
    for way in ways:
        shape = replace(whole.shape_of(cell, traced, size, dtype, way, exact), calls=calls)
        variant = plan.best(shape, batch, launcher.gpu, count)
        if variant is None:
            return None
        # What fits with the gradients of all gates does with those of some.
        if of_gates and plan.best(backward_shape(cell, shape, traced), batch, launcher.gpu) is None:
            return None
        compiled.append(whole.compiled(cell, traced, shape, variant, launcher, count > 1))
        compiled[-1].prepare(batch, count)
    whole.make_error_words(request.x.device)
    if of_gates:
        return WholeOfGates(traced, compiled[0], batch, request.x.device).forth()
    kernels_of_all = WholeKernels(traced, compiled[0], compiled[1] if differentiated else None)
    return kernels_of_all if cell.projection_size is None else ProjectedKernels(kernels_of_all)


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…, gates…, states but the first…)."""

    @staticmethod
    def forward(
        ctx: Any, settings: Settings, kernels: Design, differentiated: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        request = settings.request(tensors)
        keep = differentiated and not settings.recompute
        outputs, final, gates, states, kept = kernels.forward(request, keep)
        if settings.final_dtypes is not None:
            final = [s.to(dtype) for s, dtype in zip(final, settings.final_dtypes, strict=True)]
        ctx.settings, ctx.kernels = settings, kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *(kept or ()))
        if gates is None or states is None:
            return (outputs, *final)
        # By `data` each is a tensor of its own: a caller could not change views of one in place.
        of_gates, of_states = ([each.data for each in t.unbind(1)] for t in (gates, states))
        if differentiated:
            constant = set(range(len(of_gates))).difference(kernels.trace.carrying)
            ctx.mark_non_differentiable(*(of_gates[place] for place in constant))
        return (outputs, *final, *of_gates, *of_states[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        settings: Settings = ctx.settings
        needed = ctx.needs_input_grad[3:]
        tensors, computed = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        kernels: Design = ctx.kernels
        if settings.final_dtypes is not None:
            wide, last = settings.request(tensors).state[0].dtype, 1 + len(settings.cell.states)
            of_final = (None if grad is None else grad.to(wide) for grad in grads[1:last])
            grads = (grads[0], *of_final, *grads[last:])
        incoming = Incoming(settings, kernels.trace, grads)
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            gradients = differentiable_backward(settings, tensors, grads, needed, incoming.names)
            return (None, None, None, *gradients)
        with without_autocast(tensors[0].device):
            if kernels.of_gates is not None:
                try:
                    kernels = kernels.of_gates(settings.cell, incoming.places)
                except Unsupported:  # inside a captured graph, for one
                    gradients = backward_by_loop(settings, tensors, grads, needed, incoming.names)
                    return (None, None, None, *gradients)
            request = settings.request(tensors)
            if request.return_gates:
                request = replace(request, return_gates=False)
            # With `recompute` nothing was kept: the forward pass runs again.
            kept = kernels.kept(*computed) if computed else ctx.kernels.forward(request, True).kept
            gradients = _gradients(kernels, request, kept, incoming, needed)
        return (None, None, None, *gradients)


def _gradients(
    kernels: Design, request: Request, kept: Any, incoming: Incoming, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of a request's tensors, in the order of :meth:`Request.tensors`."""
    weights, trace, above = request.weights, kernels.trace, incoming.above
    if above is None:
        above = request.x.new_zeros(len(request.x), request.state[0].shape[1])
    grad_a, grad_r, grad_projection, grad_own, grad_states = kernels.backward(
        request, kept, above, incoming.final, incoming.carried()
    )
    x_needed, input_needed, hidden_needed, bias_needed = needed[:4]
    by_a, by_r = trace.reaches("a"), trace.reaches("r")
    own = () if grad_own is None else grad_own.unbind(0)
    of_a = grad_a.t() if by_a and input_needed else None
    of_r = of_a if grad_r is grad_a and of_a is not None else grad_r.t()
    # None where `step` does not use a, r or a parameter: a product with zeros would let NaN into it.
    return [
        torch.mm(grad_a, weights.input) if x_needed and by_a else None,
        None if of_a is None else torch.mm(of_a, request.x),
        torch.mm(of_r, kept.hidden) if by_r and hidden_needed else None,
        _sum_of_rows(grad_a) if bias_needed and by_a else None,
        None,
        *(total if used else None for total, used in zip(own, trace.grad["p"], strict=True)),
        *grad_states,
        *(() if weights.projection is None else (grad_projection,)),
        *((None,) if request.cell.noise else ()),
    ]


def _sum_of_rows(rows: Tensor) -> Tensor:
    """[N, J] to [J], summed up in the dtype of sums, as torch itself does on a GPU."""
    wide = steps.accumulated(rows.dtype)
    return rows.sum(0) if wide is rows.dtype or rows.is_cuda else rows.sum(0, dtype=wide).to(rows.dtype)
