"""Several layers and directions of one cell, as one request: what cuDNN runs in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.request import Request, Result, Weights


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers of one cell on top of each other, each in D directions, over a batch of packed sequences.

    L layers; N packed rows, B sequences; F inputs, H hidden features, P features of the hidden state (H
    unless the cell projects it). A layer above the first has D·P inputs, the outputs of the one below side by
    side. Weights and states are in torch's order: layer 0 forward, layer 0 reverse, layer 1 forward, …
    """

    cell: Cell
    weights: tuple[Weights, ...]
    """L·D of them."""
    x: Tensor
    """Inputs of the first layer, [N, F]."""
    batch_sizes: tuple[int, ...]
    """Number of sequences in each step, as in a Request."""
    states: tuple[tuple[Tensor, ...], ...]
    """L·D initial states: h [B, P], the others [B, H]."""
    num_directions: int = 1
    """D: 1, or 2 for forward and reverse."""
    reverse: bool = False
    """Whether an only direction runs from each sequence's last step to its first."""
    recompute: bool = False
    """As in a Request: the torch engine, which runs all at once, does not recompute."""

    @classmethod
    def of(cls, request: Request) -> Stack:
        """The stack of the one layer and direction that a request is for."""
        weights, states = (request.weights,), (request.state,)
        return cls(request.cell, weights, request.x, request.batch_sizes, states, reverse=request.reverse)

    def first_request(self) -> Request:
        """What the first layer asks for in its first direction."""
        return next(self._layer(0, self.x))

    @property
    def settings(self) -> StackSettings:
        """All of this stack but its tensors."""
        names = tuple(self.weights[0].own)
        return StackSettings(self.cell, self.batch_sizes, self.num_directions, self.reverse, names)

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All tensors, in the order that :meth:`StackSettings.stack` reads them.

        x; then, of each layer and direction, U, W, b, own parameters, state, and the projection, if any.
        """
        tensors: list[Tensor | None] = [self.x]
        for weights, state in zip(self.weights, self.states, strict=True):
            tensors += [weights.input, weights.hidden, weights.bias, *weights.own.values(), *state]
            if self.cell.projection_size is not None:
                tensors.append(weights.projection)
        return tuple(tensors)

    def check_shapes(self) -> None:
        """Raise ValueError, naming the tensor, where shapes do not fit together."""
        for request in self._layer(0, self.x):
            request.check_shapes()
        if len(self.weights) > self.num_directions:
            outputs = self.num_directions * self.states[0][0].shape[1]
            x = torch.empty(len(self.x), outputs, device="meta")
            for layer in range(1, len(self.weights) // self.num_directions):
                for request in self._layer(layer, x):
                    request.check_shapes()

    def layer_by_layer(self, run: Callable[[Request], Result]) -> list[Tensor]:
        """The outputs [N, D·P] and the final state, [L·D, B, P or H] each, from a run of every request."""
        x, states = self.x, []
        for layer in range(len(self.weights) // self.num_directions):
            results = [run(request) for request in self._layer(layer, x)]
            x = torch.cat([result.outputs for result in results], dim=1)
            states += [result.state for result in results]
        return [x, *(torch.stack(tensors) for tensors in zip(*states, strict=True))]

    def _layer(self, layer: int, x: Tensor) -> Iterator[Request]:
        """A request for each direction of a layer with this input."""
        for direction in range(self.num_directions):
            index = layer * self.num_directions + direction
            weights, state = self.weights[index], self.states[index]
            yield Request(
                self.cell,
                weights,
                x,
                self.batch_sizes,
                state,
                reverse=self.reverse or direction == 1,
                recompute=self.recompute,
            )


@dataclass(frozen=True, slots=True)
class StackSettings:
    """All of a stack but its tensors, which an autograd node leaves to autograd."""

    cell: Cell
    batch_sizes: tuple[int, ...]
    num_directions: int
    reverse: bool
    own_names: tuple[str, ...]
    """Names of the cell's own parameters."""

    def stack(self, tensors: Sequence[Any]) -> Stack:
        """The stack with these settings and these tensors, which are in the order of Stack.tensors."""
        weights, states = [], []
        x, *others = tensors
        rest = iter(others)
        for first in rest:
            hidden, bias = next(rest), next(rest)
            own = {name: next(rest) for name in self.own_names}
            states.append(tuple(next(rest) for _ in self.cell.states))
            projection = None if self.cell.projection_size is None else next(rest)
            weights.append(Weights(first, hidden, bias, own, projection))
        return Stack(
            self.cell, tuple(weights), x, self.batch_sizes, tuple(states), self.num_directions, self.reverse
        )
