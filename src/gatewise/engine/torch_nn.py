"""The torch engine: the layers behind torch.nn.LSTM, GRU and RNN, for the cells that are theirs.

aten runs a full batch fast and a packed one slowly (its backward pass fills one tensor of zeros as large as
the whole input for each step), so a ragged batch is cut where sequences end, into pieces that are full.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import GRU, LSTM, RNN, Cell, ProjectedLSTM
from gatewise.engine import loop
from gatewise.engine.second import differentiable_backward, sequence_inputs
from gatewise.engine.weights import Result, Unsupported, Weights


def _layer(cell: Cell) -> Any:
    """aten's layer with the equations of this very class, or None."""
    kind = type(cell)
    if kind is LSTM:
        return torch._VF.lstm
    if kind is ProjectedLSTM:
        return _projected_lstm
    if kind is GRU:
        return torch._VF.gru
    if kind is RNN:
        return getattr(torch._VF, f"rnn_{cell.nonlinearity}")  # type: ignore[attr-defined]
    return None


def _projected_lstm(*arguments: Any) -> Any:
    with warnings.catch_warnings():
        # Nothing that a user could change.
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        return torch._VF.lstm(*arguments)


@torch.compiler.disable
def run(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: tuple[Tensor, ...],
    reverse: bool,
    state_mask: Tensor | None = None,
    noise: Tensor | None = None,
) -> Result:
    """Run a cell over packed sequences, as :func:`gatewise.engine.loop.run` does, without a history.

    Raises Unsupported, saying why, where another engine has to do it.
    """
    if _layer(cell) is None:
        raise Unsupported("equations that torch.nn does not have")
    if cell.projection_size == len(weights.input) // len(cell.gates):
        raise Unsupported("a projection to as many features")  # which aten takes for none
    if state_mask is not None:
        raise Unsupported("dropout of its hidden state")
    assert noise is None, "the cells of torch.nn take none"
    inputs = sequence_inputs(weights, x, state, None)
    tensors = [tensor for tensor in inputs if tensor is not None]
    for tensor in tensors:
        if tensor.device.type != "cpu":
            raise Unsupported(f"tensors on {tensor.device.type}")
    if torch.is_autocast_enabled("cpu"):
        raise Unsupported("autocast")
    if not len(x):
        return loop.run(cell, weights, x, batch_sizes, state, reverse)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        results = _Sequence.apply(cell, batch_sizes, reverse, tuple(weights.own), *inputs)
    else:
        results = _run(cell, weights, x, batch_sizes, state, reverse)
    return Result(results[0], tuple(results[1:]), {})


def _run(
    cell: Cell,
    weights: Weights,
    x: Tensor,
    batch_sizes: tuple[int, ...],
    state: Sequence[Tensor],
    reverse: bool,
) -> list[Tensor]:
    """Outputs [N, P] and the final state, piece by piece of equal batch size."""
    layer, flat = _layer(cell), _flat_weights(weights)
    pieces = [(len(list(steps)), alive) for alive, steps in groupby(batch_sizes)]
    inputs = x.split([steps * alive for steps, alive in pieces])
    outputs: list[Tensor] = []
    for (steps, alive), piece in list(zip(pieces, inputs, strict=True))[:: -1 if reverse else 1]:
        padded = piece.unflatten(0, (steps, alive))
        before = [s[:alive].unsqueeze(0) for s in state]
        result, *after = layer(
            padded.flip(0) if reverse else padded,
            before if len(before) > 1 else before[0],
            flat,
            len(flat) > 2 + (weights.projection is not None),  # whether there are biases
            1,  # layers
            0.0,  # dropout
            torch.is_grad_enabled(),  # training: what the backward pass needs is kept
            False,  # both directions
            False,  # batch first
        )
        outputs.append((result.flip(0) if reverse else result).flatten(0, 1))
        state = [
            new.squeeze(0) if alive == len(old) else torch.cat([new.squeeze(0), old[alive:]])
            for new, old in zip(after, state, strict=True)
        ]
    return [torch.cat(outputs[:: -1 if reverse else 1]), *state]


def _flat_weights(weights: Weights) -> list[Tensor]:
    """Weights as torch.nn lists them; of its two biases the second is 0 but for the GRU's ``bias_n``."""
    flat = [weights.input, weights.hidden]
    bias_n = weights.own.get("bias_n")
    if weights.bias is not None or bias_n is not None:
        zeros = weights.input.new_zeros(len(weights.input))
        second = zeros if bias_n is None else torch.cat([zeros[len(bias_n) :], bias_n])
        flat += [zeros if weights.bias is None else weights.bias, second]
    return flat if weights.projection is None else [*flat, weights.projection]


class _Sequence(torch.autograd.Function):
    """:func:`sequence_inputs` to (outputs, final state…), with aten's graph inside.

    Apart from it stands the way to second derivatives, which oneDNN's layer does not have.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        batch_sizes: tuple[int, ...],
        reverse: bool,
        own_names: tuple[str, ...],
        *inputs: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.cell, ctx.batch_sizes, ctx.reverse, ctx.own_names = cell, batch_sizes, reverse, own_names
        with torch.enable_grad():
            inside = [
                None if tensor is None else tensor.detach().requires_grad_(needed)
                for tensor, needed in zip(inputs, ctx.needs_input_grad[4:], strict=True)
            ]
            x, weight_input, weight_hidden, bias, _, *others = inside
            rest: Any = iter(others)
            own = {name: next(rest) for name in own_names}
            state = [next(rest) for _ in cell.states]
            weights = Weights(weight_input, weight_hidden, bias, own, next(rest, None))  # type: ignore[arg-type]
            results = _run(cell, weights, x, batch_sizes, state, reverse)  # type: ignore[arg-type]
        # What is saved is let go as soon as it has been used, and with it aten's graph.
        ctx.save_for_backward(*inputs, *inside, *results)
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        wanted = ctx.needs_input_grad[4:]
        count = len(wanted)
        inputs, inside = ctx.saved_tensors[:count], ctx.saved_tensors[count : 2 * count]
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these gradients (create_graph): the loop has them.
            return (None,) * 4 + tuple(differentiable_backward(ctx, inputs, grads, wanted))
        found = iter(
            torch.autograd.grad(
                ctx.saved_tensors[2 * count :],
                [tensor for tensor, needed in zip(inside, wanted, strict=True) if needed],
                grads,
                retain_graph=True,
                allow_unused=True,
            )
        )
        return (None,) * 4 + tuple(next(found) if needed else None for needed in wanted)
