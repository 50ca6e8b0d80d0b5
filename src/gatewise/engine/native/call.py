"""One call of a compiled cell: passes what ``Sequence`` in ``sequence.c`` holds, one word per field."""

from __future__ import annotations

import copy
import ctypes
import functools
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.native.kernel import Kernel
from gatewise.engine.native.threads import openmp
from gatewise.engine.request import Request

# With fewer multiplications per thread, starting a thread takes longer than it saves.
WORK_OF_A_THREAD = 2_000_000
# Reading weights takes as long as multiplying them with so many rows: a step of fewer is that much work, too.
ROWS_OF_A_READ = 16
# Weights stay as they are, and are not packed, for so few sequences of so few steps.
PLAIN_ROWS = 4
PLAIN_STEPS = 24
# Rows of a chunk of steps, whose products of a kind are one. They are to stay in the cache, but weights that
# do not fit it are worth reading only for more rows; and products in bfloat16 take less time than the rest.
ROWS_OF_A_CHUNK, ROWS_WITH_LARGE_WEIGHTS, ROUNDED_ROWS = 128, 512, 256
LARGE_WEIGHTS = 2 << 20
# Bytes of recurrent weights for each thread: with fewer, waiting for each other in every step takes longer
# than the threads save.
WORTH_SHARING = 1 << 17
# Bytes of recurrent weights that stay in a core's cache. Where there are more, each thread takes some columns
# in every step, instead of some of the sequences.
CACHE_OF_A_CORE = 3 << 19


@functools.lru_cache(maxsize=64)
def _places(batch_sizes: tuple[int, ...]) -> tuple[Any, Any, int]:
    """The number of rows of each step and before it, as C has them, and of all."""
    *starts, total = accumulate(batch_sizes, initial=0)
    array = ctypes.c_int64 * max(len(batch_sizes), 1)
    return array(*batch_sizes), array(*starts), total


def _stacked(own: list[Tensor], dim: int) -> Tensor | None:
    """A cell's own parameters as one tensor; None where it has none."""
    if len(own) == 1:
        return own[0].unsqueeze(dim).contiguous()
    return torch.stack(own, dim) if own else None


class Call:
    """What the forward and the backward pass of one sequence have in common; calls either.

    It holds every tensor whose address it passes on, because an address alone does not keep a tensor alive.
    It is made where no gradients are recorded.
    """

    def __init__(self, kernel: Kernel, request: Request) -> None:
        self.kernel = kernel
        weights, batch = request.weights, request.state[0].shape[0]
        steps = len(request.batch_sizes)
        self.sizes, self.starts, total = _places(request.batch_sizes)
        work = max(total, ROWS_OF_A_READ * steps) * (weights.input.numel() + weights.hidden.numel())
        self.threads = max(1, min(torch.get_num_threads(), work // WORK_OF_A_THREAD))
        element = weights.hidden.element_size()
        size = weights.hidden.numel() * element
        self.outgrows = size > CACHE_OF_A_CORE
        few = batch < PLAIN_ROWS * self.threads and size > WORTH_SHARING * self.threads
        self.together = self.threads > 1 and (self.outgrows or few) and openmp() != (0, 0)
        if not self.together:
            self.threads = max(1, min(self.threads, batch))
        inputs = weights.input.shape[1]
        plain = batch <= PLAIN_ROWS and steps <= PLAIN_STEPS and not kernel.rounded
        options = (
            int(self.together),
            self._rows_wanted(kernel, size + weights.input.numel() * element),
            int(plain),
        )
        self.dims = (steps, batch, int(request.reverse), self.threads, inputs, *options)
        own = _stacked(list(weights.own.values()), 0)
        of_weights = (weights.input, weights.hidden, weights.projection, weights.bias)
        contiguous = [
            None if tensor is None else tensor.contiguous()
            for tensor in (*of_weights, request.state_mask, request.noise)
        ]
        self.inputs = [*contiguous, own]

    def by(self, kernel: Kernel) -> Call:
        """The same call of another kernel of the same cell."""
        other = copy.copy(self)
        other.kernel = kernel
        return other

    def _rows_wanted(self, kernel: Kernel, bytes_of_weights: int) -> int:
        if kernel.rounded:
            return ROUNDED_ROWS
        return ROWS_WITH_LARGE_WEIGHTS if bytes_of_weights > LARGE_WEIGHTS else ROWS_OF_A_CHUNK

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        states: Sequence[Tensor],
        final: Sequence[Tensor],
        unprojected: Tensor | None,
        saved: Tensor | None,
        gates: Tensor | None,
        keeps_states: bool,
    ) -> None:
        """Fill ``states``, ``final``, and the others where they are given. Raises MemoryError."""
        values = (*initial, *states, *final, unprojected, saved, gates)
        self._call(self.kernel.forward, (keeps_states, False), x, values, (None,) * 7)

    def backward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        states: Sequence[Tensor],
        grad_state: Sequence[Tensor],
        unprojected: Tensor | None,
        saved: Tensor | None,
        above: Tensor,
        sums: Sequence[Tensor | None],
        to_initial: bool,
        carried: Sequence[Tensor | None] = (),
    ) -> None:
        """Replace the final state's gradients in ``grad_state`` by the initial state's, and fill ``sums``.

        Without ``to_initial`` nobody wants the former, and what ``grad_state`` then holds means nothing.
        ``above`` is the gradient of the outputs; ``sums`` are the gradients of x, U, W, the projection, b and
        the own parameters. A kernel whose gates carry gradients takes those of every step's states and of the
        gates as ``carried``. Raises MemoryError.
        """
        values = (*initial, *states, *grad_state, unprojected, saved, None)
        self._call(self.kernel.backward, (True, to_initial), x, values, (above, *sums, *carried))

    def _call(
        self,
        function: Any,
        options: tuple[bool, bool],
        x: Tensor,
        values: tuple[Tensor | None, ...],
        gradients: tuple[Tensor | None, ...],
    ) -> None:
        words = self.settings(*options)
        words += [
            0 if tensor is None else tensor.data_ptr() for tensor in (x, *self.inputs, *values, *gradients)
        ]
        self.check(function((ctypes.c_int64 * len(words))(*words)))

    def check(self, failed: int) -> None:
        """Raise MemoryError for what a compiled function returns where there was too little."""
        if failed:
            raise MemoryError(f"too little memory for a sequence of {self.dims[0]} steps")

    def settings(self, keeps_states: bool, to_initial: bool = False) -> list[int]:
        """The words before the addresses of tensors."""
        places = ctypes.addressof(self.sizes), ctypes.addressof(self.starts)
        return [*self.dims, int(keeps_states), int(to_initial), *places, *openmp(), *self.kernel.products]


class Calls(Call):
    """Calls of K models that have the same sizes, as one; all their tensors are [K, …], each row contiguous.

    With as many models as threads or more, each thread runs one model at a time. The models run one after the
    other on all threads where there are fewer, or where the weights of one do not fit the cache of a core.
    """

    def __init__(self, kernel: Kernel, stacked: Request, count: int) -> None:
        """``stacked`` holds the tensors of all models."""
        several = kernel._replace(forward=kernel.forward_models, backward=kernel.backward_models)
        one = [None if tensor is None else tensor[0] for tensor in stacked.tensors()]
        super().__init__(several, stacked.settings.request(one))
        weights = stacked.weights
        own = _stacked(list(weights.own.values()), 1)
        of_weights = (weights.input, weights.hidden, weights.projection, weights.bias)
        self.inputs = [*of_weights, stacked.state_mask, stacked.noise, own]
        self.count, self.at_once = count, 1
        if 1 < torch.get_num_threads() <= count and not self.outgrows:
            steps, batch, reverse, _, inputs, _, most, plain = self.dims
            work = stacked.x.shape[1] * (weights.input.numel() + weights.hidden.numel())
            self.at_once = max(1, min(torch.get_num_threads(), work // WORK_OF_A_THREAD))
            self.threads, self.together = 1, False
            self.dims = (steps, batch, reverse, 1, inputs, 0, most, plain)

    def _call(
        self,
        function: Any,
        options: tuple[bool, bool],
        x: Tensor,
        values: tuple[Tensor | None, ...],
        gradients: tuple[Tensor | None, ...],
    ) -> None:
        settings = self.settings(*options)
        places = [
            (0, 0) if tensor is None else (tensor.data_ptr(), tensor.stride(0) * tensor.element_size())
            for tensor in (x, *self.inputs, *values, *gradients)
        ]
        words = [
            word
            for model in range(self.count)
            for word in (*settings, *(first + model * step for first, step in places))
        ]
        if function((ctypes.c_int64 * len(words))(*words), self.count, self.at_once):
            raise MemoryError(f"too little memory for {self.count} sequences of {self.dims[0]} steps")
