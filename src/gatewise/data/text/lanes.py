"""Running text as batches for truncated BPTT: parallel lanes, cut into windows."""

from __future__ import annotations

from torch import Tensor
from torch.utils.data import Dataset

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch


class Lanes(Dataset[TextBatch]):
    """Windows over the lanes of one process; row b of window i + 1 continues row b of window i.

    The N - 1 pairs (token, next token) of N ids are cut into ``lanes`` contiguous lanes of equal length; rank
    r of W processes gets lanes r·lanes/W to (r + 1)·lanes/W. The end is padded with IGNORED targets, so over
    all processes every pair is counted exactly once. The last window may be shorter. Raises ValueError for
    fewer than two ids, or for none where ``whole``.

    Args:
        ids: [N] int64 token ids.
        lanes: rows per batch, over all processes; a multiple of ``world_size``.
        window: steps per batch.
        warmup: tokens that each lane but the first reads beforehand, from the end of the lane before, with
            IGNORED targets; less than N - 1.
        whole: leave out what does not fill the last token of every lane and the last window.
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
    ) -> None:
        assert lanes % world_size == 0, (lanes, world_size)
        pairs = len(ids) - 1
        if pairs < 1:
            raise ValueError(f"{len(ids)} token(s) give no pair of a token and the next one: give more text")
        self.window = window
        own_lanes = slice(rank * lanes // world_size, (rank + 1) * lanes // world_size)
        if whole:
            rows = ids[: len(ids) // lanes * lanes].view(lanes, -1)[own_lanes]
            self.length = (rows.shape[1] - 1) // window * window
            if self.length < 1:
                raise ValueError(
                    f"{len(ids)} tokens do not fill one window of {window} steps in {lanes} lanes: give more "
                    f"text, or make data.window or data.batch_size smaller"
                )
            self.tokens, self.targets = rows[:, : self.length], rows[:, 1 : self.length + 1]
            return
        assert warmup < pairs, (warmup, pairs)
        step = -(-(pairs - warmup) // lanes)
        self.length = warmup + step

        def rows_of(values: Tensor, padding: int) -> Tensor:
            padded = values.new_full((warmup + lanes * step,), padding)
            padded[:pairs] = values
            return padded.unfold(0, self.length, step)[own_lanes].clone()

        self.tokens = rows_of(ids[:-1], 0)
        """[lanes / W, length]"""
        self.targets = rows_of(ids[1:], IGNORED)
        self.targets[1 if rank == 0 else 0 :, :warmup] = IGNORED

    def __len__(self) -> int:
        return -(-self.length // self.window)

    def __getitem__(self, index: int | slice) -> TextBatch:
        """The window with this number, or any other one by its steps."""
        if isinstance(index, slice):
            steps = index
        elif 0 <= index < len(self):
            steps = slice(index * self.window, (index + 1) * self.window)
        else:
            raise IndexError(index)
        return TextBatch(self.tokens[:, steps].contiguous(), self.targets[:, steps].contiguous())


class OneLane(Lanes):
    """The whole text in one lane, read from its start, so that every score is exact.

    Of several processes each reads all of it, and counts its own share of the pairs alone.
    """

    def __init__(self, ids: Tensor, window: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(ids, 1, window)
        start, stop = (self.length * end // world_size for end in (rank, rank + 1))
        self.targets[:, :start] = IGNORED
        self.targets[:, stop:] = IGNORED


def lanes_for(pairs: int, lanes: int, world_size: int) -> int:
    """Number of lanes for evaluation: at most one per pair, rounded up to a multiple of ``world_size``.

    Every process then has the same number of windows; the targets of the added lanes are all IGNORED.
    """
    return -(-min(lanes, pairs) // world_size) * world_size
