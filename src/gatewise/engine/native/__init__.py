"""The native engine: a cell's step and its derivative as C, compiled once, called once per sequence."""

from __future__ import annotations

import ctypes
from itertools import accumulate
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.cells import Cell
from gatewise.engine.native import library
from gatewise.engine.native.emit import C_TYPES, source
from gatewise.engine.native.trace import Trace, Unsupported, trace
from gatewise.engine.second import differentiable_backward, sequence_inputs
from gatewise.engine.weights import Result, Weights

__all__ = ["Unsupported", "run"]

# Below this many multiplications for each thread, starting one takes longer than it saves.
WORK_OF_A_THREAD = 2_000_000


class Kernel(NamedTuple):
    """A cell compiled for one hidden size and dtype."""

    trace: Trace
    forward: Any
    backward: Any


_kernels: WeakKeyDictionary[Cell, dict[tuple[int, torch.dtype], Kernel | Unsupported]] = WeakKeyDictionary()
_libraries: dict[str, ctypes.CDLL] = {}


def _kernel(cell: Cell, weights: Weights, x: Tensor, tensors: tuple[Tensor | None, ...]) -> Kernel:
    """The compiled cell for these tensors; Unsupported, saying why, where another engine has to run."""
    everything = [x, *(t for t in weights[:3] if t is not None), *weights.own.values()]
    everything += [t for t in tensors if t is not None]
    for tensor in everything:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise Unsupported(f"tensors on {tensor.device.type}")
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            raise Unsupported(f"tensors of the class {type(tensor).__name__}")  # which may have no data
        if tensor.dtype != x.dtype or tensor.dtype not in C_TYPES:
            raise Unsupported(f"tensors of {tensor.dtype}")
    if torch.is_autocast_enabled("cpu"):
        raise Unsupported("autocast")
    known = _kernels.setdefault(cell, {})
    key = (weights.hidden.shape[1], x.dtype)
    if key not in known:
        try:
            known[key] = _compiled(cell, *key)
        except Unsupported as reason:
            known[key] = reason
    found = known[key]
    if isinstance(found, Unsupported):
        raise found
    return found


def _compiled(cell: Cell, hidden_size: int, dtype: torch.dtype) -> Kernel:
    library.product(dtype)
    recorded = trace(cell, hidden_size)
    text = source(cell, recorded, hidden_size, dtype)
    if text not in _libraries:
        _libraries[text] = library.load(text)
    return Kernel(recorded, _libraries[text].gw_forward, _libraries[text].gw_backward)


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
    if cell.recurrent != cell.gates:
        raise Unsupported("gates without a recurrent product")
    if weights.projection is not None:
        raise Unsupported("a hidden projection")
    if noise is not None:
        raise Unsupported("noise")
    compiled = _kernel(cell, weights, x, (*state, state_mask))
    inputs = sequence_inputs(weights, x, state, state_mask)
    outputs, *final = _Sequence.apply(cell, batch_sizes, reverse, tuple(weights.own), compiled, *inputs)
    return Result(outputs, tuple(final), {})


class _Sequence(torch.autograd.Function):
    """:func:`sequence_inputs` to (outputs, final state…)."""

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        batch_sizes: tuple[int, ...],
        reverse: bool,
        own_names: tuple[str, ...],
        compiled: Kernel,
        x: Tensor,
        weight_input: Tensor,
        weight_hidden: Tensor,
        bias: Tensor | None,
        state_mask: Tensor | None,
        *own_and_state: Tensor,
    ) -> tuple[Tensor, ...]:
        a = F.linear(x, weight_input, bias).contiguous()
        hidden_size = weight_hidden.shape[1]
        own = own_and_state[: len(own_names)]
        initial = [s.contiguous() for s in own_and_state[len(own_names) :]]
        final = [torch.empty_like(s) for s in initial]
        kept: list[tuple[int, ...]] = [(2, len(s)) for s in initial]
        saved = None
        if any(ctx.needs_input_grad):
            kept = [(len(x),)] * len(initial)
            saved = x.new_empty(len(x), max(1, len(compiled.trace.saved)), hidden_size)
        states = [x.new_empty(*rows, hidden_size) for rows in [(len(x),), *kept[1:]]]
        ctx.call = _Call(batch_sizes, len(initial[0]), reverse, weight_hidden, state_mask, own)
        ctx.call(compiled.forward, a, initial, states, final, saved)
        ctx.cell, ctx.batch_sizes, ctx.reverse, ctx.own_names = cell, batch_sizes, reverse, own_names
        ctx.compiled = compiled
        if saved is not None:
            ctx.save_for_backward(
                x, weight_input, weight_hidden, bias, state_mask, *own_and_state, saved, *states
            )
        return (states[0], *final)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight_input, weight_hidden, bias, state_mask, *rest = ctx.saved_tensors
        n_own, n_states = len(ctx.own_names), len(ctx.cell.states)
        own_and_state, (saved, *states) = rest[: n_own + n_states], rest[n_own + n_states :]
        wanted = ctx.needs_input_grad[5:]
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these gradients (create_graph): the loop has them.
            inputs = (x, weight_input, weight_hidden, bias, state_mask, *own_and_state)
            return (None,) * 5 + tuple(differentiable_backward(ctx, inputs, grads, wanted))
        recorded: Trace = ctx.compiled.trace
        initial = [s.contiguous() for s in own_and_state[n_own:]]
        above, *grad_state = (grad.contiguous() for grad in grads)
        grad_state = [grad.clone() for grad in grad_state]
        grad_a = x.new_empty(len(x), len(weight_hidden))
        grad_r = grad_a if recorded.one_gradient else torch.empty_like(grad_a)
        call = ctx.call
        grad_own = x.new_zeros(call.threads, n_own, weight_hidden.shape[1])
        call(ctx.compiled.backward, None, initial, states, grad_state, saved, above, grad_a, grad_r, grad_own)
        x_wanted, input_wanted, hidden_wanted, bias_wanted = wanted[:4]
        through_a = recorded.reaches("a")
        grad_hidden = None
        if hidden_wanted and recorded.reaches("r"):
            before = hidden_before(states[0], initial[0], ctx.batch_sizes, ctx.reverse, state_mask)
            grad_hidden = F.linear(grad_r.t(), before.t())
        own_sums = grad_own.sum(0).unbind(0)
        return (
            *(None,) * 5,
            F.linear(grad_a, weight_input.t()) if x_wanted and through_a else None,
            F.linear(grad_a.t(), x.t()) if input_wanted and through_a else None,
            grad_hidden,
            grad_a.sum(0) if bias_wanted and through_a else None,
            None,
            *(total if used else None for total, used in zip(own_sums, recorded.grad["p"], strict=True)),
            *grad_state,
        )


class _Call:
    """What forward and backward of one sequence have in common, and the call of either."""

    def __init__(
        self,
        batch_sizes: tuple[int, ...],
        batch: int,
        reverse: bool,
        weight_hidden: Tensor,
        mask: Tensor | None,
        own: tuple[Tensor, ...],
    ) -> None:
        steps = len(batch_sizes)
        *starts, total = accumulate(batch_sizes, initial=0)
        self.sizes = (ctypes.c_int64 * max(steps, 1))(*batch_sizes)
        self.starts = (ctypes.c_int64 * max(steps, 1))(*starts)
        self.set_threads = library.set_threads()
        # Without a way to keep each product to one thread, one call of many-threaded products it is.
        most = torch.get_num_threads() if self.set_threads is not None else 1
        self.threads = max(1, min(most, batch, total * weight_hidden.numel() // WORK_OF_A_THREAD))
        self.dims = (steps, batch, int(reverse), self.threads)
        # Held here: an address alone keeps no tensor alive.
        self.weight = weight_hidden.detach().contiguous()
        self.mask = None if mask is None else mask.contiguous()
        self.own = torch.stack([value.detach() for value in own]) if own else None

    def __call__(
        self,
        function: Any,
        a: Tensor | None,
        initial: list[Tensor],
        states: list[Tensor],
        final: list[Tensor],
        saved: Tensor | None,
        above: Tensor | None = None,
        grad_a: Tensor | None = None,
        grad_r: Tensor | None = None,
        grad_own: Tensor | None = None,
    ) -> None:
        words = [
            *self.dims,
            ctypes.addressof(self.sizes),
            ctypes.addressof(self.starts),
            library.product(self.weight.dtype),
            self.set_threads or 0,
        ]
        tensors = [self.weight, self.mask, self.own, a, *initial, *states, *final, saved]
        tensors += [above, grad_a, grad_r, grad_own]
        words += [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        function(ctypes.byref((ctypes.c_int64 * len(words))(*words)))


def hidden_before(
    outputs: Tensor, initial: Tensor, batch_sizes: tuple[int, ...], reverse: bool, mask: Tensor | None
) -> Tensor:
    """[N, H]: the hidden state before each step, as the recurrent product saw it."""
    sizes = torch.tensor(batch_sizes or (0,))
    starts = sizes.cumsum(0) - sizes
    steps = torch.arange(len(sizes)).repeat_interleave(sizes)
    rows = torch.arange(len(outputs)) - starts[steps]
    earlier = steps + 1 if reverse else steps - 1
    there = (earlier >= 0) & (earlier < len(sizes))
    earlier = earlier.clamp(0, len(sizes) - 1)
    there &= rows < sizes[earlier]
    if not len(outputs):
        return outputs
    before = outputs.index_select(0, torch.where(there, starts[earlier] + rows, 0))
    begins = (~there).nonzero().squeeze(1)
    before[begins] = initial[rows[begins]]
    return before if mask is None else before * mask[rows]
