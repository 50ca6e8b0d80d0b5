"""How the gradient of a loss shrinks, or grows, on its way back to earlier states."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.inspection.gradients import Reach, reach
from gatewise.inspection.limits import BACKWARD, rows_within
from gatewise.inspection.predictions import spread
from gatewise.tasks.inspected import Inspected

MOST_POSITIONS = 64
"""Steps at which a loss is taken."""
MOST_DISTANCES = 200
"""Distances that are told; of more, those with an even logarithm."""
CURVE = ("distance", "median", "low", "high")


def decay(inspected: Inspected, answer: Any) -> tuple[list[Reach], int]:
    """Gradient norms of every state, layer and direction, and the number of losses.

    The losses are those of predictions whose truth is known, each of a run of the steps up to it; where none
    is, that of ``answer`` after the last step.
    """
    time = int(inspected.lengths[0])
    known = [length for length in range(1, time + 1) if inspected.has_truth(length)] or [time]
    most = max(1, min(MOST_POSITIONS, rows_within(inspected, time, factor=BACKWARD)))
    lengths = torch.tensor([known[place] for place in spread(len(known), most)])
    rows = inspected.prefixes(lengths)

    def loss(outputs: Tensor, state: Any) -> Tensor:  # noqa: ARG001
        return inspected.loss(inspected.read(outputs, rows, lengths), lengths, answer).sum()

    gradients = inspected.encoder.state_gradients(inspected.encoded(rows, lengths), loss, lengths=lengths)
    ends = (lengths - 1).numpy()
    # The reverse direction ends with the first step.
    positions = np.stack([ends, np.zeros_like(ends)][: inspected.encoder.num_directions])
    found = reach({name: values.numpy() for name, values in gradients.items()}, positions)
    return [_thinned(each) for each in found], len(lengths)


def _thinned(found: Reach) -> Reach:
    """The same at no more distances than a curve needs."""
    count = len(found.distance)
    if count <= MOST_DISTANCES:
        return found
    places = np.unique(np.geomspace(1, count, MOST_DISTANCES).round().astype(int) - 1).tolist()
    columns: dict[str, Any] = {name: [getattr(found, name)[i] for i in places] for name in CURVE}
    return found._replace(**columns)
