"""Weights as aten's layers take them, and gradients back in our order.

aten lists, of each layer and direction, U, W, two biases, and the projection. Of the biases one is enough:
the second is 0 here, but for the GRU's own ``bias_n``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.request import Weights
from gatewise.engine.stack import Stack, StackSettings


def where_they_are(weights: Sequence[Weights], dtype: torch.dtype) -> list[Tensor]:
    """Weights in aten's order and this dtype, without a graph, and without biases where there are none."""
    listed: list[Tensor] = []
    for each in weights:
        own = [each.input, each.hidden]
        if each.bias is not None or each.own:
            zeros = each.input.new_zeros(len(each.input))
            own += [zeros if each.bias is None else each.bias, torch.cat(_second_bias(each, zeros))]
        if each.projection is not None:
            own.append(each.projection)
        listed += [tensor.detach().to(dtype) for tensor in own]
    return listed


def in_one_buffer(weights: Sequence[Weights], dtype: torch.dtype) -> list[Tensor]:
    """Weights in aten's order, as views of one new buffer, in the places where cuDNN looks for them.

    These are all matrices (of each layer and direction U, W, projection), then all biases. cuDNN keeps room
    for biases also where there are none, so they are always listed. One copy of the weights for each call
    costs little beside what is computed with them; parameters that were views of a lasting buffer would lose
    it by ``.to()``, ``deepcopy`` or FSDP.
    """
    with torch.no_grad():
        zeros = weights[0].input.new_zeros(len(weights[0].input))
        matrices, biases = [], []
        for each in weights:
            matrices += [each.input, each.hidden]
            matrices += [] if each.projection is None else [each.projection]
            biases += [zeros if each.bias is None else each.bias, *_second_bias(each, zeros)]
        buffer = torch.cat([tensor.reshape(-1) for tensor in (*matrices, *biases)]).to(dtype)
        sizes = [matrix.numel() for matrix in matrices] + [len(zeros)] * (2 * len(weights))
        pieces = [piece.detach() for piece in buffer.split(sizes)]
    placed = [piece.view_as(matrix) for piece, matrix in zip(pieces, matrices, strict=False)]
    biases = pieces[len(matrices) :]
    listed: list[Tensor] = []
    count = len(matrices) // len(weights)
    for index in range(len(weights)):
        first, second, *projection = placed[count * index : count * (index + 1)]
        listed += [first, second, *biases[2 * index : 2 * index + 2], *projection]
    return listed


def _second_bias(weights: Weights, zeros: Tensor) -> list[Tensor]:
    """The second of the two biases, in parts."""
    bias_n = weights.own.get("bias_n")
    return [zeros] if bias_n is None else [zeros[len(bias_n) :], bias_n]


def has_biases(stack: Stack, listed: Sequence[Tensor]) -> bool:
    """Whether these weights of the stack, in aten's order, are listed with biases."""
    return len(listed) // len(stack.weights) > 2 + (stack.cell.projection_size is not None)


def needed_weights(needed: Stack, biases: bool) -> list[bool]:
    """For each of aten's weights whether its gradient is needed, from a stack that says so of ours."""
    flags: list[Any] = []
    for weights in needed.weights:
        flags += [weights.input, weights.hidden]
        flags += [weights.bias, weights.own.get("bias_n", False)] if biases else []
        flags += [] if weights.projection is None else [weights.projection]
    return flags


def in_our_order(
    settings: StackSettings, gradients: Sequence[Any], biases: bool
) -> tuple[Tensor | None, ...]:
    """Gradients in the order of Stack.tensors, from those of x, of aten's weights and then of the states."""
    projects, states = settings.cell.projection_size is not None, len(settings.cell.states)
    size = 2 + 2 * biases + projects
    count = (len(gradients) - 1) // (size + states)
    rest = iter(gradients)
    x = next(rest)
    weights = []
    for _ in range(count):
        first, hidden, *others = (next(rest) for _ in range(size))
        bias, second = others[:2] if biases else (None, None)
        # Of the GRU's second bias the last of three gates is the parameter.
        own_gradient = None if second is None else second[len(second) // 3 * 2 :]
        own: dict[str, Any] = dict.fromkeys(settings.own_names, own_gradient)
        weights.append(Weights(first, hidden, bias, own, others[-1] if projects else None))
    of_states = tuple(tuple(next(rest) for _ in range(states)) for _ in range(count))
    return Stack(settings.cell, tuple(weights), x, (), of_states).tensors()
