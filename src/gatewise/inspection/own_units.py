"""What the units follow over a run's own data, as the page shows it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.inspection.coding import numbers
from gatewise.inspection.contexts import strongest
from gatewise.inspection.follows import LEVEL, follow, holm, ranks, shifts_needed
from gatewise.inspection.own_data import OwnSteps

BEFORE, AFTER = 8, 4
"""Tokens around a strong one."""
APART = 3
"""Steps on both sides of a frame or a time that are no other place."""
MOST_CONTEXTS = 160
"""Units whose contexts the page has."""
MOST_CORRELATIONS = 400_000_000
"""Steps times units times features that are shifted against each other."""


def follows(
    steps: OwnSteps, state: str, shown: dict[tuple[int, int], list[int]], important: Iterable[Any]
) -> dict[str, Any]:
    """Correlations of every unit with every feature, their significance, and the strongest contexts.

    Args:
        state: the state that the steps have.
        shown: the units that the page shows, by layer and direction.
        important: layer, direction and number of units, those first whose contexts are wanted first.
    """
    units = np.concatenate(steps.units, axis=2)
    features = np.concatenate(steps.features)
    lengths = list(steps.lengths)
    layers, directions, _, hidden = units.shape
    values = units.transpose(2, 0, 1, 3).reshape(len(features), -1)
    most = MOST_CORRELATIONS // max(1, values.shape[1] * features.shape[1])
    tested = _first_steps(lengths, max(most, 500))
    found = follow(values[: sum(tested)], features[: sum(tested)], tested)
    corrected, rank = holm(found.p), ranks(found.r)
    varying = [place for place in range(features.shape[1]) if np.isfinite(found.r[:, place]).any()]
    table = {"r": found.r, "p": found.p, "holm": corrected, "rank": rank}
    by_place = {
        name: each[:, varying].reshape(layers, directions, hidden, len(varying))
        for name, each in table.items()
    }
    wanted = _by_place(important)
    contexts = [
        [
            _contexts(steps, units[layer, direction], wanted.get((layer, direction), []))
            for direction in range(directions)
        ]
        for layer in range(layers)
    ]
    return {
        "array": state,
        "features": [steps.feature_names[place] for place in varying],
        "steps": sum(tested),
        "shifts": sum(tested),
        "too_few": _too_few(found.least, values.shape[1]),
        "note": _note(steps, state, sum(tested), values.shape[1], found.least),
        "units": [
            [
                {
                    name: [numbers(column, 3) for column in each[layer, direction, shown[layer, direction]].T]
                    for name, each in by_place.items()
                }
                for direction in range(directions)
            ]
            for layer in range(layers)
        ],
        "contexts": _deflated(contexts),
    }


def _deflated(values: Any) -> str:
    """Values as JSON in base64 of its deflated bytes: contexts are much text that says the same."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode("ascii")


def _first_steps(lengths: list[int], most: int) -> list[int]:
    """Lengths of the first sequences, the last of them cut, that are no more steps than ``most`` together."""
    kept: list[int] = []
    for length in lengths:
        left = most - sum(kept)
        if left <= 0:
            break
        kept.append(min(length, left))
    return kept


def _by_place(important: Iterable[Any]) -> dict[tuple[int, int], list[int]]:
    wanted: dict[tuple[int, int], list[int]] = {}
    for layer, direction, unit in list(important)[:MOST_CONTEXTS]:
        wanted.setdefault((layer, direction), []).append(unit)
    return wanted


def _contexts(steps: OwnSteps, values: NDArray[Any], units: list[int]) -> dict[str, list[list[Any]]]:
    """By the number of a unit: what stands before, the step, what follows it, and the unit's value."""
    # Around a frame or a time nothing is shown, but its neighbours are not other places.
    is_text = steps.step == "token"
    before, after = (BEFORE, AFTER) if is_text else (APART, APART)
    found = (
        strongest(values[:, units], steps.lengths, before=before, after=after, both_ways=True)
        if units
        else []
    )
    space = "" if is_text and max(map(len, steps.names[:1000])) == 1 else " "
    return {
        str(unit): [
            [
                space.join(steps.names[context.first : context.step] if is_text else ()),
                steps.names[context.step],
                space.join(steps.names[context.step + 1 : context.stop] if is_text else ()),
                float(f"{context.value:.3g}"),
            ]
            for context in contexts
        ]
        for unit, contexts in zip(units, found, strict=True)
    }


def _too_few(least: NDArray[Any], units: int) -> bool:
    """Whether no feature could be found significant, whatever the units do."""
    return bool(np.nanmin(least, initial=1.0) * units > LEVEL)


def _note(steps: OwnSteps, state: str, count: int, units: int, least: NDArray[Any]) -> str:
    note = (
        f"{state} over {count:,} steps of {steps.part}. p: the share of all shifts of a feature along the "
        f"steps (of all orders of the sequences, where it is one of a whole sequence) with a correlation as "
        f"strong; "
        f"Holm's correction is over all {units:,} units."
    )
    if _too_few(least, units):
        note += (
            f" So few steps can show nothing after the correction: {shifts_needed(units):,} would be needed."
        )
    return note
