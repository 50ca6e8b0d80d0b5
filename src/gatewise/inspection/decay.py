"""How the gradient of a loss shrinks, or grows, on its way back to earlier states."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.inspection.gradients import Reach, reach
from gatewise.inspection.limits import BACKWARD, rows_within
from gatewise.inspection.passes import ByLayer
from gatewise.inspection.predictions import spread
from gatewise.tasks.inspected import Inspected

MOST_POSITIONS = 64
"""Steps at which a loss is taken."""
MOST_DISTANCES = 200
"""Distances that are told; of more, those with an even logarithm."""
CURVE = ("distance", "median", "low", "high")


def lengths_of_losses(inspected: Inspected) -> Tensor:
    """After how many steps a loss is taken: where its truth is known, else after the last step alone."""
    time = int(inspected.lengths[0])
    known = [length for length in range(1, time + 1) if inspected.has_truth(length)] or [time]
    most = max(1, min(MOST_POSITIONS, rows_within(inspected, time, factor=BACKWARD)))
    return torch.tensor([known[place] for place in spread(len(known), most)])


def decay(gradients: ByLayer, lengths: Tensor, directions: int) -> list[Reach]:
    """Gradient norms of every state, layer and direction by distance, of the losses after these steps."""
    ends = (lengths - 1).numpy()
    # The reverse direction ends with the first step.
    positions = np.stack([ends, np.zeros_like(ends)][:directions])
    arrays = {name: [layer.numpy() for layer in layers] for name, layers in gradients.items()}
    return [_thinned(each) for each in reach(arrays, positions)]


def _thinned(found: Reach) -> Reach:
    """The same at no more distances than a curve needs."""
    count = len(found.distance)
    if count <= MOST_DISTANCES:
        return found
    places = np.unique(np.geomspace(1, count, MOST_DISTANCES).round().astype(int) - 1).tolist()
    columns: dict[str, Any] = {name: [getattr(found, name)[i] for i in places] for name in CURVE}
    return found._replace(**columns)
