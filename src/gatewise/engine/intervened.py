"""A cell some of whose gates and new states are set from outside, by blocks of noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.aside import aside
from gatewise.engine.examine import copied, own_values
from gatewise.engine.replaced import Place, places_of, replaced_step

_MASK, _VALUE = "intervention_mask", "intervention_value"


def intervened(cell: Cell, run_cell: Cell, places: Sequence[tuple[str, Place]]) -> Cell:
    """A cell that runs ``run_cell``, which is ``cell`` or zones it out, with values of ``cell`` replaced.

    Its noise has two blocks more for each name of ``places``, in their order: above 0 where the value is
    replaced, and by what. With zoneout, a state is set before the step uses it, and again after zoneout.
    """
    count = range(len(places))

    class Intervened(Cell):
        gates, recurrent, states = cell.gates, cell.recurrent, cell.states
        noise = (*run_cell.noise, *(f"{kind}_{index}" for index in count for kind in (_MASK, _VALUE)))
        projection_size = cell.projection_size

        def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            return replaced_step(cell, run_cell, places, a, r, s, p)

        def initial_bias(self) -> Mapping[str, float]:
            return cell.initial_bias()

        def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
            return cell.own_parameters(hidden_size)

        def draw_noise(self, name: str, block: Tensor, training: bool) -> Tensor:
            """What engines are tried with: in a call, interventions come from the caller."""
            if name in run_cell.noise:
                return run_cell.draw_noise(name, block, training)
            return block.bernoulli_(0.5) if name.startswith(_MASK) else block.normal_()

        @property
        def innermost(self) -> Cell:
            return cell.innermost

        def __reduce__(self) -> tuple[Any, ...]:
            return intervened, (cell, run_cell, places)

        def __repr__(self) -> str:
            return f"{run_cell!r} with {', '.join(name for name, _ in places)} set"

    return Intervened()


def find_places(cell: Cell, hidden_size: int) -> dict[str, Place | str]:
    """Where each gate and new state of a cell comes from, or why it cannot be set."""
    return dict(aside(_find, cell, hidden_size))


def _find(cell: Cell, hidden_size: int) -> dict[str, Place | str]:
    own = own_values(cell, hidden_size, torch.get_default_dtype())
    return places_of(copied(cell), hidden_size, own)
