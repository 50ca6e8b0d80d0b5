"""Engines: ways to run any cell over whole sequences, all with the results of the loop.

``loop`` is the reference; ``function`` is one autograd node made of torch operations; ``native`` compiles the
cell to C for the CPU, ``cuda`` to CUDA C for a GPU; ``torch`` calls what torch.nn has for its own cells, on a
GPU cuDNN. Each is a module with a function ``run`` from a :class:`Request` to a :class:`Result`; ``torch``
has another for a whole :class:`Stack` of layers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import auto, cuda, function, loop, models, native, torch_nn
from gatewise.engine.autocast import autocast_dtype
from gatewise.engine.contract import step_of
from gatewise.engine.examine import LoopOnly, loop_only
from gatewise.engine.native import Prepared, attention
from gatewise.engine.packing import Packing
from gatewise.engine.prepared_layers import PreparedLayers
from gatewise.engine.request import Request, Result, Unsupported, Weights
from gatewise.engine.stack import Stack
from gatewise.engine.torch_internals import dynamo_is_loaded, in_dispatch_mode, in_torch_func
from gatewise.engine.used import engines_used, note

__all__ = [
    "ENGINES",
    "Packing",
    "Prepared",
    "PreparedLayers",
    "Request",
    "Result",
    "Stack",
    "Weights",
    "additive_scores",
    "autocast_dtype",
    "check_cell",
    "engines_used",
    "looked_into",
    "loop",
    "outside_compiled_code",
    "prepare",
    "run",
    "run_stack",
    "runs_stacks",
]

EngineName = Literal["auto", "native", "cuda", "torch", "function", "loop"]
ENGINES = get_args(EngineName)
"""Names of the engines, and ``auto``."""

WORTH_COMPILING = 1 << 16
"""Numbers whose tanh additive attention needs: of fewer, a call of compiled code takes as long as torch."""

_log = logging.getLogger(__name__)
_logged: set[str] = set()
_warned: set[type[Cell]] = set()

T = TypeVar("T")
P = ParamSpec("P")

_RUN = {"native": native.run, "cuda": cuda.run, "torch": torch_nn.run, "function": function.run}
# Which engines to try, in this order. The loop can run every cell and comes last.
_CANDIDATES = {
    "auto": ("native", "torch", "cuda", "function"),  # on a GPU what is fastest: see auto.py
    "native": ("native", "function"),
    "cuda": ("cuda", "function"),
    "torch": ("torch", "function"),
    "function": ("function",),
    "loop": (),
}


def run(engine: str, request: Request) -> Result:
    """Run a request on the named engine; ``auto`` picks the fastest engine that can run it.

    Where an engine cannot run it another one does, and the log says once which could not and why. Raises
    ValueError where the shapes of two tensors do not fit together, where the cell's step is not what a step
    has to be, and where only the loop can run it as it is written but another engine is named.
    """
    request.check_shapes()
    candidates = _in_torch_func(engine, request) if in_torch_func() else _CANDIDATES[engine]
    if candidates and not _any_engine(engine, request):
        return loop.run(request)
    name = type(request.cell).__name__
    if engine == "auto" and candidates and auto.chooses(request.x.device) and not in_torch_func():
        try:
            taken, result = _run_fastest(request)
        except Unsupported as reason:
            # The function engine's, the last one's: the others lack too much to be worth a line.
            _log_once(f"engine=auto: {name} cannot run on the function engine: {reason}")
            _note("loop")
            return loop.run(request)
        _log_taken(name, taken, request.recompute)
        return result
    for candidate in candidates:
        try:
            result = _run_on(candidate, request)
        except Unsupported as reason:
            # Not worth a line under `auto`: torch.nn has three of our cells, and many a machine no GPU.
            if engine != "auto" or candidate not in ("torch", "cuda"):
                _log_once(f"engine={engine}: {name} cannot run on the {candidate} engine: {reason}")
            continue
        if engine == "auto":
            _log_once(f"engine=auto: {name} runs on the {candidate} engine")
        if request.recompute and candidate not in ("native", "cuda"):
            _log_once(f"recompute=True does nothing: {name} runs on the {candidate} engine")
        return result
    if candidates:  # else the loop was asked for, and nothing need interrupt compiled code
        _note("loop")
    return loop.run(request)


def runs_stacks(engine: str, device: torch.device) -> bool:
    """Whether :func:`run_stack` may run layers and directions at once; on the CPU, native is faster."""
    return engine == "torch" or (engine == "auto" and auto.chooses(device))


def run_stack(engine: str, stack: Stack) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """Run all layers and directions of a stack at once.

    Returns the outputs [N, D·P] and the final state, [L·D, B, P or H] for each state of the cell; or None
    where layers and directions have to run one after the other, by :func:`run`. Raises ValueError where the
    shapes of two tensors do not fit together.
    """
    if not runs_stacks(engine, stack.x.device) or in_torch_func():
        return None
    try:
        taken, results = _run_fastest_stack(stack) if engine == "auto" else _run_stack(stack)
    except Unsupported:
        return None
    _log_taken(type(stack.cell).__name__, taken, stack.recompute)
    return results


def prepare(
    engine: str, layers: Sequence[Request], gradients: bool
) -> Prepared | PreparedLayers | Literal["later"] | None:
    """Requests of a stack's layers, full batches of one direction, prepared to run with gradients or without.

    None where the engine that runs them prepares nothing; "later" where it is not yet known which one does.
    """
    device = layers[0].x.device
    if engine == "cuda" or (engine == "auto" and auto.chooses(device)):
        made = cuda.prepare(layers, gradients) if engine == "cuda" else auto.prepare(layers, gradients)
        if made is not None and made != "later":
            note("cuda")
        return made
    if device.type != "cpu" or autocast_dtype(device) is not None:
        return None
    prepared = native.prepare(layers, gradients)
    if prepared is not None:
        note("native")
    return prepared


def looked_into() -> bool:
    """Whether somebody may be recording or replacing the operations that run."""
    return in_torch_func() or in_dispatch_mode()


def check_cell(engine: str, cell: Cell, hidden_size: int) -> None:
    """Raise ValueError for a cell that :func:`run` would refuse on this engine."""
    try:
        objection = loop_only(cell, hidden_size)
    except ValueError:
        if torch.accelerator.is_available():
            return  # The step may be written for a device, which only a request names.
        raise
    _check_engine(engine, cell, objection)


def _check_engine(engine: str, cell: Cell, objection: LoopOnly | None) -> None:
    if objection is not None and engine not in ("auto", "loop"):
        raise ValueError(
            f"engine={engine}: {step_of(cell)} {objection.what}, which only the loop engine runs right: "
            f"choose engine=auto or loop; for every engine, {objection.instead}"
        )


def _warn_of_loop(cell: Cell, objection: LoopOnly) -> None:
    """Say once for each class that it runs in the loop. Where the loop was asked for, nobody has to."""
    kind = type(cell.innermost)
    if kind not in _warned:
        _warned.add(kind)
        line = "engine=auto: %s %s: it runs on the loop engine, which is slower; for every engine, %s"
        _log.warning(line, step_of(cell), objection.what, objection.instead)


def outside_compiled_code(function: Callable[P, T]) -> Callable[P, T]:
    """A function that ``torch.compile`` calls without tracing it."""
    disabled: Callable[P, T] | None = None

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal disabled
        if not dynamo_is_loaded():
            return function(*args, **kwargs)
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return call


def additive_scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores of additive attention: v · tanh(q + k), [B, Q, K].

    Takes queries [B, Q, A], keys [B, K, A] and v [A]. Many on the CPU are computed by compiled code, which
    keeps nothing of the size of all tanh in memory; on other devices, and without a compiler, torch does it.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    found = None
    if not recorded and queries.numel() * keys.shape[1] >= WORTH_COMPILING:
        found = _compiled_scores(queries, keys, weight)
    return attention.plain_scores(queries, keys, weight) if found is None else found


@outside_compiled_code
def _compiled_scores(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor | None:
    """The same by compiled code; None where that cannot do it."""
    if looked_into():
        return None
    try:
        return attention.scores(queries, keys, weight)
    except Unsupported:
        return None


@outside_compiled_code
def _in_torch_func(engine: str, request: Request) -> tuple[str, ...]:  # noqa: ARG001
    """The engines to try inside of torch.func, which looks inside operations: the loop always lets it."""
    return tuple(name for name in _CANDIDATES[engine] if name in ("native", "cuda") and models.possible())


@outside_compiled_code
def _any_engine(engine: str, request: Request) -> bool:
    """Whether every engine may run the cell, as far as its step tells. Raises ValueError as ``run`` does."""
    objection = loop_only(request.cell, request.hidden_size, request.x.dtype, request.x.device)
    _check_engine(engine, request.cell, objection)
    if objection is not None:
        _warn_of_loop(request.cell, objection)
        note("loop")
    return objection is None


@outside_compiled_code
def _run_on(engine: str, request: Request) -> Result:
    if engine == "function" and not torch.is_grad_enabled():
        # Without gradients the loop builds no graph, so it saves as much.
        return loop.run(request)
    result = _RUN[engine](request)
    note(engine)
    return result


@outside_compiled_code
def _run_stack(stack: Stack) -> tuple[str, tuple[Tensor, tuple[Tensor, ...]]]:
    stack.check_shapes()
    results = torch_nn.run_stack(stack)
    note("torch")
    return "the torch engine", results


@outside_compiled_code
def _run_fastest_stack(stack: Stack) -> tuple[str, tuple[Tensor, tuple[Tensor, ...]]]:
    stack.check_shapes()
    if not _any_engine("auto", stack.first_request()):
        raise Unsupported("a step that only the loop runs right")
    return auto.run_stack(stack)


_run_fastest = outside_compiled_code(auto.run)
_note = outside_compiled_code(note)


def _log_taken(name: str, taken: str, recompute: bool) -> None:
    if recompute and not taken.startswith("the cuda engine"):
        _log_once(f"recompute=True does nothing: {name} runs on {taken}")


def _log_once(message: str) -> None:
    if message not in _logged:
        _logged.add(message)
        _log.info(message)
