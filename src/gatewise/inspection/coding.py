"""Arrays as few bytes for a page: 255 levels and a blank, deflated; and which units there is room for."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.inspection.standardised import Floats

LEVELS, BLANK = 254, 255
"""The code of the highest value, and that of NaN."""
ALWAYS_WHOLE = 1000
"""Steps up to which a page shows every unit."""
PAGE_BYTES = 2_300_000
"""Of the coded arrays of a longer input: a page of 2.5 MB with what else stands in it."""


class Scale(NamedTuple):
    """What the lowest and the highest code stand for."""

    low: float
    high: float
    kind: Literal["share", "diverging"]


SHARE = Scale(0.0, 1.0, "share")


def scale_of(arrays: Iterable[Floats], bounds: tuple[float, float] | None = None) -> Scale:
    """One scale for an array over all its layers and directions.

    A gate, whose bounds are 0 and 1, has those; bounds to both sides of 0 and those of an array without any
    are symmetric around 0, as far as the largest finite \\|value\\| where there are no bounds.
    """
    if bounds == (0, 1):
        return SHARE
    if bounds is not None:
        largest = max(abs(bound) for bound in bounds)
    else:
        finite = (np.abs(array[np.isfinite(array)]) for array in map(np.asarray, arrays))
        largest = max((float(values.max()) for values in finite if values.size), default=0.0)
    if largest < np.finfo(np.float64).tiny:  # all zero, or as good as that: any scale shows the middle
        largest = 1.0
    return Scale(-largest, largest, "diverging")


def quantised(values: Floats, scale: Scale) -> NDArray[np.uint8]:
    """Each value as its nearest level, 0 for ``scale.low`` to 254 for ``scale.high``, and 255 for NaN.

    What lies outside, infinity too, has the level of the nearer end; 0 in the middle of a diverging scale is
    127 exactly.
    """
    array = np.asarray(values, dtype=np.float64)
    # Halves first: high - low of the largest floats would be infinite.
    share = (array / 2 - scale.low / 2) / (scale.high / 2 - scale.low / 2)
    levels = np.rint(np.clip(share, 0.0, 1.0) * LEVELS)
    return np.where(np.isnan(array), BLANK, levels).astype(np.uint8)


def restored(codes: NDArray[np.uint8], scale: Scale) -> Floats:
    """What a page makes of the codes: values no further off than half a level, NaN where blank."""
    share = codes / LEVELS
    return np.where(codes == BLANK, np.nan, scale.low * (1 - share) + scale.high * share)


def packed(values: Floats, scale: Scale) -> str:
    """Base64 of the deflated codes, step after step: of [T, U] the T·U bytes row by row."""
    return base64.b64encode(zlib.compress(quantised(values, scale).tobytes())).decode("ascii")


def numbers(values: Floats, digits: int = 4) -> list[float | None]:
    """[U] for JSON: to so many significant digits, and None for what is not finite."""
    form = f"%.{digits}g"
    return [float(form % value) if math.isfinite(value) else None for value in np.asarray(values).tolist()]


def units_that_fit(
    units: int, steps: int, arrays: int, layers: int, directions: int, most_bytes: int = PAGE_BYTES
) -> int:
    """How many units of each layer and direction a page shows: all up to ``ALWAYS_WHOLE`` steps.

    Of a longer input so many that their arrays, if they do not deflate at all, take ``most_bytes`` in base64;
    at least one.
    """
    if steps <= ALWAYS_WHOLE:
        return units
    fit = most_bytes * 3 // 4 // (steps * arrays * layers * directions)
    return max(1, min(units, fit))


def most_varied(arrays: Sequence[Floats], count: int) -> NDArray[np.int64]:
    """Numbers of the ``count`` units with the most variance over the steps, in ascending order.

    The variance of a unit is counted in each of the arrays, [T, U] every one, as a share of that of all
    units, so that an array with large values has no more say than another. NaN is padding.
    """
    units = np.shape(arrays[0])[1]
    total = np.zeros(units)
    for values in arrays:
        array = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
        counted = np.maximum((~np.isnan(array)).sum(0), 1)
        array /= np.nanmax(np.abs(array), initial=1e-300)
        deviation = array - np.nansum(array, axis=0) / counted
        variance = np.nansum(np.square(deviation), axis=0) / counted
        total += variance / max(variance.sum(), 1e-300)
    chosen = np.argsort(-total, kind="stable")[:count]
    return np.sort(chosen).astype(np.int64)
