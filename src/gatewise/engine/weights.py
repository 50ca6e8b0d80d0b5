"""What goes into and comes out of an engine."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gatewise.cells import Cell


class Weights(NamedTuple):
    """The tensors of one cell in one layer and direction; G gates, R with W, F inputs, H hidden.

    With a projection the hidden state has P features, and without one P is H.
    """

    input: Tensor
    """U, [G·H, F]."""
    hidden: Tensor
    """W, [R·H, P]."""
    bias: Tensor | None
    """b, [G·H]."""
    own: dict[str, Tensor]
    """The cell's own parameters, by name."""
    projection: Tensor | None = None
    """P, [P, H]: what makes the hidden state of the first tensor that ``step`` returns."""


class Unsupported(Exception):  # noqa: N818 - no error: another engine runs the cell
    """Why an engine cannot run a cell, in words that follow the cell's name."""


class Result(NamedTuple):
    """What an engine returns; N packed steps, B sequences, H hidden (P the hidden state, if projected)."""

    outputs: Tensor
    """[N, P] hidden state of every step."""
    state: tuple[Tensor, ...]
    """Final state: h [B, P], the others [B, H]."""
    history: dict[str, Tensor]
    """[N, H] of every shown gate and state by name, h [N, P]; empty unless asked for."""


def check_shapes(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    state_mask: Tensor | None,
    noise: Tensor | None,
) -> None:
    """Raise ValueError, naming the tensor, where shapes do not fit: compiled code would read past its end."""
    rows, features = weights.input.shape
    hidden = rows // len(cell.gates)
    steps, batch = sum(batch_sizes), len(state[0])
    sizes = cell.state_sizes(hidden)
    shapes = [
        ("the input x", x, (steps, features)),
        ("U", weights.input, (len(cell.gates) * hidden, features)),
        ("W", weights.hidden, (len(cell.recurrent) * hidden, sizes[0])),
        ("b", weights.bias, (rows,)),
        ("P", weights.projection, (sizes[0], hidden)),
        ("the mask of the state", state_mask, (batch, sizes[0])),
        ("the noise", noise, (steps, len(cell.noise) * hidden)),
    ]
    shapes += [(f"the state {n}", s, (batch, k)) for n, s, k in zip(cell.states, state, sizes, strict=True)]
    for name, tensor, shape in shapes:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{name} must be {list(shape)} for {cell!r} of {hidden} features, got {list(tensor.shape)}"
            )
    if batch_sizes and batch_sizes[0] > batch:
        raise ValueError(f"the first step has {batch_sizes[0]} sequences, and the state is of {batch}")
