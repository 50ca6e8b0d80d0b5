"""How often a gate is nearly shut or nearly open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatewise.inspection.standardised import Floats

EDGE = 0.1
"""Of the range of a gate, at each end: where it counts as saturated."""


class Saturation(NamedTuple):
    """Shares of the steps, [U] each; NaN where a unit has no step."""

    below: Floats
    above: Floats


def saturation(values: Floats, low: float = 0.0, high: float = 1.0) -> Saturation:
    """Shares of the steps at which each unit is in the lowest and in the highest tenth of its range.

    [..., U] -> [U]: below .1 and above .9 for a sigmoid (Karpathy, Johnson & Fei-Fei, "Visualizing and
    Understanding Recurrent Networks", 2015: left- and right-saturated), below -.8 and above .8 for a tanh,
    whose bounds are -1 and 1. NaN is padding. Raises ValueError for bounds that are not finite and in order:
    what has no bounds does not saturate.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"bounds {low:g} and {high:g}: only what lies between two finite bounds saturates")
    steps = np.asarray(values).reshape(-1, np.shape(values)[-1])
    margin = EDGE * (high - low)
    counted = (~np.isnan(steps)).sum(0).astype(np.float64)
    counted[counted == 0] = np.nan
    # In the precision of the values: float32 0.1 is not below 0.1.
    edges = np.array([low + margin, high - margin], dtype=steps.dtype)
    return Saturation((steps < edges[0]).sum(0) / counted, (steps > edges[1]).sum(0) / counted)
