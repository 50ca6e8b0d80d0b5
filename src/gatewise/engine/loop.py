"""The reference engine: a Python loop over ``step``, differentiated by ordinary autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.engine.contract import check_result, raise_again
from gatewise.engine.packing import step_slices
from gatewise.engine.request import Request, Result

Keep = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]
"""Sees the states before and after a step, and returns those to go on with."""


def run(request: Request, keep: Keep | None = None) -> Result:
    """Run the request; every engine has to give this one's results."""
    cell, weights, state_mask = request.cell, request.weights, request.state_mask
    a = F.linear(request.x, weights.input, weights.bias)
    if request.noise is not None:
        a = torch.cat([a, request.noise.to(a.dtype)], dim=1)
    own = SimpleNamespace(**weights.own)
    state = request.state
    kind = a.device.type
    # Under autocast a state may be of another dtype than the input's part.
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    outputs: list[Tensor] = []
    history: list[dict[str, Tensor]] = []
    for rows, alive in step_slices(request.batch_sizes, request.reverse):
        before = [s[:alive] for s in state]
        h = before[0] if state_mask is None else before[0] * state_mask[:alive]
        r = F.linear(h, weights.hidden)
        of_step = (cell.split_gates(a[rows]), cell.split_recurrent(r), cell.name_state(before), own)
        try:
            result = cell.step(*of_step)
        except Exception as error:
            raise_again(cell, error)
        if not outputs:
            check_result(cell, result, request.hidden_size, a[rows], not autocast)
        after, gates = result
        if weights.projection is not None:
            after = (F.linear(after[0], weights.projection), *after[1:])
        if keep is not None:
            after = tuple(keep(before, after))
        outputs.append(after[0])
        if request.return_gates:
            history.append({**gates, **dict(zip(cell.states, after, strict=True))})
        # Sequences past `alive` have ended (in reverse: have not begun), so their state does not change.
        state = tuple(
            new if alive == len(old) else torch.cat([new, old[alive:]])
            for new, old in zip(after, state, strict=True)
        )
    if request.reverse:
        outputs.reverse()
        history.reverse()
    names = history[0] if history else ()
    gates_by_name = {name: torch.cat([step[name] for step in history]) for name in names}
    return Result(torch.cat(outputs), state, gates_by_name)
