"""Whether a gate or a unit matters: what becomes of the answer while a gate is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.inspection.limits import rows_within
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


def clamp(
    inspected: Inspected, gates: Mapping[str, Tensor], answer: Any, units: Sequence[tuple[int, int, int]]
) -> tuple[list[Clamped], int]:
    """The results of every clamp of whole gates, then of those of single units, and how many units had room.

    Args:
        gates: every gate with the range (0, 1), [L, D, 1, T, H] as computed.
        answer: that of the whole sequence without a clamp.
        units: layer, direction and number of units, the most important first.
    """
    time = int(inspected.lengths[0])
    layers, directions = next(iter(gates.values())).shape[:2] if gates else (0, 0)
    places = [(layer, direction, None) for layer, direction in np.ndindex(layers, directions)]
    whole = list(_each(places, gates))
    answers = len(inspected.scores(inspected.inputs[:1, :time], inspected.lengths[:1])[0])
    scored = answers if inspected.at_every_step else 0
    room = min(MOST_ROWS, rows_within(inspected, time, scored)) - len(whole)
    count = max(0, min(len(units), room // max(1, len(gates) * len(VALUES))))
    experiments = whole + list(_each(units[:count], gates))
    each_step = inspected.encoder.hidden_size * (8 + 2 * len(gates))
    at_once = max(1, NUMBERS_AT_ONCE // (time * max(scored, each_step)))
    results: list[Clamped] = []
    for first in range(0, len(experiments), at_once):
        results += _run(inspected, gates, answer, experiments[first : first + at_once])
    return results, count


def settable(inspected: Inspected, gates: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Those of the gates that can be held, and a line for each of the others that says why not."""
    found, problems = {}, []
    rows, lengths = inspected.inputs[:1, :1], inspected.lengths[:1].clamp(max=1)
    for name, values in gates.items():
        try:
            inspected.outputs(rows, lengths, intervene={name: values[:, :, :1, :1]})
        except ValueError as error:
            problems.append(f"{name} was not held at a value: {error}")
        else:
            found[name] = values
    return found, problems


def _each(places: Iterable[tuple[int, int, int | None]], gates: Iterable[str]) -> Iterator[Clamps]:
    names = list(gates)
    for place in places:
        for name in names:
            for value in VALUES:
                yield (*place, name, value)


def _run(
    inspected: Inspected, gates: Mapping[str, Tensor], answer: Any, experiments: Sequence[Clamps]
) -> list[Clamped]:
    """Each clamp on a row of one batch."""
    time, count = int(inspected.lengths[0]), len(experiments)
    masks: dict[str, Tensor] = {}
    for row, (layer, direction, unit, name, value) in enumerate(experiments):
        computed = gates[name][layer, direction, 0, :time]
        if name not in masks:
            layers, directions, _, _, hidden = gates[name].shape
            # The value of a clamp is the same at every step.
            masks[name] = computed.new_full((layers, directions, count, 1, hidden), torch.nan)
        held = computed.mean(0) if value == "mean" else torch.full_like(computed[0], float(value))
        chosen = slice(None) if unit is None else unit
        masks[name][layer, direction, row, 0, chosen] = held[chosen]
    rows = inspected.inputs[:1, :time].expand(count, -1, -1)
    lengths = torch.full((count,), time)
    outputs = inspected.outputs(rows, lengths, intervene=masks)
    losses = inspected.whole_loss(outputs, rows, lengths, answer).double().tolist()
    scores = inspected.read(outputs, rows, lengths)
    answers = [inspected.in_words(inspected.answer(each)) for each in scores]
    probabilities = inspected.probability(scores, answer)
    told = [None] * count if probabilities is None else probabilities.double().tolist()
    return [
        Clamped(*experiment, loss, text, probability)
        for experiment, loss, text, probability in zip(experiments, losses, answers, told, strict=True)
    ]


def state_contributions(
    inspected: Inspected, states: Mapping[str, Tensor], answer: Any
) -> dict[str, NDArray[np.float64]]:
    """Gradient of the answer's score with respect to each state, times the state: [L, D, T, H] by state."""
    time = int(inspected.lengths[0])
    rows, lengths = inspected.inputs[:1, :time], inspected.lengths[:1]

    def score(outputs: Tensor, state: Any) -> Tensor:  # noqa: ARG001
        return inspected.score(inspected.read(outputs, rows, lengths), answer).sum()

    gradients = inspected.encoder.state_gradients(inspected.encoded(rows, lengths), score, lengths=lengths)
    return {name: (gradients[name] * values)[:, :, 0].double().numpy() for name, values in states.items()}


def most_important(contributions: NDArray[np.float64]) -> list[tuple[int, int, int]]:
    """Layer, direction and number of every unit, by the sum of |contributions| [L, D, T, H]."""
    sums = np.abs(np.nan_to_num(contributions)).sum(2)
    order = np.argsort(-sums.ravel(), kind="stable")
    layers, directions, units = np.unravel_index(order, sums.shape)
    return list(zip(layers.tolist(), directions.tolist(), units.tolist(), strict=True))
