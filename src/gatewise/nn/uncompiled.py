"""Small networks on torch operations, where compiling them would take longer than what is asked of them."""

from __future__ import annotations

import contextlib
from typing import cast

from gatewise.engine import check_cell
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked

SMALL = 20_000_000
"""Steps times weights."""


def without_compiling(encoder: Recurrent | Stacked, steps: int) -> None:
    """Run a small network on torch operations from now on, if it is to read no more than so many steps."""
    weights = sum(parameter.numel() for parameter in encoder.parameters())
    if steps * weights > SMALL:
        return
    layers = [encoder] if isinstance(encoder, Recurrent) else cast(list[Recurrent], list(encoder.layers))
    for each in layers:
        with contextlib.suppress(ValueError):  # a cell that only the loop runs right
            check_cell("function", each.cell, each.hidden_size)
            each.engine = "function"
