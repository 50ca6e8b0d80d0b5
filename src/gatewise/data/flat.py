"""Sequences that lie one after the other in a flat array."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def padded_places(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(Where each step of B sequences lies in the flat array, whether it is a step), each [B, longest].

    The places of padding are 0.
    """
    steps = torch.arange(int(lengths.max()))
    is_real = steps < lengths[:, None]
    return torch.where(is_real, starts[:, None] + steps, 0), is_real


def places_of(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where all steps of the sequences lie in the flat array, one sequence after the other."""
    # Each step less the place where its sequence begins here, plus where it begins in the array.
    moved: NDArray[np.int64] = np.repeat(starts - (lengths.cumsum() - lengths), lengths)
    return np.arange(len(moved), dtype=np.int64) + moved
