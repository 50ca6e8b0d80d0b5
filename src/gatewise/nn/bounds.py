"""Bounds that a cell's equations give its gates and states, whatever the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gatewise.cells import Cell
from gatewise.engine.aside import aside
from gatewise.engine.examine import own_values

Bounds = tuple[float, float] | None
"""Lowest and highest value, or None where there are not both."""

_BOUNDED: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softmax"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "softsign", "sin", "cos", "erf"), (-1.0, 1.0)),
}
_SAME = {"detach", "clone", "contiguous", "to", "view", "reshape", "alias"}


def bounds_of(cell: Cell, hidden_size: int, names: Sequence[str]) -> dict[str, Bounds]:
    """The bounds of these of a cell's gates and states, from one call of its step that is looked into."""
    found = aside(_look, cell, hidden_size)
    return {name: found.get(name) for name in names}


@torch.no_grad()
def _look(cell: Cell, hidden_size: int) -> dict[str, Bounds]:
    def blocks(names: Sequence[str], size: int = hidden_size) -> list[Tensor]:
        return [torch.zeros(2, size, dtype=torch.float64) for _ in names]

    state = cell.name_state([block for size in cell.state_sizes(hidden_size) for block in blocks("s", size)])
    own = SimpleNamespace(**own_values(cell, hidden_size, torch.float64))
    given = cell.Gates(*blocks((*cell.gates, *cell.noise))), cell.Recurrent(*blocks(cell.recurrent))
    try:
        with _Intervals() as intervals:
            after, gates = cell.step(*given, state, own)
    except RuntimeError:  # its step has constants of another dtype, for one
        return {}
    states = dict(zip(cell.states, after, strict=True))
    if cell.projection_size is not None:
        del states[cell.states[0]]  # the product with P has no bounds
    return {name: intervals.of(value) for name, value in {**gates, **states}.items()}


class _Intervals(TorchFunctionMode):
    """Notes the bounds of what torch's functions return, from those of their arguments."""

    def __init__(self) -> None:
        super().__init__()
        # Holds the tensors, so that no other one gets the identity of one that is gone.
        self._known: dict[int, tuple[Tensor, Bounds]] = {}

    def of(self, value: Any) -> Bounds:
        """The bounds of a tensor that was returned, or of a number."""
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value), float(value)
        return self._known.get(id(value), (None, None))[1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            name = getattr(func, "__name__", "").strip("_")
            self._known[id(result)] = (result, None if kwargs else self._bounds(name, args))
        return result

    def _bounds(self, name: str, args: Sequence[Any]) -> Bounds:
        if name in _BOUNDED:
            return _BOUNDED[name]
        of = [self.of(arg) for arg in (args[1:] if name == "where" else args)]
        if not of or of[0] is None:
            return None
        if name in _SAME:
            return of[0]
        if name == "neg":
            return -of[0][1], -of[0][0]
        if len(of) != 2 or of[1] is None:
            return None
        (low, high), (low2, high2) = of[0], of[1]
        if name in ("add", "radd"):
            return low + low2, high + high2
        if name == "sub":
            return low - high2, high - low2
        if name == "rsub":
            return low2 - high, high2 - low
        if name in ("mul", "rmul"):
            products = [x * y for x in (low, high) for y in (low2, high2)]
            return min(products), max(products)
        if name in ("where", "maximum", "minimum"):
            return min(low, low2), max(high, high2)
        return None
