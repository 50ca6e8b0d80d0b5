"""The sequence in one launch forward and one backward, with the recurrent weights in registers.

In bfloat16, float16 and float32, this in all of its digits where torch may not take TF32. A step that reduces
along its features has phases, between which blocks exchange what they have reduced (``phases``,
``sequence_rows.cu``). ``projected`` runs cells that project their hidden state by these kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engine.cuda.design import Backward, Forward
from gatewise.engine.cuda.digits import product_of_all_digits, tf32_allowed
from gatewise.engine.cuda.emit import exchanged, kept_of_a_sequence, sequence_phases, sequence_source
from gatewise.engine.cuda.kernel import SequenceKernel
from gatewise.engine.cuda.launcher import Launcher, capturing, stream_of
from gatewise.engine.cuda.steps import accumulated, stacked
from gatewise.engine.cuda.variant import GRID, Shape, Variant
from gatewise.engine.request import Request
from gatewise.engine.sent import sent
from gatewise.engine.traced.trace import Trace

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


class Kept(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Tensor
    """[N, H]: the masked hidden state before every step."""
    values: Tensor
    """Words, as ``sequence.cu`` has them."""


@dataclass(frozen=True)
class WholeKernels:
    """A cell's two kernels."""

    trace: Trace
    forth: SequenceKernel
    back: SequenceKernel | None
    """None where no gradients are needed."""
    of_gates: Callable[[Cell, tuple[int, ...]], WholeKernels] | None = None

    kept: ClassVar[type[Kept]] = Kept

    def forward(self, request: Request, keep: bool) -> Forward:
        """The forward pass, which keeps what a backward pass needs."""
        return forward(self.forth, self.trace, request, keep)

    def backward(
        self,
        request: Request,
        kept: Any,
        above: Tensor,
        grad_final: Sequence[Tensor | None],
        carried: Sequence[Tensor | None] = (),
    ) -> Backward:
        """The backward pass."""
        assert self.back is not None
        states, of_gates = carried[1 : len(grad_final)], carried[len(grad_final) :]
        read = [torch.zeros_like(above) if grad is None else grad for grad in states]
        read += [grad for grad in of_gates if grad is not None]
        return backward(self.back, self.trace, request, kept, above, grad_final, read)


def suits(hidden_size: int, dtype: torch.dtype) -> bool:
    """Whether these kernels can run a cell at all."""
    return dtype in DTYPES and not hidden_size % (4 // dtype.itemsize)


def shape_of(
    cell: Cell, trace: Trace, hidden_size: int, dtype: torch.dtype, way: str, exact: bool = False
) -> Shape:
    """What the cell asks for in one direction; ``exact`` as in :class:`Shape`."""
    return Shape(
        way,  # type: ignore[arg-type]
        hidden_size,
        len(cell.gates) + (len(cell.noise) if way == "forward" else 0),
        len(cell.recurrent) if trace.uses_hidden else 0,
        len(cell.states),
        len(kept_of_a_sequence(cell, trace)),
        dtype,
        exact=exact,
        kept_of_row=len(trace.saved_of_row),
        exchanged=exchanged(trace, way),
        alive=sequence_phases(cell, trace, way).alive if way == "forward" or trace.row_values else 0,
        own=len(trace.grad["p"]),
    )


def compiled(
    cell: Cell,
    trace: Trace,
    shape: Shape,
    variant: Variant,
    launcher: Launcher,
    of_models: bool = False,
    carrying: Trace | None = None,
) -> SequenceKernel:
    """The kernel of a variant, for one model or several, and ``carrying`` gradients of gates.

    Raises Unsupported where it cannot be compiled.
    """
    source = sequence_source(cell, trace, shape, variant, of_models, carrying)
    return SequenceKernel(shape, variant, launcher, launcher.kernel(source, f"sequence_{shape.way}"))


def forward(
    kernel: SequenceKernel, trace: Trace, request: Request, keep: bool, addend: Tensor | None = None
) -> Forward:
    """The forward pass, in one launch; of K models, if all tensors of the request are [K, …].

    A cell that projects has an ``addend`` [B, R·H] to the recurrent products of each sequence's first step.
    """
    shape, weights, x = kernel.shape, request.weights, request.x
    *models, rows, _ = x.shape
    dtype, size = shape.dtype, shape.hidden
    like: dict[str, Any] = {"device": x.device}
    steps, batch = len(request.batch_sizes), request.state[0].shape[-2]
    # The kernel adds the bias: a product with one takes torch far longer to start.
    if shape.exchanged and dtype == torch.float32 and tf32_allowed():
        a = product_of_all_digits(x, weights.input)  # a norm would magnify what is rounded off
    else:
        a = x @ weights.input.mT
    if request.noise is not None:
        a = torch.cat([a, request.noise.to(dtype)], -1)
    initial = _in_a_row(request.state)
    final = x.new_empty(*models, shape.states, batch, size, dtype=accumulated(dtype))
    outputs = torch.empty(*models, rows, size, dtype=dtype, **like)
    polled = kernel.polled
    before = _marked((*models, rows, size), dtype, x.device, polled) if keep or polled else None
    values = _kept(models, shape, steps, batch, x.device) if keep else None
    wanted = request.return_gates
    gates = torch.empty(rows, len(trace.gates), size, dtype=dtype, **like) if wanted else None
    states = torch.empty(rows, shape.states, size, dtype=dtype, **like) if wanted else None
    mask = None if request.state_mask is None else request.state_mask.contiguous()
    own, (hidden, of_hidden) = stacked(request), _of_models(weights.hidden)
    bias, of_bias = (None, 0) if weights.bias is None else _of_models(weights.bias, 1)
    reduced = _reduced(models, kernel, steps, batch, x.device)
    starts, lengths = packed(request.batch_sizes, batch, x.device)
    words = [
        *(
            _at(a),
            _at(bias),
            _at(hidden),
            _at(initial),
            _at(own),
            _at(mask),
            _at(outputs),
            _at(before),
            _at(final),
        ),
        _at(addend),
        *(_at(values), _at(gates), _at(states), _at(starts), _at(lengths), _at(_error(x.device))),
        _at(reduced),
        *(steps, batch, int(request.reverse), rows, of_hidden, of_bias),
    ]
    kernel.launch(words, batch, *models)
    if polled or reduced is not None:
        _check_nobody_waited_in_vain(x.device)
    kept = Kept(before, values) if before is not None and values is not None else None
    return Forward(outputs, list(final.unbind(-3)), gates, states, kept)


def backward(
    kernel: SequenceKernel,
    trace: Trace,
    request: Request,
    kept: Kept,
    above: Tensor,
    grad_final: Sequence[Tensor | None],
    carried: Sequence[Tensor] = (),
) -> Backward:
    """The backward pass, in one launch; of K models as the forward pass."""
    shape, weights = kernel.shape, request.weights
    *models, rows, _ = request.x.shape
    dtype, size, device = shape.dtype, shape.hidden, request.x.device
    steps, batch = len(request.batch_sizes), request.state[0].shape[-2]
    polled = kernel.polled
    above = above.contiguous()
    given = any(grad is not None for grad in grad_final)
    grad = _stacked_states(grad_final, request.state)
    recurrent = len(request.cell.recurrent)
    grad_r = _marked((*models, rows, recurrent * size), dtype, device, polled)
    inputs = len(request.cell.gates) * size
    grad_a = grad_r
    if not trace.one_gradient:
        grad_a = torch.empty(*models, rows, inputs, dtype=dtype, device=device)
    own = stacked(request)
    grad_own = None if own is None else own.new_empty(*models, -(-batch // 8), *own.shape[-2:])
    mask = None if request.state_mask is None else request.state_mask.contiguous()
    hidden, of_hidden = _of_models(weights.hidden)
    reduced = _reduced(models, kernel, steps, batch, device)
    starts, lengths = packed(request.batch_sizes, batch, device)
    words = [
        *(_at(hidden), _at(above), _at(kept.values), _at(own), _at(mask), _at(grad_a), _at(grad_r)),
        *(_at(grad), _at(grad_own), _at(starts), _at(lengths), _at(_error(device)), *map(_at, carried)),
        _at(reduced),
        *(steps, batch, int(request.reverse), rows, int(given), of_hidden),
    ]
    kernel.launch(words, batch, *models)
    if polled or reduced is not None:
        _check_nobody_waited_in_vain(device)
    of_own = None if grad_own is None else grad_own.sum(-3)
    return Backward(grad_a, grad_r, None, of_own, list(grad.unbind(-3)))


def _at(tensor: Tensor | None) -> int:
    """The address of a tensor, which has to be contiguous; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def _in_a_row(states: Sequence[Tensor]) -> Tensor:
    """States one after the other in memory, those of each model or all: the first, where they are that."""
    first = states[0]
    size = first.numel() * first.element_size()
    if first.dim() == 2 and all(
        state.is_contiguous() and state.data_ptr() == first.data_ptr() + place * size
        for place, state in enumerate(states)
    ):
        return first
    return torch.stack(list(states), -3)


def _stacked_states(grads: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Gradients of the final state, [K, B, H] or of each model; anything where there are none."""
    if all(grad is None for grad in grads):
        *models, batch, size = like[0].shape
        return like[0].new_empty(*models, len(like), batch, size)
    pairs = zip(grads, like, strict=True)
    return torch.stack([torch.zeros_like(state) if grad is None else grad for grad, state in pairs], -3)


def _of_models(weights: Tensor, dimensions: int = 2) -> tuple[Tensor, int]:
    """Contiguous weights, and how many numbers lie between those of two models: 0 where all share them."""
    if weights.dim() == dimensions or not weights.stride(0):
        return (weights if weights.dim() == dimensions else weights[0]).contiguous(), 0
    return weights.contiguous(), weights[0].numel()


def _kept(models: Sequence[int], shape: Shape, steps: int, batch: int, device: torch.device) -> Tensor:
    words = steps * -(-shape.hidden // 8) * -(-batch // 8) * shape.record_words
    return torch.empty(*models, max(1, words), dtype=torch.int32, device=device)


def _marked(shape: Sequence[int], dtype: torch.dtype, device: torch.device, polled: bool) -> Tensor:
    """Memory for what blocks hand on: where they poll it, filled with the mark of ``sequence.cu``."""
    tensor = torch.empty(*shape, dtype=dtype, device=device)
    if polled:
        tensor.view(torch.int32).fill_(-1)
    return tensor


def _reduced(
    models: Sequence[int], kernel: SequenceKernel, steps: int, batch: int, device: torch.device
) -> Tensor | None:
    """Memory for what blocks that poll hand on of reductions along the features; None where they do not."""
    variant, words = kernel.variant, kernel.shape.exchanged_words
    if not words or variant.exchange != GRID or variant.blocks == 1:
        return None
    tiles = -(-batch // (8 * variant.tiles))
    shape = (*models, tiles, steps, words, variant.blocks, 8 * variant.tiles)
    return _marked(shape, torch.float32, device, True)


def packed(
    batch_sizes: tuple[int, ...], batch: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """First row of every step and one beyond, and each sequence's length; None where all have all steps."""
    if batch_sizes[-1] == batch:
        return None, None
    if capturing(device):
        return _sent_numbers(batch_sizes, batch, device)  # those that are kept for other calls may be freed
    # Of one stream: on another one they might not be there yet.
    return _kept_numbers(batch_sizes, batch, device, stream_of(device))


@functools.lru_cache(maxsize=64)
def _kept_numbers(
    batch_sizes: tuple[int, ...],
    batch: int,
    device: torch.device,
    stream: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    return _sent_numbers(batch_sizes, batch, device)


def _sent_numbers(batch_sizes: tuple[int, ...], batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A ragged batch's numbers on the device."""
    starts = torch.tensor(list(accumulate(batch_sizes, initial=0)), dtype=torch.int32)
    sizes = torch.tensor(batch_sizes)
    lengths = (sizes[:, None] > torch.arange(batch)).sum(0, dtype=torch.int32)
    return sent(starts, device), sent(lengths, device)


@functools.cache
def _error(device: torch.device) -> Tensor:
    """The word that a kernel sets when it has waited too long for another block."""
    return torch.zeros(1, dtype=torch.int32, device=device)


@functools.cache
def _seen(device: torch.device) -> Tensor:
    """A copy of that word in the CPU's memory, where looking at it waits for nothing."""
    return torch.zeros(1, dtype=torch.int32, pin_memory=device.type == "cuda")


def make_error_words(device: torch.device) -> None:
    """Make the words by which kernels say that they gave up, in memory that belongs to no CUDA graph."""
    _error(device)
    _seen(device)


def _check_nobody_waited_in_vain(device: torch.device) -> None:
    """Raise RuntimeError where a kernel before has given up waiting; look again when this one is done."""
    if capturing(device):
        return  # the next call outside of the graph looks
    if _seen(device).item():
        _seen(device).zero_()
        _error(device).zero_()
        raise RuntimeError(
            f"a kernel on {device} waited in vain for another of its blocks, and its results are wrong: "
            f"another program may hold the GPU; train with engine=torch or engine=function"
        )
    _seen(device).copy_(_error(device), non_blocking=True)
