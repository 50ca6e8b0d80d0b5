"""The arrays of a trace as a page shows them, each with what it is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.cells import Cell

_EQUATION = re.compile(r"(\w+)'?\s*=\s(.*?)(?:\s{2,}(.*))?$")

Floats = NDArray[Any]


@dataclass(frozen=True)
class Array:
    """One array of a trace of one sequence."""

    name: str
    meaning: str
    kind: Literal["gate", "candidate", "state", "kept", "written"]
    values: list[Floats]
    """[D, T, H] of each layer, whose H may differ."""
    bounds: tuple[float, float] | None
    """What the equations allow; None where that is no more than finite."""


def named(traces: Sequence[Any], cell: Cell) -> list[Array]:
    """Every array of the first sequence of a trace: gates, candidates, states, and what is kept and written.

    ``traces`` are the :class:`gatewise.nn.Trace` of each Recurrent that an encoder consists of.
    """
    said, ranges = meanings(cell), traces[0].ranges
    arrays = []
    for name, values in _first([trace.arrays for trace in traces]):
        gate = ranges.get(name) == (0, 1)
        kind: Any = "state" if name in cell.states else "gate" if gate else "candidate"
        meaning = said.get(name) or {"h": "hidden state", "c": "cell state"}.get(name, kind)
        arrays.append(Array(name, meaning, kind, values, ranges.get(name)))
    for name, values in _first([trace.kept for trace in traces]):
        share = all(
            np.nanmin(layer, initial=0.0) >= 0 and np.nanmax(layer, initial=1.0) <= 1 for layer in values
        )
        bounds = (0.0, 1.0) if share else None
        arrays.append(Array(f"kept {name}", f"share of {name} that is kept", "kept", values, bounds))
    for name, values in _first([trace.written for trace in traces]):
        arrays.append(Array(f"written {name}", f"what is written to {name}", "written", values, None))
    return arrays


def same_gate(array: Array, arrays: Sequence[Array]) -> str | None:
    """The gate that has the values of what is kept, as f those of an LSTM; None where none has."""
    if array.kind != "kept" or array.bounds is None:
        return None
    gates = [each for each in arrays if each.kind == "gate"]
    return next((each.name for each in gates if _alike(each.values, array.values)), None)


def _alike(first: Sequence[Floats], second: Sequence[Floats]) -> bool:
    return all(np.allclose(one, other, 0, 1e-6) for one, other in zip(first, second, strict=True))


def _first(parts: Sequence[Any]) -> list[tuple[str, list[Floats]]]:
    """The values of the first sequence, layer by layer, of tensors [L, D, B, T, H] by name."""
    return [
        (name, [layer[:, 0].detach().float().numpy() for part in parts for layer in part[name]])
        for name in parts[0]
    ]


def equations(cell: Cell) -> str:
    """The equations of a cell as its docstring has them; nothing where it has none."""
    lines = (inspect.getdoc(type(cell)) or "").splitlines()
    indented = [line for line in lines if line.startswith("    ") and "=" in line]
    return inspect.cleandoc("\n".join(indented)) if indented else ""


def meanings(cell: Cell) -> dict[str, str]:
    """What each gate and state is, as the equations say behind them: ``forget gate: how much is kept``."""
    found = {}
    for line in equations(cell).splitlines():
        match = _EQUATION.match(line.strip())
        if match is not None and match[3]:
            found[match[1]] = match[3].strip()
    return found
