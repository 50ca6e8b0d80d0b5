"""Zoneout: any cell, some of whose state stays as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewise.cells.cell import Cell


def zoneout(cell: Cell, probabilities: Mapping[str, float], training: bool) -> Cell:
    """The cell that runs ``cell`` and keeps each feature of a state with that state's probability.

    s' = d · s + (1 - d) · step(s)         d is 1 with the probability, drawn for each step and feature

    In training d is the cell's noise, ``keep_<state>``; in evaluation it is the probability itself.
    Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", ICLR 2017,
    arXiv:1606.01305, where an LSTM's new h comes from the c before zoneout, as here.
    """

    class Zoneout(Cell):
        gates, recurrent, states = cell.gates, cell.recurrent, cell.states
        noise = tuple(f"keep_{state}" for state in probabilities) if training else ()
        projection_size = cell.projection_size

        def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            after, shown = cell.step(cell.Gates(*a[: len(cell.gates)]), r, s, p)
            kept = []
            for state, old, new in zip(cell.states, s, after, strict=True):
                if state not in probabilities:
                    kept.append(new)
                elif training:
                    kept.append(torch.where(getattr(a, f"keep_{state}") > 0, old, new))
                else:
                    kept.append(new + probabilities[state] * (old - new))
            return tuple(kept), shown

        def initial_bias(self) -> Mapping[str, float]:
            return cell.initial_bias()

        def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
            return cell.own_parameters(hidden_size)

        def __reduce__(self) -> tuple[Any, ...]:
            return zoneout, (cell, probabilities, training)

        def __repr__(self) -> str:
            return f"{cell!r} with zoneout"

    return Zoneout()
