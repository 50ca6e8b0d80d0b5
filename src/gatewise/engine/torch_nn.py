"""The torch engine: the layers behind torch.nn.LSTM, GRU and RNN, for the cells that have their equations.

On a CUDA device they are cuDNN's. All layers and directions of a stack are one call; its weights lie in the
one buffer that cuDNN asks for; a ragged batch is passed as it is, packed. Whether factors in float32 are
rounded to TF32 is what torch's own settings say (``torch.backends.cudnn.allow_tf32``, or ``fp32_precision``
of ``torch.backends.cudnn.rnn``): nothing here changes it. Under autocast, everything is cast to its dtype, as
for torch.nn on a CUDA device: outputs and states are in that dtype, gradients in that of their tensors.

On the CPU aten runs a full batch fast and a packed one slowly (its backward pass fills, for each step, a
tensor of zeros as large as the whole input). A ragged batch is therefore cut there where sequences end, into
pieces that are full, one layer and direction at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import GRU, LSTM, RNN, Cell, ProjectedLSTM
from gatewise.engine import loop
from gatewise.engine.request import Request, Result, Unsupported
from gatewise.engine.second import differentiable_gradients
from gatewise.engine.stack import Stack, StackSettings
from gatewise.engine.torch_internals import graph_is_kept
from gatewise.engine.torch_weights import (
    has_biases,
    in_one_buffer,
    in_our_order,
    needed_weights,
    where_they_are,
)

# Kinds of devices on which cuDNN runs the layers: weights in one buffer, ragged batches packed.
_CUDNN = ("cuda",)
# What cuDNN says of sizes, or a GPU, that it does not support, before it has computed anything.
_REFUSALS = ("CUDNN_STATUS_NOT_SUPPORTED", "CUDNN_STATUS_BAD_PARAM", "CUDNN_STATUS_ARCH_MISMATCH")
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


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
    if arguments[0].device.type != "cpu":
        return torch.lstm(*arguments)
    with warnings.catch_warnings():
        # There is nothing that a user could change about it.
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        return torch.lstm(*arguments)


def run(request: Request) -> Result:
    """Run the request, without gates. Raises Unsupported where another engine has to run it."""
    if request.return_gates:
        raise Unsupported("gates to return")
    if _layer(request.cell) is not None and request.state_mask is not None:
        raise Unsupported("dropout of its hidden state")
    outputs, state = run_stack(Stack.of(request))
    return Result(outputs, tuple(tensor.squeeze(0) for tensor in state), {})


def run_stack(stack: Stack) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs [N, D·P] and the final state, one [L·D, B, P or H] per state of the cell.

    Raises Unsupported where another engine, or this one layer by layer, has to run it.
    """
    tensors = stack.tensors()
    dtype = _dtype(stack, tensors)
    if not len(stack.x):
        outputs, *state = stack.layer_by_layer(loop.run)
        return outputs, tuple(state)
    needs_grad = any(tensor is not None and tensor.requires_grad for tensor in tensors)
    differentiated = torch.is_grad_enabled() and needs_grad
    if differentiated and dtype == torch.float16 and stack.num_directions == 2 and type(stack.cell) is RNN:
        # Seen with cuDNN 9.19, in torch.nn.RNN as well; each direction alone is right.
        raise Unsupported("gradients of a bidirectional RNN in float16, where cuDNN's are wrong")
    try:
        if differentiated:
            outputs, *state = _Layers.apply(stack.settings, dtype, *tensors)
        else:
            outputs, *state = _run(stack, _weights(stack, dtype), False)
    except RuntimeError as error:
        if any(status in str(error) for status in _REFUSALS):
            raise Unsupported(str(error).splitlines()[0]) from error
        raise
    return outputs, tuple(state)


def _dtype(stack: Stack, tensors: Sequence[Tensor | None]) -> torch.dtype:
    """The dtype to compute in. Raises Unsupported where aten has no layer for the stack."""
    cell, device = stack.cell, stack.x.device
    if _layer(cell) is None:
        raise Unsupported("equations that torch.nn does not have")
    hidden_size = len(stack.weights[0].input) // len(cell.gates)
    if cell.projection_size == hidden_size:
        raise Unsupported("a projection to as many features")  # aten would take it for no projection
    if device.type not in ("cpu", "cuda"):
        raise Unsupported(f"tensors on {device.type}")
    cudnn, autocast = device.type in _CUDNN, _autocast_dtype(device.type)
    if cudnn and (cell.projection_size or 0) > hidden_size:
        raise Unsupported("a projection to more features, which cuDNN does not have")
    dtypes = set()
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device != device:
            raise Unsupported(f"tensors on {device} and {tensor.device}")
        # Autocast leaves float64 as it is.
        dtypes.add(tensor.dtype if autocast is None or tensor.dtype == torch.float64 else autocast)
    if len(dtypes) > 1:
        raise Unsupported(f"tensors of {' and '.join(sorted(str(dtype) for dtype in dtypes))}")
    dtype = dtypes.pop()
    # oneDNN's LSTM in float16 is not there on every processor, and aten does not ask before it calls it.
    if dtype not in _DTYPES or (dtype == torch.float16 and device.type == "cpu" and type(cell) is LSTM):
        raise Unsupported(f"{str(dtype).removeprefix('torch.')} on {device.type}")
    if not cudnn and len(stack.weights) > 1 and stack.batch_sizes[:1] != stack.batch_sizes[-1:]:
        raise Unsupported("a ragged batch, which runs layer by layer")
    return dtype


def _autocast_dtype(kind: str) -> torch.dtype | None:
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _without_autocast(kind: str) -> AbstractContextManager[Any]:
    """A context without autocast, which casts what cuDNN gets to float16 whatever its dtype says."""
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _run(stack: Stack, weights: list[Tensor], train: bool) -> list[Tensor]:
    """Outputs [N, D·P] and the final state, from aten's ``weights`` and the inputs and states of the stack.

    With ``train`` the backward pass can be computed, which cuDNN has to know.
    """
    kind, dtype, sizes = stack.x.device.type, weights[0].dtype, stack.batch_sizes
    with _without_autocast(kind):
        x = stack.x.to(dtype)
        state = [torch.stack(tensors).to(dtype) for tensors in zip(*stack.states, strict=True)]
        settings = (
            has_biases(stack, weights),
            len(stack.weights) // stack.num_directions,  # layers
            0.0,  # dropout between them
            train,
            stack.num_directions == 2,
        )
        if kind in _CUDNN and sizes[-1] < sizes[0]:
            return _run_packed(stack, x, state, weights, settings)
        return _run_pieces(stack, x, state, weights, settings)


def _run_packed(
    stack: Stack, x: Tensor, state: list[Tensor], weights: list[Tensor], settings: tuple[Any, ...]
) -> list[Tensor]:
    layer, sizes = _layer(stack.cell), stack.batch_sizes
    before = [tensor[:, : sizes[0]].contiguous() for tensor in state]
    # aten has no reverse direction alone: the steps of each sequence are turned around.
    rows = reversed_rows(sizes).to(x.device) if stack.reverse else None
    outputs, *after = layer(
        x if rows is None else x.index_select(0, rows),
        torch.tensor(sizes, device="cpu"),
        before if len(before) > 1 else before[0],
        weights,
        *settings,
    )
    outputs = outputs if rows is None else outputs.index_select(0, rows)
    return [outputs, *(_with_ended(new, old) for new, old in zip(after, state, strict=True))]


def reversed_rows(batch_sizes: tuple[int, ...]) -> Tensor:
    """[N]: for each packed row, the one as far from its sequence's end as this is from the start."""
    sizes = torch.tensor(batch_sizes, device="cpu")
    starts = sizes.cumsum(0) - sizes
    steps = torch.arange(len(sizes), device="cpu").repeat_interleave(sizes)
    sequences = torch.arange(int(sizes.sum()), device="cpu") - starts[steps]
    lengths = (sizes[:, None] > torch.arange(int(sizes[0]), device="cpu")).sum(0)
    return starts[lengths[sequences] - 1 - steps] + sequences


def _run_pieces(
    stack: Stack, x: Tensor, state: list[Tensor], weights: list[Tensor], settings: tuple[Any, ...]
) -> list[Tensor]:
    """One piece of equal batch size after another; several only with one layer and direction."""
    layer, reverse = _layer(stack.cell), stack.reverse
    pieces = [(len(list(steps)), alive) for alive, steps in groupby(stack.batch_sizes)]
    inputs = x.split([steps * alive for steps, alive in pieces])
    outputs: list[Tensor] = []
    for (steps, alive), piece in list(zip(pieces, inputs, strict=True))[:: -1 if reverse else 1]:
        padded = piece.unflatten(0, (steps, alive))
        before = [tensor[:, :alive].contiguous() for tensor in state]
        result, *after = layer(
            padded.flip(0) if reverse else padded,
            before if len(before) > 1 else before[0],
            weights,
            *settings,
            False,  # batch first
        )
        outputs.append((result.flip(0) if reverse else result).flatten(0, 1))
        state = [_with_ended(new, old) for new, old in zip(after, state, strict=True)]
    return [outputs[0] if len(outputs) == 1 else torch.cat(outputs[:: -1 if reverse else 1]), *state]


def _with_ended(new: Tensor, old: Tensor) -> Tensor:
    """The new state, with the old one of sequences that have ended (in reverse: have not begun)."""
    alive = new.shape[1]
    return new if alive == old.shape[1] else torch.cat([new, old[:, alive:]], dim=1)


class _Layers(torch.autograd.Function):
    """From a stack's settings and tensors to (outputs, final state…), with aten's graph inside.

    It is a node of its own because neither oneDNN's nor cuDNN's layer has second derivatives; this node takes
    them from the loop.
    """

    @staticmethod
    def forward(ctx: Any, settings: StackSettings, dtype: torch.dtype, *tensors: Tensor | None) -> Any:
        needed = ctx.needs_input_grad[2:]
        stack = settings.stack(
            [
                None if tensor is None else tensor.detach().requires_grad_(need)
                for tensor, need in zip(tensors, needed, strict=True)
            ]
        )
        # Leaves are the weights as aten gets them: a gradient by way of the buffer would be as large as the
        # buffer for each of them.
        weights = _weights(stack, dtype)
        biases = has_biases(stack, weights)
        for weight, need in zip(weights, needed_weights(settings.stack(needed), biases), strict=True):
            weight.requires_grad_(need)
        with torch.enable_grad():
            # cuDNN has gradients only of what ran as training, also where the model is evaluated. Without
            # dropout the two do not differ.
            results = _run(stack, weights, True)
        ctx.settings, kind = settings, stack.x.device.type
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        leaves = [stack.x, *weights, *(tensor for state in stack.states for tensor in state)]
        ctx.ends, ctx.biases = (len(tensors), len(tensors) + len(leaves)), biases
        # Autograd frees what is saved once it has been used, and aten's graph with it.
        ctx.save_for_backward(*tensors, *leaves, *results)
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        needed, settings = ctx.needs_input_grad[2:], ctx.settings
        first, second = ctx.ends
        saved = ctx.saved_tensors
        tensors, leaves, results = saved[:first], saved[first:second], saved[second:]
        device, dtype, enabled = ctx.autocast
        if torch.is_grad_enabled():
            # These gradients will be differentiated (create_graph), which takes the loop.
            with torch.autocast(device, dtype, enabled):
                return (None, None, *differentiable_gradients(_by_loop(settings), tensors, grads, needed))
        with _without_autocast(device):
            given = iter(
                torch.autograd.grad(
                    results,
                    [leaf for leaf in leaves if leaf.requires_grad],
                    grads,
                    # cuDNN's backward pass writes into what the forward pass has kept, and copies it before
                    # where the graph stays.
                    retain_graph=graph_is_kept(),
                    allow_unused=True,
                )
            )
        of_leaves = [next(given) if leaf.requires_grad else None for leaf in leaves]
        pairs = zip(tensors, in_our_order(settings, of_leaves, ctx.biases), strict=True)
        return (None, None, *(None if grad is None else grad.to(tensor.dtype) for tensor, grad in pairs))


def _weights(stack: Stack, dtype: torch.dtype) -> list[Tensor]:
    if stack.x.device.type in _CUDNN:
        return in_one_buffer(stack.weights, dtype)
    return where_they_are(stack.weights, dtype)


def _by_loop(settings: StackSettings) -> Any:
    return lambda tensors: settings.stack(tensors).layer_by_layer(loop.run)
