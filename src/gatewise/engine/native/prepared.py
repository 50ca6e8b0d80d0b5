"""Forward passes without gradients, prepared once for a form of input and then called again and again.

Generation, streaming and interactive prediction pass one step of one sequence at a time. What Python does for
a call then takes longer than the step itself, so all that stays the same is worked out beforehand.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.engine.examine import loop_only
from gatewise.engine.native.call import Call
from gatewise.engine.native.kernel import Agrees, Kernel, kernel_for
from gatewise.engine.native.threads import openmp
from gatewise.engine.request import Request, Unsupported, Weights

MOST_ROWS = 4096
"""Longer sequences take so long that nothing is saved, and their memory is not worth keeping."""


class Prepared:
    """A stack of layers of one direction, over B sequences of T steps each.

    The weights are read anew in every call, from where they are then.
    """

    def __init__(self, kernel: Kernel, layers: Sequence[Request]) -> None:
        first = layers[0]
        steps, batch, states = len(first.batch_sizes), len(first.state[0]), len(first.cell.states)
        sizes = first.cell.state_sizes(first.hidden_size)
        self._dtype, self._team, self._forward = first.x.dtype, _team(), kernel.forward
        self._outputs = torch.empty(steps, batch, sizes[0], dtype=self._dtype)
        self._zeros = [torch.zeros(len(layers), batch, size, dtype=self._dtype) for size in sizes]
        self._shapes = [[None if t is None else t.shape for t in _plain_weights(r.weights)] for r in layers]
        self._bytes = [zeros[0].numel() * zeros.element_size() for zeros in self._zeros]
        # What lies between layers; and of states but the first, which are not kept, the last two steps.
        self._between = [torch.empty_like(self._outputs) for _ in layers[1:]]
        self._last_two = [torch.empty(2, batch, size, dtype=self._dtype) for size in sizes[1:]]
        self._calls = [Call(kernel, layer) for layer in layers]
        settings = [call.settings(keeps_states=False) for call in self._calls]
        # Words in the order of `Sequence` in sequence.c: x, what else a request holds, the states before,
        # after every step and in the end; of the others, which stay null, there are ten.
        self._x = len(settings[0])
        self._before = self._x + 8
        self._after = self._before + 2 * states
        self._words = [(ctypes.c_int64 * (self._after + states + 10))(*words) for words in settings]
        for words in self._words:
            for k, tensor in enumerate(self._last_two, self._before + states + 1):
                words[k] = tensor.data_ptr()
        # One call at a time: they share this memory.
        self._free = threading.Lock()

    def is_current(self) -> bool:
        """Whether the threads are those that it was prepared for."""
        return self._team == _team()

    def run(
        self, layers: Sequence[Weights], x: Tensor, state: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Outputs [T, B, P] and final state [L, B, P or H], from x [T, B, F] and the state before, or zeros.

        None where these are not in memory as it was prepared for, or another thread is at it.
        """
        if state is None:
            state = self._zeros
        elif len(state) != len(self._zeros):
            return None
        else:
            for given, zeros in zip(state, self._zeros, strict=True):
                if type(given) is not Tensor or given.shape != zeros.shape or not self._usable(given):
                    return None
        if not self._usable(x) or not self._free.acquire(blocking=False):
            return None
        try:
            return self._run(layers, x, state)
        finally:
            self._free.release()

    def _usable(self, tensor: Tensor) -> bool:
        """Whether a tensor's memory can be passed on as it is."""
        return tensor.dtype is self._dtype and tensor.is_cpu and tensor.is_contiguous()

    def _run(
        self, layers: Sequence[Weights], x: Tensor, state: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]] | None:
        outputs = torch.empty_like(self._outputs)
        final = [torch.empty_like(zeros) for zeros in self._zeros]
        before, after = [tensor.data_ptr() for tensor in state], [tensor.data_ptr() for tensor in final]
        count, read, last = len(before), x.data_ptr(), len(layers) - 1
        for index, weights in enumerate(layers):
            words, place = self._words[index], self._x
            words[place] = read
            for tensor, shape in zip(_plain_weights(weights), self._shapes[index], strict=True):
                place += 1
                if tensor is None or shape is None:
                    if (tensor is None) is not (shape is None):
                        return None
                else:
                    if tensor.shape != shape or not self._usable(tensor):
                        return None
                    words[place] = tensor.data_ptr()
            if weights.own:
                own, *others = weights.own.values()
                if others:
                    own = torch.stack([own, *others])
                if not self._usable(own):
                    return None
                words[self._before - 1] = own.data_ptr()
            written = outputs if index == last else self._between[index]
            words[self._before + count] = read = written.data_ptr()
            for k in range(count):
                offset = index * self._bytes[k]
                words[self._before + k] = before[k] + offset
                words[self._after + k] = after[k] + offset
            self._calls[index].check(self._forward(words))
        return outputs, final


def _plain_weights(weights: Weights) -> tuple[Tensor | None, ...]:
    """All but the cell's own, in the order of ``Sequence`` in sequence.c."""
    return weights.input, weights.hidden, weights.projection, weights.bias


def _team() -> tuple[int, tuple[int, int]]:
    """What gives a call its threads: another in a forked process, and where their number was changed."""
    return torch.get_num_threads(), openmp()


def kernel_of(layers: Sequence[Request], agrees: Agrees) -> Kernel | None:
    """The kernel of a stack's layers, if they are worth preparing; ``agrees`` as in :func:`kernel_for`."""
    first = layers[0]
    if len(first.x) > MOST_ROWS or loop_only(first.cell, first.hidden_size) is not None:
        return None
    try:
        kernels = [kernel_for(layer, layer.tensors(), agrees) for layer in layers]
    except Unsupported:
        return None
    return kernels[0]
