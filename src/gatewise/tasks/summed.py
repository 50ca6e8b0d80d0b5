"""A metric of counts that are summed, so that batches and processes add up exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric


class SummedCounts(Metric):
    """A score of the columns ``first`` to ``end`` of rows of counts, summed over batches and processes."""

    full_state_update = False
    higher_is_better = True
    sums: Tensor
    """[end - first] int64"""

    def __init__(self, first: int, end: int, score: Callable[[list[int]], float]) -> None:
        super().__init__()
        self.columns, self.score = slice(first, end), score
        self.add_state("sums", torch.zeros(end - first, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, counts: Tensor, targets: Tensor | None = None) -> None:  # noqa: ARG002
        """Add rows of counts [B, columns]; ``targets``, which other metrics take, are in the counts."""
        self.sums = self.sums + counts[:, self.columns].sum(0)

    def compute(self) -> Tensor:
        """The score of all rows together."""
        return torch.tensor(self.score(self.sums.tolist()), dtype=torch.get_default_dtype())


class SummedErrors(SummedCounts):
    """The same of a score that is better where it is lower."""

    higher_is_better = False
