"""The layout that every engine works on: a ragged batch as one tensor without padding.

Rows are sorted by time first and, within a step, by falling length, so that the sequences still running at
step t are the first ``batch_sizes[t]`` rows of the state. N = sum of lengths; T steps, B sequences, F
features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise.engine.sent import sent


@dataclass(frozen=True)
class Packing:
    """Which packed row [N] holds each step of each sequence of a [T, B] batch."""

    batch_sizes: tuple[int, ...]
    """Sequences still running at each step; never rises, and is as long as the longest sequence."""
    time: int
    """T of the padded batch, which may exceed the longest sequence."""
    batch: int
    """B."""
    order: Tensor | None
    """[B] index in the batch of each sorted sequence, or None where the batch is sorted already."""
    positions: Tensor | None
    """[N] position t·B + b of each packed row in the flattened batch; None without padding."""

    @classmethod
    def full(cls, time: int, batch: int) -> Packing:
        """The packing of a batch whose sequences all fill its T steps."""
        return cls((batch,) * time, time, batch, None, None)

    @classmethod
    def of(cls, lengths: Tensor, time: int, batch: int, device: torch.device | None = None) -> Packing:
        """The packing of sequences with these lengths, [B] of 0 … T, for data on ``device`` (or theirs).

        Raises ValueError where a length lies outside 0 … T, their number is not B, or they are not whole.
        """
        if lengths.dim() != 1 or lengths.shape[0] != batch:
            raise ValueError(
                f"lengths must hold one number per sequence, {batch}; got {tuple(lengths.shape)}"
            )
        if lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise ValueError(f"lengths must be whole numbers, got {lengths.dtype}")
        # By numpy, whose calls on a few numbers take a fraction of torch's; in torch.func lengths have
        # no memory that it could read.
        of_each = np.array(lengths.detach().cpu().tolist(), dtype=np.int64)
        shortest, longest = (int(of_each.min()), int(of_each.max())) if batch else (time, time)
        if shortest < 0 or longest > time:
            wrong = shortest if shortest < 0 else longest
            raise ValueError(f"lengths must lie in 0 … {time} (the batch's time steps), got {wrong}")
        if shortest == time:
            return cls.full(time, batch)
        device = lengths.device if device is None else device
        order = np.argsort(-of_each, kind="stable")
        steps = np.arange(longest)
        sizes = batch - np.searchsorted(of_each[order[::-1]], steps, side="right")
        first_rows = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) - first_rows.repeat(sizes)  # of each row among those of its step
        positions = (steps * batch).repeat(sizes) + order[places]
        is_sorted = bool((order == np.arange(batch)).all())
        return cls(
            batch_sizes=tuple(sizes.tolist()),
            time=time,
            batch=batch,
            order=None if is_sorted else sent(torch.from_numpy(order), device),
            positions=sent(torch.from_numpy(positions), device),
        )

    @classmethod
    def of_packed_sequence(cls, packed: PackedSequence) -> Packing:
        """The packing of a PackedSequence.

        Raises ValueError where its ``batch_sizes`` rise, or do not add up to its rows.
        """
        sizes = tuple(packed.batch_sizes.tolist())
        falling = all(before >= after for before, after in pairwise(sizes))
        if not sizes or sizes[-1] < 1 or not falling or sum(sizes) != len(packed.data):
            raise ValueError(
                f"batch_sizes of a PackedSequence must fall from step to step and add up to its "
                f"{len(packed.data)} rows, got {list(sizes)}; make it with pack_padded_sequence"
            )
        return cls(sizes, len(sizes), sizes[0], packed.sorted_indices, torch.arange(sum(sizes)))

    @property
    def rows(self) -> Tensor:
        """[N] sorted sequence of each packed row."""
        return torch.cat([torch.arange(size) for size in self.batch_sizes or (0,)])

    @property
    def lengths(self) -> Tensor:
        """[B] number of steps of each sequence of the batch, on the CPU."""
        return torch.bincount(self.places[0].cpu(), minlength=self.batch)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """[N] sequence of the batch, and [N] step, of each packed row."""
        sizes = self.batch_sizes or (0,)
        steps = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        if self.order is None:
            return self.rows, steps
        return self.order[self.rows.to(self.order.device)], steps.to(self.order.device)

    def spread(self, packed: Tensor) -> Tensor:
        """[N, …] to [B, T, …], with NaN as padding; whole numbers and truths become floating-point."""
        if not packed.is_floating_point():
            packed = packed.to(torch.get_default_dtype())
        padded = packed.new_full((self.batch, self.time, *packed.shape[1:]), torch.nan)
        sequences, steps = self.places
        padded[sequences.to(packed.device), steps.to(packed.device)] = packed
        return padded

    def pack(self, padded: Tensor) -> Tensor:
        """[T, B, F] to [N, F]."""
        if self.positions is None:
            return padded.reshape(self.time * self.batch, *padded.shape[2:])
        return padded.flatten(0, 1).index_select(0, self.positions)

    def unpack(self, packed: Tensor) -> Tensor:
        """[N, F] to [T, B, F], with zeros as padding."""
        if self.positions is None:
            return packed.reshape(self.time, self.batch, *packed.shape[1:])
        flat = packed.new_zeros(self.time * self.batch, *packed.shape[1:])
        padded: Tensor = flat.index_copy(0, self.positions, packed).unflatten(0, (self.time, self.batch))
        return padded

    def sort(self, tensor: Tensor, dim: int) -> Tensor:
        """From the order of the batch to falling length, along ``dim``."""
        return tensor if self.order is None else tensor.index_select(dim, self.order)

    def unsort(self, tensor: Tensor, dim: int) -> Tensor:
        """Inverse of :meth:`sort`."""
        return tensor if self._places is None else tensor.index_select(dim, self._places)

    @cached_property
    def _places(self) -> Tensor | None:
        """[B] place among the sorted sequences of each one of the batch."""
        return None if self.order is None else self.order.argsort()


def step_slices(batch_sizes: tuple[int, ...], reverse: bool) -> list[tuple[slice, int]]:
    """(packed rows, sequences running) of every step, in the order in which the direction visits them.

    A batch without steps gets one step of no rows, so that its empty results have dtypes and gradients.
    """
    steps, start = [], 0
    for size in batch_sizes or (0,):
        steps.append((slice(start, start + size), size))
        start += size
    return steps[::-1] if reverse else steps
