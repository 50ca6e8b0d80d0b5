"""The cuda engine: a cell's traced step as CUDA C, compiled once for a GPU.

Nothing here knows a cell by name. ``whole`` runs the sequence in one launch, where a cell's features go their
own ways and the weights fit into the GPU's registers; ``steps`` launches one kernel a step between library
products, for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from gatewise.engine.cuda.design import Design
from gatewise.engine.cuda.dtypes import in_dtype, product_dtype
from gatewise.engine.cuda.emit import steps_source
from gatewise.engine.cuda.launcher import capturing, launcher_of, stream_of
from gatewise.engine.cuda.many import Models
from gatewise.engine.cuda.steps import StepKernels
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.examine import loop_only
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result, Settings, Unsupported
from gatewise.engine.second import differentiable_backward
from gatewise.engine.torch_internals import in_torch_func
from gatewise.engine.traced.kept import traced

__all__ = ["prepare", "run"]

_DesignName = Literal["any", "whole", "steps"]

_designs: WeakKeyDictionary[Cell, dict[Any, Design | Unsupported | None]] = WeakKeyDictionary()


def run(request: Request, design: _DesignName = "any") -> Result:
    """Run the request in a design, or in that which fits; its gates only where no gradients are needed.

    With ``recompute`` the forward pass keeps nothing, and the backward pass runs it again. Raises Unsupported
    where another engine, or design, has to run it.
    """
    device, tensors = request.x.device, request.tensors()
    launcher_of(device)
    _check_tensors(tensors, device)
    dtype = product_dtype(request)
    kernels = _step_by_step(request.cell, request.hidden_size, dtype, device)
    differentiated = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if request.return_gates and (differentiated or not kernels.trace.gate_names):
        raise Unsupported("gates that carry gradients" if differentiated else "gates of other shapes")
    if not len(request.x):
        return loop.run(request)
    with without_autocast(device):  # it would round the sums, too
        converted = in_dtype(request, dtype)
        if in_torch_func():
            result = models.run(converted, _of_models(kernels, dtype))
        else:
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
    first, settings = layers[0], settings or _tf32_allowed
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
    outputs, *rest = _Sequence.apply(request.settings, kernels, differentiated, *request.tensors())
    count = len(request.state)
    names = (*kernels.trace.gate_names, *request.cell.states) if request.return_gates else ()
    return Result(outputs, tuple(rest[:count]), dict(zip(names, rest[count:], strict=True)))


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
    by_key = _designs.setdefault(cell, {})
    key = (hidden_size, dtype, device)
    if key not in by_key:
        if capturing(device):  # it would be compiled and tried, which waits for the GPU
            raise Unsupported("a CUDA graph that is captured before the first call")
        try:
            by_key[key] = _compiled_steps(cell, hidden_size, dtype, device)
        except Unsupported as reason:
            by_key[key] = reason
    kernels = by_key[key]
    if isinstance(kernels, Unsupported):
        raise kernels
    assert isinstance(kernels, StepKernels)
    return kernels


def _compiled_steps(cell: Cell, hidden_size: int, dtype: torch.dtype, device: torch.device) -> StepKernels:
    launcher = launcher_of(device)
    # In another thread, where the caller's modes and hooks (those of checkpointing, for one) are not.
    found = aside(traced, "cuda", cell, hidden_size, steps.accumulated(dtype))

    def kernels_of(kind: torch.dtype) -> StepKernels:
        source = steps_source(cell, found.trace, hidden_size, kind, fast=kind.itemsize == 2)
        both = (launcher.kernel(source, name) for name in ("step_forward", "step_backward"))
        return StepKernels(found.trace, launcher, *both)

    exact = kernels_of(steps.accumulated(dtype))

    def run_exactly(request: Request) -> Result:
        there = request.settings.request([None if t is None else t.to(device) for t in request.tensors()])
        result = _run(there, exact, True)
        return Result(result.outputs.cpu(), tuple(state.cpu() for state in result.state), {})

    if not agrees_with_loop(run_exactly, cell, hidden_size, steps.accumulated(dtype)):
        raise Unsupported("a step with other results here than in the loop")
    found.keep()
    return exact if dtype.itemsize > 2 else kernels_of(dtype)


def _in_one_launch(
    request: Request, kernels: StepKernels, dtype: torch.dtype, differentiated: bool, count: int = 1
) -> Design | None:
    """The kernels for the whole sequence; None where the cell, its size or the GPU is not for them.

    With a ``count`` of models, the request has the tensors of all.
    """
    exact = dtype == torch.float32 and not _tf32_allowed()
    by_key = _designs.setdefault(request.cell, {})
    batch = request.state[0].shape[-2]
    key = (request.hidden_size, dtype, exact, request.x.device, batch, differentiated, count)
    if key not in by_key:
        if capturing(request.x.device):
            return None
        try:
            by_key[key] = _compiled_in_one(request, kernels, dtype, exact, differentiated, count)
        except Unsupported:
            by_key[key] = None
    found = by_key[key]
    assert not isinstance(found, Unsupported)
    return found


def _tf32_allowed() -> bool:
    """Whether torch may round the factors of products in float32 to TF32's 10 bits."""
    matmul = torch.backends.cuda.matmul
    precision = getattr(matmul, "fp32_precision", None)  # its setting since torch 2.9
    return bool(matmul.allow_tf32) if precision is None else precision == "tf32"


def _compiled_in_one(
    request: Request, kernels: StepKernels, dtype: torch.dtype, exact: bool, differentiated: bool, count: int
) -> Design | None:
    batch = request.state[0].shape[-2]
    cell, size, launcher, traced = request.cell, request.hidden_size, kernels.launcher, kernels.trace
    if not whole.suits(cell, traced, size, dtype):
        return None
    ways = ("forward", "backward") if differentiated else ("forward",)
    compiled = []
    for way in ways:
        shape = whole.shape_of(cell, traced, size, dtype, way, exact)
        variant = plan.best(shape, batch, launcher.gpu, count)
        if variant is None:
            return None
        compiled.append(whole.compiled(cell, traced, shape, variant, launcher, count > 1))
        compiled[-1].prepare(batch, count)
    whole.make_error_words(request.x.device)
    return WholeKernels(traced, compiled[0], compiled[1] if differentiated else None)


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…, gates…, states…)."""

    @staticmethod
    def forward(
        ctx: Any, settings: Settings, kernels: Design, differentiated: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        request = settings.request(tensors)
        keep = differentiated and not settings.recompute
        outputs, final, gates, states, kept = kernels.forward(request, keep)
        ctx.settings, ctx.kernels = settings, kernels
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *(kept or ()))
        history: tuple[Tensor, ...] = ()
        if gates is not None and states is not None:
            # Where the hidden state is projected it is the output, and not what the step returned.
            first = outputs if request.weights.projection is not None else states[:, 0]
            history = (*gates.unbind(1), first, *states.unbind(1)[1:])
        return (outputs, *final, *history)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        settings: Settings = ctx.settings
        needed = ctx.needs_input_grad[3:]
        tensors, computed = ctx.saved_tensors[: len(needed)], ctx.saved_tensors[len(needed) :]
        grads = grads[: 1 + len(settings.cell.states)]
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            filled = _filled(settings.request(tensors), grads)
            return (None, None, None, *differentiable_backward(settings, tensors, filled, needed))
        with without_autocast(tensors[0].device):
            request = settings.request(tensors)
            if request.return_gates:
                request = replace(request, return_gates=False)
            # With `recompute` nothing was kept: the forward pass runs again.
            kept = ctx.kernels.kept(*computed) if computed else ctx.kernels.forward(request, True).kept
            gradients = _gradients(ctx.kernels, request, kept, grads, needed)
        return (None, None, None, *gradients)


def _filled(request: Request, grads: Sequence[Tensor | None]) -> list[Tensor]:
    """Gradients of outputs and final state, with zeros for those that are not there."""
    state, above = request.state, grads[0]
    if above is None:
        above = request.x.new_zeros(len(request.x), state[0].shape[1])
    pairs = zip(state, grads[1:], strict=True)
    return [above, *(torch.zeros_like(s) if grad is None else grad for s, grad in pairs)]


def _gradients(
    kernels: Design, request: Request, kept: Any, grads: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of a request's tensors, in the order of :meth:`Request.tensors`."""
    weights, trace, above = request.weights, kernels.trace, grads[0]
    if above is None:
        above = request.x.new_zeros(len(request.x), request.state[0].shape[1])
    grad_a, grad_r, grad_projection, grad_own, grad_states = kernels.backward(request, kept, above, grads[1:])
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
    """[N, J] to [J], summed up in the dtype of sums."""
    wide = steps.accumulated(rows.dtype)
    return rows.sum(0) if wide is rows.dtype else rows.sum(0, dtype=wide).to(rows.dtype)
