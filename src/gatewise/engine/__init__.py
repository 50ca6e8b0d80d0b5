"""Engines: ways to run any cell over whole sequences, all with the loop's results.

``loop`` is the reference; ``function`` is one autograd node in torch operations; ``native`` compiles the cell
to C for the CPU; ``torch`` is what torch.nn has for its own cells. Each is a module with a ``run`` of the
same signature.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import function, loop, native, torch_nn
from gatewise.engine.packing import Packing
from gatewise.engine.weights import Result, Unsupported, Weights, check_shapes

__all__ = ["ENGINES", "Packing", "Result", "Weights", "run"]

EngineName = Literal["auto", "native", "torch", "function", "loop"]
ENGINES = get_args(EngineName)
"""Names of the engines, and ``auto``."""

_log = logging.getLogger(__name__)
_said: set[str] = set()


def run(
    engine: str,
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    reverse: bool = False,
    state_mask: Tensor | None = None,
    noise: Tensor | None = None,
    show: bool = False,
    recompute: bool = False,
) -> Result:
    """Run a cell over packed sequences x [N, F] by the named engine; ``auto`` picks the fastest that can.

    Where the engine cannot run it another one does, and the log says once which could not and why.
    ``recompute`` is for the native engine, the others take no notice. Raises ValueError where the shapes of
    two tensors do not fit.
    """
    check_shapes(cell, weights, x, batch_sizes, state, state_mask, noise)
    arguments: dict[str, Any] = {"cell": cell, "weights": weights, "x": x, "batch_sizes": batch_sizes}
    arguments |= {"state": state, "reverse": reverse, "state_mask": state_mask, "noise": noise}
    # torch.func (vmap, jvp, per-sample gradients) looks inside operations, which only the loop lets it.
    attempts = () if _in_torch_func() else _ATTEMPTS[engine]
    name = type(cell).__name__
    for attempt in attempts:
        try:
            result = _attempt(attempt, arguments, show, recompute)
        except Unsupported as reason:
            # That torch.nn lacks a cell is worth a word only where it was asked for.
            if (engine, attempt) != ("auto", "torch"):
                _say_once(f"engine={engine}: {name} with {reason}: not by the {attempt} engine")
            continue
        if engine == "auto":
            _say_once(f"engine=auto: {name} by the {attempt} engine")
        return result
    return loop.run(**arguments, show=show)


# The next where one cannot; behind them all stands the loop.
_ATTEMPTS = {
    "auto": ("native", "torch", "function"),
    "native": ("native", "function"),
    "torch": ("torch", "function"),
    "function": ("function",),
    "loop": (),
}


def _outside_compiled_code(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that ``torch.compile`` calls without a look inside; Dynamo is imported only where it is."""
    disabled: Callable[..., Result] | None = None

    @wraps(function)
    def call(*arguments: Any) -> Result:
        nonlocal disabled
        if "torch._dynamo" not in sys.modules:
            return function(*arguments)
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*arguments)

    return call


@_outside_compiled_code
def _attempt(engine: str, arguments: dict[str, Any], show: bool, recompute: bool) -> Result:
    if engine == "native":
        result: Result = native.run(**arguments, show=show, recompute=recompute)
        return result
    if show:
        raise Unsupported("gates to show")
    if engine == "torch":
        result = torch_nn.run(**arguments)
        return result
    # Without gradients there is no graph to save, and the loop keeps no history of states.
    return function.run(**arguments) if torch.is_grad_enabled() else loop.run(**arguments)


def _in_torch_func() -> bool:
    return bool(torch._C._are_functorch_transforms_active())


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.info(message)
