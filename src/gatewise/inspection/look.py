"""All that an inspection finds in one sequence and a trained model, as the page has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.inspection import told
from gatewise.inspection.arrays import Array, equations, named, same_gate
from gatewise.inspection.clamps import clamp, most_important, settable, state_contributions
from gatewise.inspection.coding import most_varied, numbers, packed, scale_of, units_that_fit
from gatewise.inspection.contributions import contribute
from gatewise.inspection.decay import decay
from gatewise.inspection.memory import HalfLife, half_life
from gatewise.inspection.own_data import OwnSteps
from gatewise.inspection.own_units import follows
from gatewise.inspection.predictions import predict
from gatewise.inspection.saturation import saturation
from gatewise.inspection.similarity import similar_order
from gatewise.settings.memory import in_words, memory
from gatewise.tasks.inspected import Inspected

MOST_UNITS_CLAMPED = 24
BYTES_OF_A_VALUE = 24
"""Of memory, for each value of an array of a trace: as computed, copied, and its gradients."""


@dataclass
class Look:
    """What was found: for the page, and for the file of all arrays."""

    values: dict[str, Any]
    """What the page has of a model, by the names of its parts."""
    arrays: dict[str, NDArray[Any]]
    """Every array of the trace whole, [L, D, T, H] by name, and what the page tells of each step."""
    contributions: NDArray[np.float64]
    """[L, D, T, H]: of each unit of the memory to the answer."""
    is_whole: bool
    """Whether the page has every unit."""
    sentences: list[str] = field(default_factory=list)


def check_memory(inspected: Inspected) -> None:
    """Raise ValueError, with the number of steps that fit, for an input that takes more than the memory."""
    encoder = inspected.encoder
    cell = encoder.cell
    arrays = len(cell.gates) + 3 * len(cell.states)
    blocks = encoder.num_layers * encoder.num_directions
    each = encoder.hidden_size * blocks * arrays * BYTES_OF_A_VALUE
    time, there = int(inspected.lengths[0]), memory()
    if time * each > there:
        raise ValueError(
            f"{time:,} steps × {encoder.hidden_size} units × {arrays} arrays × {blocks} layers and "
            f"directions take {in_words(time * each)}, but there are {in_words(there)}: give at most "
            f"{there // each:,} steps"
        )


def look(inspected: Inspected, own: Callable[[str], OwnSteps] | None, problems: Sequence[str] = ()) -> Look:
    """Everything about the first of the sequences, which is the only one.

    Args:
        own: samples the steps of the run's own data with the values of a state; None where these are not
            there, of which ``problems`` says why.
        problems: lines for the top of the page.

    Raises ValueError where the cell's steps cannot be traced.
    """
    encoder, time = inspected.encoder, int(inspected.lengths[0])
    rows, lengths = inspected.inputs[:1, :time].detach(), inspected.lengths[:1]
    with torch.no_grad():
        trace = encoder.trace(inspected.encoded(rows, lengths), lengths=lengths)
        outputs = trace.outputs
        assert isinstance(outputs, Tensor)
        scores = inspected.read(outputs, rows, lengths)
        answer = inspected.answer(scores[0])
        predictions = predict(inspected, outputs)
    arrays = named(trace, encoder.cell.innermost)
    shown = _shown(arrays)
    state = memory_state(trace.kept, encoder.cell.states)
    of_units = state_contributions(
        inspected, {name: trace.arrays[name] for name in encoder.cell.states}, answer
    )
    important = most_important(of_units[state])
    decided = contribute(inspected, answer)
    with torch.no_grad():
        gates, unsettable = settable(
            inspected, {a.name: trace.arrays[a.name] for a in arrays if a.kind == "gate"}
        )
        clamped, units = clamp(inspected, gates, answer, important[:MOST_UNITS_CLAMPED])
        loss = float(inspected.whole_loss(outputs, rows, lengths, answer))
        probability = inspected.probability(scores, answer)
    decays, losses = decay(inspected, answer)
    halves = _half_lives(arrays, state) if state in trace.kept else []
    saturated = {a.name: _by_place(a.values, saturation) for a in arrays if a.kind == "gate"}
    following: dict[str, Any] = {"problem": "The run's own data are not there."}
    if own is not None:
        try:
            with torch.no_grad():
                following = follows(own(state), state, shown, important)
        except ValueError as error:
            following = {"problem": f"What the units follow is not shown: {error}"}
    count = min(map(len, shown.values()))
    too_many = []
    if count < encoder.hidden_size:
        too_many.append(
            f"Of {time:,} steps the page has room for {count} of {encoder.hidden_size} units of each layer "
            f"and direction: those that vary most. The .npz file has all."
        )
    text = inspected.in_words(answer)
    p = None if probability is None else float(probability)
    values = {
        "cell": encoder.cell_name,
        "equations": equations(encoder.cell.innermost),
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "layers": encoder.num_layers,
        "directions": encoder.num_directions,
        "hidden": encoder.hidden_size,
        "steps": time,
        "step": inspected.step,
        "names": list(inspected.names[0][:time]),
        "words": None if inspected.words is None else [list(word) for word in inspected.words],
        "arrays": [_coded(array, arrays, shown) for array in arrays],
        "units": _units(arrays, shown, encoder.hidden_size),
        "memory": _memory(state, halves, shown),
        "saturation": [_saturated(name, places, shown) for name, places in saturated.items()],
        "predictions": {
            "title": inspected.title,
            "steps": [[[name, _short(value)] for name, value in step] for step in predictions.named],
            "actual": [inspected.actual(step) for step in range(time)],
            "surprise": [_short(value) for value in predictions.surprise],
            "note": predictions.note,
        },
        "decided": {
            "answer": text,
            "title": inspected.title,
            "gradient": numbers(decided.gradient),
            "left_out": numbers(decided.left_out) if np.isfinite(decided.left_out).any() else None,
            "agreement": _short(decided.agreement),
            "note": told.how_decided(inspected, decided),
        },
        "clamps": {
            "loss": _short(loss),
            "answer": text,
            "probability": _short(p),
            "rows": [_row(each) for each in clamped],
            "note": told.how_clamped(inspected, len(gates), units),
        },
        "follows": following,
        "gradients": [_curve(each) for each in decays],
        "gradient_note": told.how_decayed(losses, inspected),
        "problems": [*problems, *unsettable, *too_many],
    }
    sentences = [
        told.answer(inspected, text, p),
        *inspected.remarks,
        *told.memory(arrays, state, halves, inspected),
        *told.saturation(saturated),
        *told.decided(decided, inspected, text),
        *told.clamped(clamped, loss, text, is_choice=p is not None),
        *told.decayed(decays),
        *told.followed(following, shown),
    ]
    values["sentences"] = sentences
    kept = {array.name.replace(" ", "."): array.values for array in arrays}
    kept |= {f"contribution_{name}": each for name, each in of_units.items()}
    kept |= {"gradient_times_input": decided.gradient, "left_out": decided.left_out}
    return Look(values, kept, of_units[state], not too_many, sentences)


def contributions_of(inspected: Inspected) -> NDArray[np.float64]:
    """What the units of the memory contribute to the answer after every step, [L, D, T, H]."""
    time = int(inspected.lengths[0])
    rows, lengths = inspected.inputs[:1, :time].detach(), inspected.lengths[:1]
    with torch.no_grad():
        trace = inspected.encoder.trace(inspected.encoded(rows, lengths), lengths=lengths)
        assert isinstance(trace.outputs, Tensor)
        answer = inspected.answer(inspected.read(trace.outputs, rows, lengths)[0])
    state = memory_state(trace.kept, inspected.encoder.cell.states)
    return state_contributions(inspected, {state: trace.arrays[state]}, answer)[state]


def memory_state(kept: Mapping[str, Any], states: Sequence[str]) -> str:
    """The state that is the memory: the last one of which a share is carried over, else the hidden state."""
    carried = [state for state in states if state in kept]
    return carried[-1] if carried else states[0]


def _shown(arrays: Sequence[Array]) -> dict[tuple[int, int], list[int]]:
    """The units of each layer and direction that the page has room for."""
    states = [array for array in arrays if array.kind == "state"]
    layers, directions, time, hidden = states[-1].values.shape
    count = units_that_fit(hidden, time, len(arrays), layers, directions)
    if count == hidden:
        return {place: list(range(hidden)) for place in np.ndindex(layers, directions)}
    return {
        place: most_varied(
            [array.values[place] for array in states if array.values.shape[-1] == hidden], count
        ).tolist()
        for place in np.ndindex(layers, directions)
    }


def _coded(
    array: Array, arrays: Sequence[Array], shown: Mapping[tuple[int, int], list[int]]
) -> dict[str, Any]:
    """An array for the page; what is kept, where a gate says it, has that gate's values."""
    scale = scale_of([array.values], array.bounds)
    found = {"name": array.name, "meaning": array.meaning, "kind": array.kind, "scale": list(scale)}
    gate = same_gate(array, arrays)
    if gate is not None:
        return {**found, "same": gate}
    blocks = [
        [packed(_columns(values, shown[layer, d]), scale) for d, values in enumerate(row)]
        for layer, row in enumerate(array.values)
    ]
    return {**found, "blocks": blocks}


def _columns(values: NDArray[Any], units: list[int]) -> NDArray[Any]:
    """The values [T, U] of some units; a projected state has fewer than the gates."""
    chosen: NDArray[Any] = values[:, [unit for unit in units if unit < values.shape[1]]]
    return chosen


def _units(
    arrays: Sequence[Array], shown: Mapping[tuple[int, int], list[int]], hidden: int
) -> list[list[dict[str, Any]]]:
    state = [array for array in arrays if array.kind == "state" and array.values.shape[-1] == hidden][-1]
    layers, directions = state.values.shape[:2]
    return [
        [
            {
                "numbers": shown[layer, direction],
                "order": similar_order(state.values[layer, direction][:, shown[layer, direction]]).tolist(),
                "of": hidden,
            }
            for direction in range(directions)
        ]
        for layer in range(layers)
    ]


def _half_lives(arrays: Sequence[Array], state: str) -> list[list[HalfLife]]:
    (kept,) = [array for array in arrays if array.name == f"kept {state}"]
    return [
        [half_life(values, reverse=direction == 1) for direction, values in enumerate(layer)]
        for layer in kept.values
    ]


def _by_place(values: NDArray[Any], of: Callable[[NDArray[Any]], Any]) -> list[list[Any]]:
    """What a function gives of each layer and direction."""
    return [[of(direction) for direction in layer] for layer in values]


def _memory(
    state: str, halves: Sequence[Sequence[HalfLife]], shown: Mapping[tuple[int, int], list[int]]
) -> dict[str, Any] | None:
    if not halves:
        return None
    half = [
        [
            {name: numbers(getattr(each, name)[shown[layer, d]]) for name in ("median", "low", "high")}
            for d, each in enumerate(row)
        ]
        for layer, row in enumerate(halves)
    ]
    return {"state": state, "half": half}


def _saturated(
    name: str, places: list[list[Any]], shown: Mapping[tuple[int, int], list[int]]
) -> dict[str, Any]:
    shares = {"below": 0, "above": 1}
    return {
        "name": name,
        **{
            side: [
                [numbers(each[index][shown[layer, d]], 3) for d, each in enumerate(row)]
                for layer, row in enumerate(places)
            ]
            for side, index in shares.items()
        },
    }


def _row(each: Any) -> dict[str, Any]:
    values = dict(vars(each))
    return {**values, "loss": _short(each.loss), "probability": _short(each.probability)}


def _curve(each: Any) -> dict[str, Any]:
    curve = {name: numbers(np.array(getattr(each, name)), 3) for name in ("median", "low", "high")}
    place = {"state": each.state, "layer": each.layer, "direction": each.direction}
    return {**place, "distance": each.distance, **curve}


def _short(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
