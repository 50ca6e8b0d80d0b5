"""The gates of one sequence as a page draws them while it is written: a byte for each value."""

from __future__ import annotations

import base64
import math
from typing import Any

import torch
from torch import Tensor

from gatewise.nn import Recurrent, Stacked, StackedTrace

_STEPS = 254
"""Between the ends of a scale, which a byte can tell apart; 255 would be beside it."""


def live_gates(encoder: Recurrent | Stacked, inputs: Tensor, lengths: Tensor) -> list[dict[str, Any]]:
    """For each layer and direction, every gate and state of the only sequence [1, T, F], T steps of H units.

    ``values`` are bytes [H, T] in base64, from 0 at the low end of ``range`` to 254 at the high one.
    """
    trace = encoder.trace(inputs, lengths=lengths)
    layers = []
    number = 0
    for part in trace.layers if isinstance(trace, StackedTrace) else [trace]:
        count = len(next(iter(part.arrays.values())))
        for index in range(count):
            number += 1
            for direction in range(encoder.num_directions):
                arrays = {name: values[index, direction, 0] for name, values in part.arrays.items()}
                named = {name: _packed(values, part.ranges.get(name)) for name, values in arrays.items()}
                layers.append({"layer": number, "backward": bool(direction), "arrays": named})
    return layers


def _packed(values: Tensor, bounds: tuple[float, float] | None) -> dict[str, Any]:
    """Values [T, H] as bytes, on the scale that the equations give them or else on one around 0."""
    most = max(float(values.abs().max()), 1e-9)
    low, high = bounds if bounds is not None and all(map(math.isfinite, bounds)) else (-most, most)
    shares = ((values - low) / (high - low)).clamp(0, 1).nan_to_num() * _STEPS
    content = shares.round().to(torch.uint8).T.contiguous().numpy().tobytes()
    packed = base64.b64encode(content).decode()
    return {"range": [low, high], "units": values.shape[1], "steps": len(values), "values": packed}
