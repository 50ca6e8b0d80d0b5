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
    fewer than two ids.

    Args:
        ids: [N] int64 token ids.
        lanes: rows per batch, over all processes; a multiple of ``world_size``.
        window: steps per batch.
    """

    def __init__(self, ids: Tensor, lanes: int, window: int, rank: int = 0, world_size: int = 1) -> None:
        assert lanes % world_size == 0, (lanes, world_size)
        pairs = len(ids) - 1
        if pairs < 1:
            raise ValueError(f"{len(ids)} token(s) give no pair of a token and the next one: give more text")
        self.length = -(-pairs // lanes)
        self.window = window
        own_lanes = slice(rank * lanes // world_size, (rank + 1) * lanes // world_size)

        def rows(values: Tensor, padding: int) -> Tensor:
            padded = values.new_full((lanes * self.length,), padding)
            padded[:pairs] = values
            return padded.view(lanes, self.length)[own_lanes]

        self.tokens = rows(ids[:-1], 0)
        """[lanes / W, length]"""
        self.targets = rows(ids[1:], IGNORED)

    def __len__(self) -> int:
        return -(-self.length // self.window)

    def __getitem__(self, index: int) -> TextBatch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        steps = slice(index * self.window, (index + 1) * self.window)
        return TextBatch(self.tokens[:, steps].contiguous(), self.targets[:, steps].contiguous())


def lanes_for(pairs: int, lanes: int, world_size: int) -> int:
    """Number of lanes for evaluation: at most one per pair, rounded up to a multiple of ``world_size``.

    Every process then has the same number of windows; the targets of the added lanes are all IGNORED.
    """
    return -(-min(lanes, pairs) // world_size) * world_size
