"""The torch engine: the layers behind torch.nn.LSTM, GRU and RNN, for the cells that have their equations.

aten runs a full batch fast and a packed one slowly (its backward pass fills, for each step, a tensor of zeros
as large as the whole input). A ragged batch is therefore cut where sequences end, into pieces that are full.
"""

from __future__ import annotations

import warnings
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import GRU, LSTM, RNN, Cell, ProjectedLSTM
from gatewise.engine import loop
from gatewise.engine.request import Request, Result, Settings, Unsupported, Weights
from gatewise.engine.second import differentiable_backward


def _layer(cell: Cell) -> Any:
    """The aten layer with the equations of exactly this class, or None."""
    kind = type(cell)
    if kind is LSTM:
        return torch.lstm
    if kind is ProjectedLSTM:
        return _projected_lstm
    if kind is GRU:
        return torch.gru
    if kind is RNN:
        return torch.rnn_relu if cell.nonlinearity == "relu" else torch.rnn_tanh  # type: ignore[attr-defined]
    return None


def _projected_lstm(*arguments: Any) -> Any:
    with warnings.catch_warnings():
        # There is nothing that a user could change about it.
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        return torch.lstm(*arguments)


def run(request: Request) -> Result:
    """Run the request, without gates. Raises Unsupported where another engine has to run it."""
    if request.return_gates:
        raise Unsupported("gates to return")
    cell = request.cell
    if _layer(cell) is None:
        raise Unsupported("equations that torch.nn does not have")
    if cell.projection_size == request.hidden_size:
        raise Unsupported("a projection to as many features")  # aten would take it for no projection
    if request.state_mask is not None:
        raise Unsupported("dropout of its hidden state")
    assert request.noise is None, "the cells of torch.nn take none"
    tensors = request.tensors()
    needs_grad = False
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise Unsupported(f"tensors on {tensor.device.type}")
        needs_grad = needs_grad or tensor.requires_grad
    if torch.is_autocast_enabled("cpu"):
        raise Unsupported("autocast")
    if not len(request.x):
        return loop.run(request)
    if torch.is_grad_enabled() and needs_grad:
        outputs, *final = _Sequence.apply(request.settings, *tensors)
    else:
        outputs, *final = _run(request)
    return Result(outputs, tuple(final), {})


def _run(request: Request) -> list[Tensor]:
    """Outputs [N, P] and the final state, from one piece of equal batch size after another."""
    layer, weights, flat = _layer(request.cell), request.weights, _flat_weights(request.weights)
    reverse, state = request.reverse, list(request.state)
    pieces = [(len(list(steps)), alive) for alive, steps in groupby(request.batch_sizes)]
    inputs = request.x.split([steps * alive for steps, alive in pieces])
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
            torch.is_grad_enabled(),  # training: keep what the backward pass needs
            False,  # bidirectional
            False,  # batch first
        )
        outputs.append((result.flip(0) if reverse else result).flatten(0, 1))
        state = [
            new.squeeze(0) if alive == len(old) else torch.cat([new.squeeze(0), old[alive:]])
            for new, old in zip(after, state, strict=True)
        ]
    return [torch.cat(outputs[:: -1 if reverse else 1]), *state]


def _flat_weights(weights: Weights) -> list[Tensor]:
    """Weights as torch.nn lists them. Of its two biases the second is 0, but for the GRU's ``bias_n``."""
    flat = [weights.input, weights.hidden]
    bias_n = weights.own.get("bias_n")
    if weights.bias is not None or bias_n is not None:
        zeros = weights.input.new_zeros(len(weights.input))
        second = zeros if bias_n is None else torch.cat([zeros[len(bias_n) :], bias_n])
        flat += [zeros if weights.bias is None else weights.bias, second]
    return flat if weights.projection is None else [*flat, weights.projection]


class _Sequence(torch.autograd.Function):
    """From a request's settings and tensors to (outputs, final state…), with aten's graph inside.

    It is a node of its own because oneDNN's layer has no second derivatives; this node takes them from the
    loop.
    """

    @staticmethod
    def forward(ctx: Any, settings: Settings, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        ctx.settings = settings
        with torch.enable_grad():
            inside = [
                None if tensor is None else tensor.detach().requires_grad_(needed)
                for tensor, needed in zip(tensors, ctx.needs_input_grad[1:], strict=True)
            ]
            results = _run(settings.request(inside))
        # Autograd frees what is saved once it has been used, and aten's graph with it.
        ctx.save_for_backward(*tensors, *inside, *results)
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1:]
        count = len(needed)
        tensors, inside = ctx.saved_tensors[:count], ctx.saved_tensors[count : 2 * count]
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            return (None, *differentiable_backward(ctx.settings, tensors, grads, needed))
        gradients = iter(
            torch.autograd.grad(
                ctx.saved_tensors[2 * count :],
                [tensor for tensor, need in zip(inside, needed, strict=True) if need],
                grads,
                retain_graph=True,
                allow_unused=True,
            )
        )
        return (None, *(next(gradients) if need else None for need in needed))
