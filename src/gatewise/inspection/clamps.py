"""Whether a gate or a unit matters: what becomes of the answer while a gate is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.inspection.limits import rows_within
from gatewise.inspection.passes import ByLayer, set_by_layer
from gatewise.tasks.inspected import Inspected

VALUES = ("0", "1", "mean")
"""What a gate is held at; the mean is that of each unit over the steps of the sequence."""
MOST_ROWS = 600
"""Clamps that are tried at most."""
NUMBERS_AT_ONCE = 2**25
"""Of scores and of what is computed at each step that are in memory at a time."""


@dataclass(frozen=True)
class Clamped:
    """What came of holding one gate of a layer and direction, all its units or one of them, at a value."""

    layer: int
    direction: int
    unit: int | None
    name: str
    value: str
    loss: float
    answer: str
    probability: float | None
    """That of the answer without a clamp."""


Clamps = tuple[int, int, int | None, str, str]
"""Layer, direction, unit, gate and value."""


@torch.no_grad()
def clamp(
    inspected: Inspected, gates: ByLayer, answer: Any, units: Sequence[tuple[int, int, int]]
) -> tuple[list[Clamped], int]:
    """The results of every clamp of whole gates, then of those of single units, and how many units had room.

    Args:
        gates: every gate with the range (0, 1), [D, 1, T, H] of each layer as computed.
        answer: that of the whole sequence without a clamp.
        units: layer, direction and number of units, the most important first.
    """
    time = int(inspected.lengths[0])
    layers, directions = len(inspected.sizes), inspected.encoder.num_directions
    places = [(layer, direction, None) for layer, direction in np.ndindex(layers, directions)]
    whole = list(_each(places, gates))
    answers = len(inspected.scores(inspected.inputs[:1, :time], inspected.lengths[:1])[0])
    scored = answers if inspected.at_every_step else 0
    room = min(MOST_ROWS, rows_within(inspected, time, scored)) - len(whole)
    count = max(0, min(len(units), room // max(1, len(gates) * len(VALUES))))
    experiments = whole + list(_each(units[:count], gates))
    each_step = max(inspected.sizes) * (8 + 2 * len(gates))
    at_once = max(1, NUMBERS_AT_ONCE // (time * max(scored, each_step)))
    results: list[Clamped] = []
    for first in range(0, len(experiments), at_once):
        results += _run(inspected, gates, answer, experiments[first : first + at_once])
    return results, count


@torch.no_grad()
def settable(inspected: Inspected, gates: ByLayer) -> tuple[ByLayer, list[str]]:
    """Those of the gates that can be held, and a line for each of the others that says why not."""
    if not gates or _problem(inspected, gates) is None:  # all of them, which are one kernel to compile
        return gates, []
    problems = {name: _problem(inspected, {name: values}) for name, values in gates.items()}
    return {name: values for name, values in gates.items() if problems[name] is None}, [
        f"{name} was not held at a value: {problem}" for name, problem in problems.items() if problem
    ]


def _problem(inspected: Inspected, gates: ByLayer) -> str | None:
    """Why gates cannot be held at the values of the first step."""
    rows, lengths = inspected.inputs[:1, :1], inspected.lengths[:1].clamp(max=1)
    first = {name: [layer[:, :1, :1] for layer in layers] for name, layers in gates.items()}
    try:
        inspected.outputs(rows, lengths, intervene=set_by_layer(inspected, first))
    except ValueError as error:
        return str(error)
    return None


def _each(places: Iterable[tuple[int, int, int | None]], gates: Iterable[str]) -> Iterator[Clamps]:
    names = list(gates)
    for place in places:
        for name in names:
            for value in VALUES:
                yield (*place, name, value)


def _run(inspected: Inspected, gates: ByLayer, answer: Any, experiments: Sequence[Clamps]) -> list[Clamped]:
    """Each clamp on a row of one batch."""
    time, count = int(inspected.lengths[0]), len(experiments)
    held_gates = {name for *_, name, _ in experiments}
    # The value of a clamp is the same at every step. In the order of the gates: each order is a kernel.
    masks = {
        name: [layer.new_full((len(layer), count, 1, layer.shape[-1]), torch.nan) for layer in layers]
        for name, layers in gates.items()
        if name in held_gates
    }
    for row, (layer, direction, unit, name, value) in enumerate(experiments):
        computed = gates[name][layer][direction, 0, :time]
        held = computed.mean(0) if value == "mean" else torch.full_like(computed[0], float(value))
        chosen = slice(None) if unit is None else unit
        masks[name][layer][direction, row, 0, chosen] = held[chosen]
    rows = inspected.inputs[:1, :time].expand(count, -1, -1)
    lengths = torch.full((count,), time)
    outputs = inspected.outputs(rows, lengths, intervene=set_by_layer(inspected, masks))
    losses = inspected.whole_loss(outputs, rows, lengths, answer).double().tolist()
    scores = inspected.read(outputs, rows, lengths)
    answers = [inspected.in_words(inspected.answer(each)) for each in scores]
    probabilities = inspected.probability(scores, answer)
    told = [None] * count if probabilities is None else probabilities.double().tolist()
    return [
        Clamped(*experiment, loss, text, probability)
        for experiment, loss, text, probability in zip(experiments, losses, answers, told, strict=True)
    ]


def contributions(gradients: ByLayer, states: ByLayer) -> dict[str, list[NDArray[np.float64]]]:
    """Gradient of the answer's score by each state [D, T, H] times the state [D, 1, T, H], by layer."""
    return {
        name: [
            (gradient * values[:, 0]).double().numpy()
            for gradient, values in zip(gradients[name], layers, strict=True)
        ]
        for name, layers in states.items()
    }


def most_important(contributed: Sequence[NDArray[np.float64]]) -> list[tuple[int, int, int]]:
    """Layer, direction and number of every unit, by the sum of |contributions| [D, T, H] of each layer."""
    sums = [np.abs(np.nan_to_num(layer)).sum(1) for layer in contributed]
    places = [
        (layer, direction, unit)
        for layer, each in enumerate(sums)
        for direction, unit in np.ndindex(each.shape)
    ]
    order = np.argsort(-np.concatenate([each.ravel() for each in sums]), kind="stable")
    return [places[index] for index in order.tolist()]
