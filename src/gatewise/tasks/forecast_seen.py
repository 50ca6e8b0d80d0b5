"""What a window shows of its target columns, with the gaps of missing values filled."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.kinds.series import SeriesFacts, WindowBatch


class Seen:
    """Reads the target columns [B, L, C_targets] out of the inputs of windows."""

    def __init__(self, facts: SeriesFacts) -> None:
        features = facts.features
        self.columns = [features.index(name) for name in facts.targets]
        self._masks = [
            features.index(f"{name} is there") if name in facts.masked else None for name in facts.targets
        ]

    def __call__(self, batch: WindowBatch) -> Tensor:
        """The values seen; NaN where one is missing."""
        values = batch.inputs[..., self.columns]
        for place, mask in enumerate(self._masks):
            if mask is not None:
                missing = batch.inputs[..., mask] < 0.5
                values[..., place] = values[..., place].masked_fill(missing, torch.nan)
        return values

    def before(self, batch: WindowBatch) -> Tensor | int:
        """How many steps [B, 1, C_targets] precede the first value that is there; 0 where none can miss."""
        if not any(mask is not None for mask in self._masks):
            return 0
        there = ~self(batch).isnan()
        return there.int().argmax(1, keepdim=True)

    def filled(self, batch: WindowBatch) -> Tensor:
        """The values seen; one that is missing is the last one before it, or else the first one after it.

        A window that shows none at all has zeros, the training mean.
        """
        if not any(mask is not None for mask in self._masks):
            return batch.inputs[..., self.columns]
        return filled(self(batch))


def filled(values: Tensor) -> Tensor:
    """Values [B, L, C] whose NaN are the last value before them, or else the first one after them."""
    there = ~values.isnan()
    steps = torch.arange(values.shape[1], device=values.device)[:, None]
    last = torch.where(there, steps, -1).cummax(1).values
    first = torch.where(there, steps, values.shape[1]).amin(1, keepdim=True)
    places = torch.where(last < 0, first, last).clamp(max=values.shape[1] - 1)
    return values.gather(1, places).nan_to_num(0.0)
