"""What the units follow over a run's own data, as the page shows it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Correlated:
    """How all units go with all features over the steps of a run's own data."""

    steps: OwnSteps
    count: int
    """The first steps, which were shifted against each other."""
    least: NDArray[Any]
    """[F] as in :class:`gatewise.inspection.follows.Followed`."""
    tables: dict[str, NDArray[Any]]
    """[U, F] each, the units of all layers and directions one after the other."""


def correlated(steps: OwnSteps) -> Correlated:
    """Correlations of every unit with every feature, and their significance."""
    columns = [
        np.concatenate([units[layer][direction] for units in steps.units])
        for layer, direction in _places(steps)
    ]
    values, features = np.concatenate(columns, axis=1), np.concatenate(steps.features)
    most = MOST_CORRELATIONS // max(1, values.shape[1] * features.shape[1])
    tested = _first_steps(steps.lengths, max(most, 500))
    count = sum(tested)
    found = follow(values[:count], features[:count], tested)
    tables = {"r": found.r, "p": found.p, "holm": holm(found.p), "rank": ranks(found.r)}
    return Correlated(steps, count, found.least, tables)


def follows(
    found: Correlated, state: str, shown: dict[tuple[int, int], list[int]], important: Iterable[Any]
) -> dict[str, Any]:
    """What the page says of the units and features, and the strongest contexts of units.

    Args:
        state: the state that the steps have.
        shown: the units that the page shows, by layer and direction.
        important: layer, direction and number of units, those first whose contexts are wanted first.
    """
    steps, r = found.steps, found.tables["r"]
    varying = [place for place in range(r.shape[1]) if np.isfinite(r[:, place]).any()]
    wanted = _by_place(important)
    units: list[list[dict[str, Any]]] = []
    contexts: list[list[dict[str, Any]]] = []
    first = 0
    for layer, direction in _places(steps):
        values = np.concatenate([each[layer][direction] for each in steps.units])
        chosen = np.array(shown[layer, direction]) + first
        first += values.shape[1]
        told = {
            name: [numbers(column, 3) for column in table[chosen][:, varying].T]
            for name, table in found.tables.items()
        }
        strong = _contexts(steps, values, wanted.get((layer, direction), []))
        for of_layers, each in ((units, told), (contexts, strong)):
            if not direction:
                of_layers.append([])
            of_layers[layer].append(each)
    return {
        "array": state,
        "features": [steps.feature_names[place] for place in varying],
        "steps": found.count,
        "shifts": found.count,
        "too_few": _too_few(found.least, len(r)),
        "note": _note(steps, state, found.count, len(r), found.least),
        "units": units,
        "contexts": _deflated(contexts),
    }


def _places(steps: OwnSteps) -> list[tuple[int, int]]:
    """Every layer and direction."""
    return [(layer, d) for layer, values in enumerate(steps.units[0]) for d in range(len(values))]


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
