"""Running text as batches for truncated BPTT: parallel lanes, cut into windows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch


class Lanes(Dataset[TextBatch]):
    """Windows over the lanes of one process; row b of window i + 1 continues row b of window i.

    The N - 1 pairs (token, next token) of N ids are cut into ``lanes`` contiguous lanes of equal length; rank
    r of W processes gets lanes r·lanes/W to (r + 1)·lanes/W. The end is padded with IGNORED targets, so over
    all processes every pair is counted exactly once. The last window may be shorter. Windows are read when
    they are asked for, so that the ids may lie in a file. Raises ValueError for fewer than two ids, or for
    none where ``whole``.

    Args:
        ids: [N] token ids of any integer type.
        lanes: rows per batch, over all processes; a multiple of ``world_size``.
        window: steps per batch.
        warmup: tokens that each lane but the first reads beforehand, from the end of the lane before, with
            IGNORED targets; less than N - 1.
        whole: leave out what does not fill the last token of every lane and the last window.
        sizes: mean characters and words of a target, for the batches.
    """

    def __init__(
        self,
        ids: Tensor,
        lanes: int,
        window: int,
        rank: int = 0,
        world_size: int = 1,
        warmup: int = 0,
        whole: bool = False,
        sizes: tuple[float, float] | None = None,
    ) -> None:
        assert lanes % world_size == 0, (lanes, world_size)
        self.ids, self.window, self.sizes = ids, window, sizes
        self.pairs = len(ids) - 1
        if self.pairs < 1:
            raise ValueError(f"{len(ids)} token(s) give no pair of a token and the next one: give more text")
        self.rows = range(rank * lanes // world_size, (rank + 1) * lanes // world_size)
        """The lanes of this process."""
        if whole:
            self.step = len(ids) // lanes
            self.length = (self.step - 1) // window * window
            if self.length < 1:
                raise ValueError(
                    f"{len(ids)} tokens do not fill one window of {window} steps in {lanes} lanes: give more "
                    f"text, or make data.window or data.batch_size smaller"
                )
        else:
            assert warmup < self.pairs, (warmup, self.pairs)
            self.step = -(-(self.pairs - warmup) // lanes)
            self.length = warmup + self.step
        self.warmup = warmup

    def __len__(self) -> int:
        return -(-self.length // self.window)

    def __getitem__(self, index: int | slice) -> TextBatch:
        """The window with this number, or any other one by its steps."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(self.length)
        elif 0 <= index < len(self):
            start, stop = index * self.window, min((index + 1) * self.window, self.length)
        else:
            raise IndexError(index)
        tokens, targets = self._read(start, stop, 0, 0), self._read(start, stop, 1, IGNORED)
        unread = min(self.warmup, stop) - start
        if unread > 0:
            targets[1 if self.rows.start == 0 else 0 :, :unread] = IGNORED
        return TextBatch(tokens, targets, self.sizes)

    def _read(self, start: int, stop: int, ahead: int, padding: int) -> Tensor:
        """[lanes / W, stop - start] int64: the ids so far ahead of the steps of every lane."""
        first, last = self.rows.start * self.step + start, (self.rows.stop - 1) * self.step + stop
        size = (len(self.rows), stop - start)
        if last <= self.pairs:
            rows = self.ids[first + ahead :].as_strided(size, (self.step, 1))
            return rows.to(torch.int64, copy=True, memory_format=torch.contiguous_format)
        places = first + torch.arange(size[0])[:, None] * self.step + torch.arange(size[1])
        ids = self.ids[places.clamp(max=self.pairs - 1) + ahead].to(torch.int64)
        return ids.masked_fill_(places >= self.pairs, padding)


class OneLane(Lanes):
    """The whole text in one lane, read from its start, so that every score is exact.

    Of several processes each reads all of it, and counts its own share of the pairs alone.
    """

    def __init__(
        self,
        ids: Tensor,
        window: int,
        rank: int = 0,
        world_size: int = 1,
        sizes: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(ids, 1, window, sizes=sizes)
        self.counted = [self.length * end // world_size for end in (rank, rank + 1)]
        """The first step that is counted, and the first one after that is not."""

    def __getitem__(self, index: int | slice) -> TextBatch:
        batch = super().__getitem__(index)
        start = index.start or 0 if isinstance(index, slice) else index * self.window
        first, last = (max(place - start, 0) for place in self.counted)
        batch.targets[:, :first] = IGNORED
        batch.targets[:, last:] = IGNORED
        return batch


def lanes_for(pairs: int, lanes: int, world_size: int) -> int:
    """Number of lanes for evaluation: at most one per pair, rounded up to a multiple of ``world_size``.

    Every process then has the same number of windows; the targets of the added lanes are all IGNORED.
    """
    return -(-min(lanes, pairs) // world_size) * world_size
