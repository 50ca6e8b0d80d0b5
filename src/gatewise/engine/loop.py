"""The reference engine: a Python loop over ``step`` with ordinary autograd."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.cells import Cell
from gatewise.engine.packing import step_slices
from gatewise.engine.weights import Result, Weights


def run(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    reverse: bool,
    state_mask: Tensor | None = None,
    noise: Tensor | None = None,
    show: bool = False,
) -> Result:
    """Run a cell over packed sequences x [N, F] from ``state`` (each [B, H], with a projection h [B, P]).

    ``state_mask`` [B, P] multiplies h before every recurrent product (variational dropout). ``noise``
    [N, len(cell.noise)·H] holds the blocks that follow the gates in ``a``. With ``show`` the result holds
    every shown gate and every state at every step.
    """
    a = F.linear(x, weights.input, weights.bias)
    if noise is not None:
        a = torch.cat([a, noise.to(a.dtype)], dim=1)
    own = SimpleNamespace(**weights.own)
    steps = step_slices(batch_sizes, reverse)
    outputs: list[Tensor] = []
    shown: list[dict[str, Tensor]] = []
    for rows, alive in steps:
        before = [s[:alive] for s in state]
        h = before[0] if state_mask is None else before[0] * state_mask[:alive]
        r = F.linear(h, weights.hidden)
        after, gates = cell.step(
            cell.split_gates(a[rows]), cell.split_recurrent(r), cell.name_state(before), own
        )
        if weights.projection is not None:
            after = (F.linear(after[0], weights.projection), *after[1:])
        outputs.append(after[0])
        if show:
            shown.append({**gates, **dict(zip(cell.states, after, strict=True))})
        # Rows past `alive` have ended (or, in reverse, not begun): their state stays as it is.
        state = tuple(
            new if alive == len(old) else torch.cat([new, old[alive:]])
            for new, old in zip(after, state, strict=True)
        )
    if reverse:
        outputs.reverse()
        shown.reverse()
    history = {name: torch.cat([step[name] for step in shown]) for name in shown[0]} if shown else {}
    return Result(torch.cat(outputs), state, history)
