"""Zoneout: any cell, with some features of its state kept from one step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewise.cells.cell import Cell
from gatewise.settings import choice
from gatewise.settings.checks import below_one


def zoneout_probabilities(cell: Cell, value: Any) -> dict[str, float]:
    """The zoneout probability of each state, from one for all states or from a mapping; without zeros.

    Raises ValueError for a state that the cell does not have, a value that is no probability below 1, and a
    hidden state that is projected.
    """
    if isinstance(value, Mapping):
        by_state = {choice("zoneout", str(name), cell.states): value[name] for name in value}
        probabilities = {name: below_one(f"zoneout.{name}", p) for name, p in by_state.items()}
    else:
        probabilities = dict.fromkeys(cell.states, below_one("zoneout", value))
    probabilities = {name: probabilities[name] for name in cell.states if probabilities.get(name)}
    hidden, *others = cell.states
    if cell.projection_size is not None and hidden in probabilities:
        example = f"{{{', '.join(f'{name}: {probabilities[hidden]}' for name in others)}}}"
        raise ValueError(
            f"zoneout={value!r} would keep {hidden}, which a projection computes at each step; "
            f"name only the other states: zoneout={example}"
        )
    return probabilities


def zoneout(cell: Cell, probabilities: Mapping[str, float], training: bool) -> Cell:
    """A cell that runs ``cell`` and keeps each feature of a state with that state's probability.

    s' = d · s + (1 - d) · step(s)         d is 1 with this probability, drawn for each step and feature

    In training d is the cell's noise, ``keep_<state>``; in evaluation it is the probability itself.
    Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017,
    arXiv:1606.01305, where, as here, an LSTM's new h comes from the c before zoneout.
    """

    count = len(cell.gates) + len(cell.noise)

    class Zoneout(Cell):
        gates, recurrent, states = cell.gates, cell.recurrent, cell.states
        noise = (*cell.noise, *(f"keep_{state}" for state in probabilities if training))
        projection_size = cell.projection_size

        def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            after, gates_of_step = cell.step(cell.Gates(*a[:count]), r, s, p)
            kept = []
            for state, old, new in zip(cell.states, s, after, strict=True):
                if state not in probabilities:
                    kept.append(new)
                elif training:
                    kept.append(torch.where(getattr(a, f"keep_{state}") > 0, old, new))
                else:
                    kept.append(new + probabilities[state] * (old - new))
            return tuple(kept), gates_of_step

        def initial_bias(self) -> Mapping[str, float]:
            return cell.initial_bias()

        def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
            return cell.own_parameters(hidden_size)

        def draw_noise(self, name: str, block: Tensor, training: bool) -> Tensor:
            if name in cell.noise:
                return cell.draw_noise(name, block, training)
            return block.bernoulli_(probabilities[name.removeprefix("keep_")])

        @property
        def innermost(self) -> Cell:
            return cell.innermost

        def __reduce__(self) -> tuple[Any, ...]:
            return zoneout, (cell, probabilities, training)

        def __repr__(self) -> str:
            return f"{cell!r} with zoneout"

    return Zoneout()
