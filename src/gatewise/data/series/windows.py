"""Windows over the rows of many series, cut out only when a batch needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.module import BatchDataset
from gatewise.data.series.times import write_times
from gatewise.kinds.series import WindowBatch


@dataclass(frozen=True)
class OfSeries:
    """What the windows of a series have in common."""

    starts: Tensor
    """[series + 1] int64: the first row of each series, and the number of rows."""
    numbers: Tensor | None = None
    """[series] int64: the facts' number of each; None where there is one series."""
    static: Tensor | None = None
    """[series, S] float."""
    static_categories: Tensor | None = None
    """[series, R] int64."""
    scales: Tensor | None = None
    """[series, 2, C_targets] double."""
    phases: Tensor | None = None
    """[series] int64: the place of each first row in a season of ``season`` steps; or None."""
    season: int = 1


@dataclass(frozen=True)
class WrittenTimes:
    """The times of rows as text, each written once however many series have it."""

    texts: NDArray[np.str_]
    places: NDArray[np.int64]
    """[rows] of each row in ``texts``."""

    @classmethod
    def of(cls, times: pd.Index, time_format: str | None, first: int = 0) -> WrittenTimes:
        """Of the rows from ``first`` on; writing a time takes longer than reading it."""
        places, distinct = pd.factorize(times[first:])
        texts = np.array(write_times(distinct, time_format))
        return cls(texts, np.concatenate([np.zeros(first, dtype=np.int64), places]))

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        return self.texts[self.places[rows]]


class Windows(BatchDataset):
    """Windows over one scaled table. They never copy it, and a million of them take 8 MB.

    Args:
        values: [rows, W] float, the rows of all parts and series.
        starts: [N] int64, the first input row of each window.
        target_columns: indices of the target columns.
        times: the times of the rows; None leaves them out of the batches.
        features: how many columns, the first ones, are inputs; None means all.
        known: indices of the columns that are known for the horizon.
        categories: [rows, Q] int64; None where there are none.
        known_categories: which of them are known for the horizon.
        of_series: what the windows of each series have in common.
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        target_columns: Sequence[int],
        lookback: int,
        horizon: int,
        times: WrittenTimes | None = None,
        features: int | None = None,
        known: Sequence[int] = (),
        categories: Tensor | None = None,
        known_categories: Sequence[bool] = (),
        of_series: OfSeries | None = None,
    ) -> None:
        self.values, self.starts, self.lookback, self.horizon = values, starts, lookback, horizon
        self.times = times
        self.target_columns = torch.tensor(target_columns)
        self.features = values.shape[1] if features is None else features
        self.known = torch.tensor(known) if len(known) else None
        # Views of every window [rows - L - horizon + 1, L + horizon, W], not copies.
        self.windows = values.unfold(0, lookback + horizon, 1).transpose(1, 2)
        self.categories = None
        if categories is not None:
            self.categories = categories.unfold(0, lookback + horizon, 1).transpose(1, 2)
            self.known_categories = torch.tensor(known_categories)
        self.of_series = of_series

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: list[int]) -> WindowBatch:
        starts = self.starts[indices]
        window = self.windows[starts]
        ahead = window[:, self.lookback :]
        batch = WindowBatch(
            window[:, : self.lookback, : self.features],
            ahead.index_select(-1, self.target_columns),
            None if self.times is None else self.times[self._rows(starts)],
            None if self.known is None else ahead.index_select(-1, self.known),
            self._categories(starts),
        )
        each = self.of_series
        if each is None:
            return batch
        owner = torch.bucketize(starts, each.starts[1:], right=True)
        of_window: dict[str, Any] = {
            "static": each.static,
            "static_categories": each.static_categories,
            "series": each.numbers,
            "scales": each.scales,
        }
        batch = batch._replace(**{n: values[owner] for n, values in of_window.items() if values is not None})
        if each.phases is None:
            return batch
        return batch._replace(phase=(each.phases[owner] + starts - each.starts[owner]) % each.season)

    def _rows(self, starts: Tensor) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = starts[:, None].numpy() + np.arange(self.lookback + self.horizon)
        return rows

    def _categories(self, starts: Tensor) -> Tensor | None:
        if self.categories is None:
            return None
        window: Tensor = self.categories[starts]
        window[:, self.lookback :, ~self.known_categories] = 0
        return window
