"""Engines: ways to run any cell over whole sequences, all with the results of the loop.

``loop`` is the reference; ``function`` is one autograd node made of torch operations; ``native`` compiles the
cell to C for the CPU; ``torch`` calls what torch.nn has for its own cells. Each is a module with a function
``run`` from a :class:`Request` to a :class:`Result`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Literal, get_args

import torch

from gatewise.engine import function, loop, native, torch_nn
from gatewise.engine.packing import Packing
from gatewise.engine.request import Request, Result, Unsupported, Weights
from gatewise.engine.torch_internals import dynamo_is_loaded, in_torch_func

__all__ = ["ENGINES", "Packing", "Request", "Result", "Weights", "run"]

EngineName = Literal["auto", "native", "torch", "function", "loop"]
ENGINES = get_args(EngineName)
"""Names of the engines, and ``auto``."""

_log = logging.getLogger(__name__)
_logged: set[str] = set()

_RUN = {"native": native.run, "torch": torch_nn.run, "function": function.run}
# Which engines to try, in this order. The loop can run every cell and comes last.
_CANDIDATES = {
    "auto": ("native", "torch", "function"),
    "native": ("native", "function"),
    "torch": ("torch", "function"),
    "function": ("function",),
    "loop": (),
}


def run(engine: str, request: Request) -> Result:
    """Run a request on the named engine; ``auto`` picks the fastest engine that can run it.

    Where an engine cannot run it another one does, and the log says once which could not and why. Raises
    ValueError where the shapes of two tensors do not fit together.
    """
    request.check_shapes()
    # torch.func (vmap, jvp, per-sample gradients) looks inside operations; only the loop lets it.
    candidates = () if in_torch_func() else _CANDIDATES[engine]
    name = type(request.cell).__name__
    for candidate in candidates:
        try:
            result = _run_on(candidate, request)
        except Unsupported as reason:
            # Not worth a line under `auto`: torch.nn has three of our cells.
            if (engine, candidate) != ("auto", "torch"):
                _log_once(f"engine={engine}: {name} cannot run on the {candidate} engine: {reason}")
            continue
        if engine == "auto":
            _log_once(f"engine=auto: {name} runs on the {candidate} engine")
        return result
    return loop.run(request)


def _outside_compiled_code(function: Callable[[str, Request], Result]) -> Callable[[str, Request], Result]:
    """A function that ``torch.compile`` calls without tracing it."""
    disabled: Callable[[str, Request], Result] | None = None

    @wraps(function)
    def call(engine: str, request: Request) -> Result:
        nonlocal disabled
        if not dynamo_is_loaded():
            return function(engine, request)
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(engine, request)

    return call


@_outside_compiled_code
def _run_on(engine: str, request: Request) -> Result:
    if engine == "function" and not torch.is_grad_enabled():
        # Without gradients the loop builds no graph, so it saves as much.
        return loop.run(request)
    return _RUN[engine](request)


def _log_once(message: str) -> None:
    if message not in _logged:
        _logged.add(message)
        _log.info(message)
