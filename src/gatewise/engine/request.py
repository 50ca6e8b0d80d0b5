"""What an engine is asked to run, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import Cell


class Unsupported(Exception):  # noqa: N818 - not an error: another engine runs the cell
    """Why an engine cannot run a request, as a phrase to follow a colon."""


class Weights(NamedTuple):
    """The tensors of one cell in one layer and direction.

    G gates, R of them with a recurrent product; F inputs, H hidden features, P features of the hidden state
    (H unless the cell projects it).
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
    """[P, H], which maps the first tensor that ``step`` returns to the hidden state."""


class Result(NamedTuple):
    """What an engine returns, for N packed rows and B sequences."""

    outputs: Tensor
    """Hidden state after every step, [N, P]."""
    state: tuple[Tensor, ...]
    """Final state: h [B, P], the others [B, H]."""
    gates: dict[str, Tensor]
    """Every gate and state at every step, by name: [N, H], but h [N, P]. Empty unless asked for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A cell to run over a batch of packed sequences, in one layer and one direction.

    N packed rows, B sequences, T steps; F inputs, H hidden features, P features of the hidden state (H unless
    the cell projects it). :mod:`gatewise.engine.packing` describes the packed layout.
    """

    cell: Cell
    weights: Weights
    x: Tensor
    """Inputs, [N, F]."""
    batch_sizes: tuple[int, ...]
    """Number of sequences in each of the T steps; never rises, and adds up to N."""
    state: tuple[Tensor, ...]
    """Initial state: h [B, P], the others [B, H]."""
    reverse: bool = False
    """Whether to run from each sequence's last step to its first."""
    state_mask: Tensor | None = None
    """[B, P], multiplied with h before every recurrent product (variational dropout)."""
    noise: Tensor | None = None
    """[N, K·H]: the K noise blocks of the cell, which follow the gates in ``a``."""
    return_gates: bool = False
    """Whether the result holds every gate and state at every step."""
    recompute: bool = False
    """Whether native and cuda compute the gates again in the backward pass; the others ignore it."""

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.weights.input.shape[-2] // len(self.cell.gates)

    @property
    def settings(self) -> Settings:
        """All of this request but its tensors."""
        names = tuple(self.weights.own)
        return Settings(self.cell, self.batch_sizes, self.reverse, names, self.return_gates, self.recompute)

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All tensors of this request, in the order that :meth:`Settings.request` reads them.

        x, U, W, b, state mask, own parameters, initial state; then the projection and the noise, if the cell
        has them.
        """
        weights = self.weights
        last = tuple(tensor for tensor in (weights.projection, self.noise) if tensor is not None)
        return (
            self.x,
            weights.input,
            weights.hidden,
            weights.bias,
            self.state_mask,
            *weights.own.values(),
            *self.state,
            *last,
        )

    def check_shapes(self) -> None:
        """Raise ValueError, naming the tensor, where shapes do not fit together.

        Compiled code would read past the end of a tensor that is too small.
        """
        cell, weights, hidden = self.cell, self.weights, self.hidden_size
        rows, features = weights.input.shape
        steps, batch = sum(self.batch_sizes), self.state[0].shape[0]
        sizes = cell.state_sizes(hidden)
        shapes: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
            ("the input x", self.x, (steps, features)),
            ("U", weights.input, (len(cell.gates) * hidden, features)),
            ("W", weights.hidden, (len(cell.recurrent) * hidden, sizes[0])),
            ("b", weights.bias, (rows,)),
            ("P", weights.projection, (sizes[0], hidden)),
            ("the mask of the state", self.state_mask, (batch, sizes[0])),
            ("the noise", self.noise, (steps, len(cell.noise) * hidden)),
        ]
        states = zip(cell.states, self.state, sizes, strict=True)
        shapes += [(f"the state {name}", state, (batch, size)) for name, state, size in states]
        for name, tensor, shape in shapes:
            if tensor is not None and tensor.shape != shape:
                raise ValueError(
                    f"{name} must be {list(shape)} for {cell!r} of {hidden} features, "
                    f"got {list(tensor.shape)}"
                )
        if self.batch_sizes and self.batch_sizes[0] > batch:
            raise ValueError(
                f"the first step has {self.batch_sizes[0]} sequences, but the state is for {batch}"
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a request but its tensors.

    An autograd node holds this and leaves the tensors to autograd, which frees them after the backward pass.
    """

    cell: Cell
    batch_sizes: tuple[int, ...]
    reverse: bool
    own_names: tuple[str, ...]
    """Names of the cell's own parameters."""
    return_gates: bool
    recompute: bool
    final_dtypes: tuple[torch.dtype, ...] | None = None
    """Those in which a prepared call returns the final state; None where they are those it is computed in."""

    def request(self, tensors: Sequence[Any]) -> Request:
        """The request with these settings and these tensors, which are in the order of Request.tensors."""
        x, weight_input, weight_hidden, bias, state_mask = tensors[:5]
        cell, states = self.cell, 5 + len(self.own_names)
        last = states + len(cell.states)
        own = dict(zip(self.own_names, tensors[5:states], strict=True)) if states > 5 else {}
        projection = None if cell.projection_size is None else tensors[last]
        noise = tensors[-1] if cell.noise else None
        weights = Weights(weight_input, weight_hidden, bias, own, projection)
        return Request(
            cell,
            weights,
            x,
            self.batch_sizes,
            tuple(tensors[states:last]),
            self.reverse,
            state_mask,
            noise,
            self.return_gates,
            self.recompute,
        )
