"""What a DataModule hands to a Task: one named tuple per kind of example.

Data and tasks never import each other; they meet here and in :mod:`gatewise.facts`.
Shapes: B batch, T time, F features, L lookback, C columns.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

IGNORED = -100
"""Target that no loss and no metric counts (the value torch's cross-entropy skips)."""


class SequenceBatch(NamedTuple):
    """Labelled feature sequences, padded at the end with zeros."""

    inputs: Tensor
    """[B, T, F] float: scaled features."""
    lengths: Tensor
    """[B] int64: steps of each sequence that are not padding."""
    targets: Tensor
    """[B] int64: class index, or IGNORED where no label is known."""


class TextBatch(NamedTuple):
    """One truncated-BPTT window: row b continues row b of the batch before."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    targets: Tensor
    """[B, T] int64: the token after each, or IGNORED past a lane's end."""


class WindowBatch(NamedTuple):
    """Windows of a time series: what was seen and what came next."""

    inputs: Tensor
    """[B, L, C] float: scaled values of every input column."""
    targets: Tensor
    """[B, horizon, C_targets] float: scaled values of the target columns."""
