"""Engines: ways to run any cell over whole sequences, all with the loop's results.

``loop`` is the reference; ``function`` is one autograd node in torch operations; ``native`` compiles the cell
to C for the CPU; ``torch`` is what torch.nn has for its own cells. Each is a module with a ``run`` of the
same signature.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine import function, loop, native, torch_nn
from gatewise.engine.packing import Packing
from gatewise.engine.weights import Result, Weights, check_shapes
from gatewise.ranges import ENGINES

__all__ = ["ENGINES", "Packing", "Result", "Weights", "run"]

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
) -> Result:
    """Run a cell over packed sequences x [N, F] by the named engine; ``auto`` picks the fastest that can.

    The gates of a run with ``show`` carry gradients, which only the loop gives them. Raises ValueError where
    the shapes of two tensors do not fit.
    """
    check_shapes(cell, weights, x, batch_sizes, state, state_mask, noise)
    if show and engine not in ("auto", "loop"):
        _say_once(f"engine={engine}: returning gates takes the loop engine")
    arguments = (cell, weights, x, batch_sizes, state, reverse, state_mask, noise)
    # torch.func (vmap, jvp, per-sample gradients) looks inside operations, which only the loop lets it.
    if engine == "loop" or show or _in_torch_func():
        return loop.run(*arguments, show)
    name = type(cell).__name__
    if engine != "function":
        first = torch_nn if engine == "torch" else native
        try:
            result: Result = first.run(*arguments)
            return result
        except native.Unsupported as reason:
            which = "torch" if first is torch_nn else "native"
            _say_once(f"engine={engine}: {name} with {reason}: not by the {which} engine")
    # Without gradients there is no graph to save, and the loop keeps no history of states.
    if not torch.is_grad_enabled():
        return loop.run(*arguments)
    if not function.supports(cell):
        _say_once(f"engine={engine}: {name}.step mixes features; the loop engine runs it")
        return loop.run(*arguments)
    return function.run(*arguments)


def _in_torch_func() -> bool:
    return bool(torch._C._are_functorch_transforms_active())


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.info(message)
