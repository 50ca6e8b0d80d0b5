"""What ``auto`` takes on a GPU, as measured: cuDNN, a design of the cuda engine, or the function engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import cuda, function, loop, torch_nn
from gatewise.engine.choice import Choice, Clock, GpuClock
from gatewise.engine.cuda.graphs import product_settings
from gatewise.engine.cuda.launcher import capturing
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result
from gatewise.engine.stack import Stack
from gatewise.engine.torch_internals import in_dispatch_mode
from gatewise.engine.traced.fingerprint import fingerprint
from gatewise.engine.used import note

T = TypeVar("T")
Outcome = tuple[T, Sequence[Tensor]]

clocks: dict[str, Clock] = {"cuda": GpuClock()}
"""What measures on a type of device."""
_choices: WeakKeyDictionary[Cell, dict[tuple[torch.device, Hashable], Choice]] = WeakKeyDictionary()


def _function(request: Request) -> Result:
    # Without gradients the loop builds no graph, so it saves as much.
    return function.run(request) if torch.is_grad_enabled() else loop.run(request)


_DESIGNS: Mapping[str, Literal["whole", "steps"]] = {
    "the cuda engine": "whole",
    "the cuda engine, step by step": "steps",
}
# In the order to take them in before anything is measured: cuDNN is known to be fast on every GPU.
_ENGINES: Mapping[str, Callable[[Request], Result]] = {
    "the torch engine": torch_nn.run,
    **{name: partial(cuda.run, design=design) for name, design in _DESIGNS.items()},
}
_LAST = "the function engine"
"""What runs where none of these can: it launches dozens of kernels a step, so it is never the fastest."""


def chooses(device: torch.device) -> bool:
    """Whether engines are measured on a device."""
    return device.type in clocks


def settled(kind: str) -> bool:
    """Whether for all that has run on a kind of device it is known what is fastest."""
    return all(
        choice.winner is not None
        for by_kind in _choices.values()
        for (device, _), choice in by_kind.items()
        if device.type == kind
    )


def run(request: Request) -> tuple[str, Result]:
    """The engine that was taken, and its result. Raises Unsupported where none can run the request."""

    def once(run: Callable[[Request], Result]) -> Outcome[Result]:
        result = run(request)
        return result, (result.outputs,)

    engines = {**_ENGINES, _LAST: _function}
    return _fastest(request, 1, 1, {name: partial(once, run) for name, run in engines.items()})


def run_stack(stack: Stack) -> tuple[str, tuple[Tensor, tuple[Tensor, ...]]]:
    """As :func:`run`, for all layers and directions: at once by torch, or one after the other."""

    def at_once() -> Outcome[tuple[Tensor, tuple[Tensor, ...]]]:
        results = torch_nn.run_stack(stack)
        return results, (results[0],)

    def one_by_one(run: Callable[[Request], Result]) -> Outcome[tuple[Tensor, tuple[Tensor, ...]]]:
        outputs: list[Tensor] = []

        def noted(request: Request) -> Result:
            result = run(request)
            outputs.append(result.outputs)
            return result

        last, *state = stack.layer_by_layer(noted)
        return (last, tuple(state)), outputs

    first, *others = _ENGINES.items()
    candidates: dict[str, Callable[[], Outcome[tuple[Tensor, tuple[Tensor, ...]]]]] = {first[0]: at_once}
    candidates |= {name: partial(one_by_one, run) for name, run in (*others, (_LAST, _function))}
    layers = len(stack.weights) // stack.num_directions
    return _fastest(stack.first_request(), layers, stack.num_directions, candidates)


def prepare(layers: Sequence[Request], gradients: bool) -> PreparedLayers | Literal["later"] | None:
    """As :func:`gatewise.engine.prepare`, by the engine that was found to be fastest."""
    first = layers[0]
    kind = _kind(first, len(layers), 1, gradients and _requires_grad(first))
    choice = _choices.get(first.cell, {}).get((first.x.device, kind))
    if choice is None or choice.winner is None:
        return "later"
    design = _DESIGNS.get(choice.winner)
    if design is None:
        return None
    return cuda.prepare(layers, gradients, design, _settings)


def _fastest(
    request: Request, layers: int, directions: int, candidates: Mapping[str, Callable[[], Outcome[T]]]
) -> tuple[str, T]:
    cell, x = request.cell, request.x
    differentiated = torch.is_grad_enabled() and _requires_grad(request)
    kind = _kind(request, layers, directions, differentiated)
    by_kind = _choices.setdefault(cell, {})
    if request.recompute:  # who wants less memory gets what keeps less
        candidates = dict(sorted(candidates.items(), key=lambda item: "cuda" not in item[0]))
    # What is measured may differ from run to run; who asks torch for the same bits gets the first.
    measure = not (
        request.recompute
        or capturing(x.device)
        or in_dispatch_mode()
        or torch.are_deterministic_algorithms_enabled()
    )
    key = (x.device, kind)
    if key not in by_kind:
        way = "training" if differentiated else "inference"
        size = f"{request.hidden_size} features, {x.dtype}".replace("torch.", "")
        what = f"engine=auto: {type(cell).__name__} ({size}, {way}) runs"
        file = _file(cell, x.device, kind) if measure else None
        by_kind[key] = Choice(clocks[x.device.type], x.device, what, file, differentiated, _LAST)
    choice = by_kind[key]
    taken, result = choice.run(candidates, measure)
    engine = taken.removeprefix("the ").partition(" ")[0]
    note(engine, only_tried=measure and choice.winner is None)
    return taken, result


def _requires_grad(request: Request) -> bool:
    return any(t is not None and t.requires_grad for t in request.tensors())


def _kind(request: Request, layers: int, directions: int, differentiated: bool) -> tuple[Any, ...]:
    """What makes a call as fast as another: sizes within a factor of two, and all that selects code."""
    x, device = request.x, request.x.device.type
    batch, steps = len(request.state[0]), len(request.batch_sizes)
    ragged = bool(steps) and request.batch_sizes[-1] != batch
    rounded = tuple((size - 1).bit_length() for size in (max(1, steps), max(1, batch), x.shape[1]))
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    options = (request.state_mask is not None, request.return_gates, request.recompute, differentiated)
    sizes = (layers, directions, request.hidden_size, *rounded, ragged)
    return (*sizes, x.dtype, autocast, *options, *_settings())


def _settings() -> tuple[object, ...]:
    """What of torch's settings selects code."""
    cudnn = torch.backends.cudnn
    tf32 = getattr(getattr(cudnn, "rnn", None), "fp32_precision", None) or cudnn.allow_tf32
    return (tf32, *product_settings())


def _file(cell: Cell, device: torch.device, kind: tuple[Any, ...]) -> str | None:
    """The name in the cache; None for a cell without a fingerprint."""
    digest = fingerprint(cell)
    if digest is None:
        return None
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = (version("gatewise"), torch.__version__, torch.version.cuda, torch.backends.cudnn.version())
    words = repr((digest, kind, gpu, *map(str, versions)))
    return hashlib.sha256(words.encode()).hexdigest()[:40] + ".choice"
