"""Batches of sequences of about the same length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from gatewise.data.module import SharedBatches

BATCHES = 20
"""Training batches of a bucket at least: enough for batches that differ from epoch to epoch."""
WIDTH = 1.25
"""A bucket's longest sequence is at least so many times as long as its shortest."""


class LengthBuckets(SharedBatches):
    """Batches of examples of similar lengths; :class:`SharedBatches` says how they are shared.

    A batch has at most ``batch_size`` examples and, its padding included, at most ``batch_tokens`` tokens,
    over all processes; only where a single sequence is longer it is by itself. Shuffled, the examples are in
    buckets by length; each epoch draws the order within a bucket and that of all batches. What is left of a
    bucket goes into the next, so that every epoch has the same number of batches, of which at most one is
    small. Unshuffled, the examples come from short to long. Raises ValueError where the processes cannot
    share the batches.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        batch_size: int,
        batch_tokens: int | None,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(batch_size, shuffle, seed, rank, world_size, epoch)
        if len(lengths) < (1 if shuffle else world_size):
            # A process without an example would skip the all-reduce, and the others would wait for it.
            raise ValueError(
                f"{len(lengths)} example(s) cannot be shared by {world_size} process(es): give more data, or "
                f"set trainer.devices={max(len(lengths), 1)}"
            )
        self.batch_tokens = batch_tokens
        self.order = np.argsort(lengths, kind="stable")
        """All examples from the shortest to the longest."""
        self._lengths = lengths[self.order]
        self._buckets = self._cut() if shuffle else []
        if shuffle:
            self._count = sum(size for _, size in self._sizes())
        else:
            self._ends = self._ends_in_order()
            last = self._ends[-1] - ([0, *self._ends][-2])
            # The last batch may be too small for this process to get a share.
            self._count = len(self._ends) - (last <= rank)

    def __len__(self) -> int:
        return self._count

    def _room(self, longest: int) -> int:
        """How many sequences of at most this length are a batch."""
        if self.batch_tokens is None:
            return self.batch_size
        return min(self.batch_size, max(self.batch_tokens // max(longest, 1), self.world_size))

    def _cut(self) -> list[int]:
        """Where each bucket ends in the sorted examples."""
        ends, start, total = [], 0, len(self._lengths)
        while start < total:
            end = int(np.searchsorted(self._lengths, self._lengths[start] * WIDTH, "right"))
            room = self._room(int(self._lengths[end - 1]))
            start = max(end, min(start + BATCHES * room, total))
            ends.append(start)
        return ends

    def _sizes(self) -> Iterator[tuple[int, int]]:
        """(Examples of a batch, number of whole batches) of each bucket; the last has what is left too."""
        left = start = 0
        for end in self._buckets:
            size = self._room(int(self._lengths[end - 1]))
            whole, rest = divmod(end - start + left, size)
            is_last = end == len(self._lengths)
            yield size, whole + (is_last and rest > 0)
            left, start = rest, end

    def batches(self) -> list[NDArray[np.int64]]:
        if not self.shuffle:
            return np.split(self.order, self._ends[:-1])
        generator = np.random.default_rng([self.seed, self.epoch()])
        batches: list[NDArray[np.int64]] = []
        left = self.order[:0]
        start = 0
        for end, (size, count) in zip(self._buckets, self._sizes(), strict=True):
            # What is left of the shorter ones goes first, or it would wait for the longest bucket.
            pool = np.concatenate([left, generator.permutation(self.order[start:end])])
            batches += [pool[first : first + size] for first in range(0, count * size, size)]
            left, start = pool[count * size :], end
        return [batches[index] for index in generator.permutation(len(batches))]

    def _ends_in_order(self) -> list[int]:
        """Where each batch ends in the sorted examples, from short to long."""
        ends, start, total = [], 0, len(self._lengths)
        while start < total:
            end = min(start + self.batch_size, total)
            while end - start > self._room(int(self._lengths[end - 1])):
                end = start + self._room(int(self._lengths[end - 1]))
            ends.append(end)
            start = end
        return ends
