"""The random blocks of a cell, for all steps of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.cells.cell import Cell
from gatewise.cells.held import asked


def draw(cell: Cell, rows: int, hidden_size: int, like: Tensor, training: bool = True) -> Tensor | None:
    """[N, K·H]: the K blocks of the cell's ``noise``, as its ``draw_noise`` fills them; None without any.

    Raises ValueError, naming the cell, where ``draw_noise`` fails or returns another shape.
    """
    shape = (rows, hidden_size)
    blocks = []
    for name in cell.noise:
        block = asked(cell, "draw_noise", name, like.new_empty(shape), training)
        if not isinstance(block, Tensor) or block.shape != shape:
            got = list(block.shape) if isinstance(block, Tensor) else type(block).__name__
            kind = type(cell.innermost).__name__
            raise ValueError(f"{kind}.draw_noise must return {list(shape)} for {name!r}, got {got}")
        blocks.append(block)
    return torch.cat(blocks, dim=1) if blocks else None
