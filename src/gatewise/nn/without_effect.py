"""Settings of a Recurrent that do nothing beside the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatewise.cells import Cell


def lines_without_effect(recurrent: Any) -> Iterator[str]:
    """A line for each setting of a Recurrent that does nothing beside the others."""
    cell, engine = recurrent.cell, recurrent.engine
    if recurrent.dropout and recurrent.num_layers == 1:
        yield f"dropout={recurrent.dropout} does nothing: it acts between layers, and num_layers is 1"
    for name in ("state_dropout", "weight_dropout"):
        if getattr(recurrent, name) and not cell.recurrent:
            yield f"{name}={getattr(recurrent, name)} does nothing: {cell!r} has no recurrent product"
    if recurrent.recompute and engine not in ("auto", "native", "cuda"):
        line = "recompute=True does nothing: only engine=native and engine=cuda recompute, and it is"
        yield f"{line} {engine}"
    biases = {gate: value for gate, value in cell.initial_bias().items() if value}
    if biases and not recurrent.bias and biases != _default_biases(cell):
        yield f"the starting biases {biases} of {cell!r} do nothing: bias is False"


def _default_biases(cell: Cell) -> dict[str, float] | None:
    """Starting biases of a cell of this class without settings; None where it needs some."""
    try:
        return {gate: value for gate, value in type(cell)().initial_bias().items() if value}
    except TypeError:
        return None
