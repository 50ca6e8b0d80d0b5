"""What engines that are one autograd node have in common: their inputs, and second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewise.engine import loop
from gatewise.engine.weights import Weights


def sequence_inputs(
    weights: Weights,
    x: Tensor,
    state: tuple[Tensor, ...],
    state_mask: Tensor | None,
    noise: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """All tensors a sequence depends on, in one order: x, U, W, b, mask, own parameters, initial state.

    The projection of a cell that has one, and the noise of a cell that takes some, follow.
    """
    return (
        x,
        weights.input,
        weights.hidden,
        weights.bias,
        state_mask,
        *weights.own.values(),
        *state,
        *(tensor for tensor in (weights.projection, noise) if tensor is not None),
    )


def differentiable_backward(
    ctx: Any, inputs: tuple[Any, ...], grads: tuple[Tensor, ...], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of a sequence as a graph of their own, from a second run by the loop.

    ``inputs`` are those of :func:`sequence_inputs`; ``needed`` says for each whether its gradient is. ``ctx``
    knows the cell, batch_sizes, reverse and own_names.
    """
    with torch.enable_grad():
        # Views of their own: an input may be computed from another (a carried state from the weights), and
        # the way through it is not this node's to differentiate.
        inputs = tuple(None if tensor is None else tensor.view_as(tensor) for tensor in inputs)
        x, weight_input, weight_hidden, bias, state_mask, *others = inputs
        rest = iter(others)
        own = {name: next(rest) for name in ctx.own_names}
        state = tuple(next(rest) for _ in ctx.cell.states)
        projection = None if ctx.cell.projection_size is None else next(rest)
        noise = next(rest) if ctx.cell.noise else None
        weights = Weights(weight_input, weight_hidden, bias, own, projection)
        result = loop.run(ctx.cell, weights, x, ctx.batch_sizes, state, ctx.reverse, state_mask, noise)
        wanted = [i for i, need in enumerate(needed) if need]
        found = torch.autograd.grad(
            (result.outputs, *result.state),
            [inputs[i] for i in wanted],
            grads,
            create_graph=True,
            allow_unused=True,
        )
    gradients: list[Tensor | None] = [None] * len(inputs)
    for i, gradient in zip(wanted, found, strict=True):
        gradients[i] = gradient
    return gradients
