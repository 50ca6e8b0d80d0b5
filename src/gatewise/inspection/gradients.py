"""How much of the loss's gradient reaches a state, against the steps between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gatewise.inspection.standardised import Floats


class Reach(NamedTuple):
    """Norms of the gradient of one state, layer and direction over the units, at every distance."""

    state: str
    layer: int
    direction: int
    distance: list[int]
    """Steps from the state to the loss, 0 for the state of the same step."""
    median: list[float]
    """Over the rows that are long enough; NaN at a distance at which none has a number."""
    low: list[float]
    """The lower quartile."""
    high: list[float]
    """The upper quartile."""


def reach(gradients: Mapping[str, Sequence[Floats]], positions: Floats) -> list[Reach]:
    """‖∂loss/∂state‖ by distance, its median and quartiles over the rows of the batch.

    Args:
        gradients: of each state, [D, B, T, H] of each layer, the gradient of each row's own loss; NaN is
            padding.
        positions: the step whose output each row's loss is of, [B], or [D, B] where the directions differ.
            The distance counts from it to the left in the forward direction, and to the right in the reverse
            one, whose steps to the right come first; steps on the other side are left out.

    Raises ValueError for a position that is none of the steps.
    """
    results = []
    for state, by_layer in gradients.items():
        norms = np.stack([_norms(np.asarray(layer, dtype=np.float64)) for layer in by_layer])
        layers, directions, rows, steps = norms.shape
        losses = np.broadcast_to(np.asarray(positions, dtype=np.int64), (directions, rows))
        if losses.size and not (losses.min() >= 0 and losses.max() < steps):
            wrong = losses.min() if losses.min() < 0 else losses.max()
            raise ValueError(
                f"position {wrong} of a loss is none of the {steps} steps: choose 0 to {steps - 1}"
            )
        distance = np.arange(steps)
        for direction in range(directions):
            away = losses[direction, :, None] + (distance if direction else -distance)
            inside = (away >= 0) & (away < steps)
            reached = np.flatnonzero(inside.any(0))
            place = np.broadcast_to(np.clip(away, 0, steps - 1), (layers, rows, steps))
            by_distance = np.take_along_axis(norms[:, direction], place, axis=2)
            by_distance = np.where(inside, by_distance, np.nan)[:, :, reached]
            low, median, high = (_quantile(by_distance, share).tolist() for share in (0.25, 0.5, 0.75))
            results += [
                Reach(state, layer, direction, reached.tolist(), median[layer], low[layer], high[layer])
                for layer in range(layers)
            ]
    return results


def _norms(array: Floats) -> Floats:
    """Over the last axis, without overflow or underflow of the squares: gradients vanish far below 1e-160."""
    largest = np.abs(array).max(-1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    norms: Floats = np.sqrt(np.square(array / scale[..., None]).sum(-1)) * scale
    return norms


def _quantile(values: Floats, share: float) -> Floats:
    """Over the rows, those that are NaN left out: [L, B, K] -> [L, K]; linear between two rows."""
    in_order = np.sort(values, axis=1)  # NaN last
    last = (~np.isnan(values)).sum(1) - 1
    place = share * np.maximum(last, 0)
    below = np.floor(place).astype(int)
    lower, upper = (
        np.take_along_axis(in_order, index[:, None], axis=1)[:, 0]
        for index in (below, np.ceil(place).astype(int))
    )
    part = place - below
    with np.errstate(invalid="ignore"):  # 0 · ∞, where the two are one and the same
        between = lower * (1 - part) + upper * part
    return np.where(lower == upper, lower, between)
