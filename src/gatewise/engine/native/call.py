"""One call of a compiled cell: what ``Sequence`` in ``sequence.c`` holds, word for word."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from gatewise.engine.native.kernel import Kernel
from gatewise.engine.native.threads import openmp
from gatewise.engine.weights import Weights

# Below this many multiplications for each thread, starting one takes longer than it saves.
WORK_OF_A_THREAD = 2_000_000
# Bytes of recurrent weights that stay in a core's cache. Of larger ones each thread takes some columns in
# every step, and not some of the sequences.
CACHE_OF_A_CORE = 3 << 19


class Call:
    """What the forward and the backward pass of one sequence have in common, and the call of either.

    Holds every tensor whose address it hands over: an address alone keeps none alive.
    """

    def __init__(
        self,
        kernel: Kernel,
        batch_sizes: tuple[int, ...],
        batch: int,
        reverse: bool,
        weights: Weights,
        mask: Tensor | None,
        noise: Tensor | None,
    ) -> None:
        self.kernel = kernel
        steps = len(batch_sizes)
        *starts, total = accumulate(batch_sizes, initial=0)
        self.sizes = (ctypes.c_int64 * max(steps, 1))(*batch_sizes)
        self.starts = (ctypes.c_int64 * max(steps, 1))(*starts)
        work = total * (weights.input.numel() + weights.hidden.numel())
        self.threads = max(1, min(torch.get_num_threads(), batch, work // WORK_OF_A_THREAD))
        size = weights.hidden.numel() * weights.hidden.element_size()
        self.together = self.threads > 1 and size > CACHE_OF_A_CORE and openmp() != (0, 0)
        self.dims = (steps, batch, int(reverse), self.threads, weights.input.shape[1], int(self.together))
        own = torch.stack([value.detach() for value in weights.own.values()]) if weights.own else None
        matrices = (weights.input, weights.hidden, weights.projection, weights.bias, mask, noise)
        self.inputs = [None if tensor is None else tensor.detach().contiguous() for tensor in matrices] + [
            own
        ]

    def forward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        states: Sequence[Tensor],
        final: Sequence[Tensor],
        made: Tensor | None,
        saved: Tensor | None,
        shown: Tensor | None,
        keeps_states: bool,
    ) -> None:
        """Fill ``states``, ``final``, and of the others what is there. Raises MemoryError."""
        kept = (*initial, *states, *final, made, saved, shown)
        self._call(self.kernel.forward, keeps_states, x, kept, (None,) * 7)

    def backward(
        self,
        x: Tensor,
        initial: Sequence[Tensor],
        states: Sequence[Tensor],
        grad_state: Sequence[Tensor],
        made: Tensor | None,
        saved: Tensor | None,
        above: Tensor,
        sums: Sequence[Tensor | None],
    ) -> None:
        """Turn ``grad_state`` from the final state's gradients into the initial one's, and fill ``sums``.

        Those are the gradients of x, U, W, the projection, b and the own parameters. Raises MemoryError.
        """
        kept = (*initial, *states, *grad_state, made, saved, None)
        self._call(self.kernel.backward, True, x, kept, (above, *sums))

    def _call(
        self,
        function: Any,
        keeps_states: bool,
        x: Tensor,
        kept: tuple[Tensor | None, ...],
        gradients: tuple[Tensor | None, ...],
    ) -> None:
        words = [*self.dims, int(keeps_states), ctypes.addressof(self.sizes), ctypes.addressof(self.starts)]
        words += [*openmp(), *self.kernel.products]
        words += [
            0 if tensor is None else tensor.data_ptr() for tensor in (x, *self.inputs, *kept, *gradients)
        ]
        if function(ctypes.byref((ctypes.c_int64 * len(words))(*words))):
            raise MemoryError(f"too little memory for a sequence of {self.dims[0]} steps")
