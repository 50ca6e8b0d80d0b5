"""All that an inspection finds in one sequence and a trained model, as the page has it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.inspection import told
from gatewise.inspection.arrays import Array, equations, named, same_gate
from gatewise.inspection.clamps import clamp, contributions, most_important, settable
from gatewise.inspection.coding import most_varied, numbers, packed, scale_of, units_that_fit
from gatewise.inspection.contributions import contribute
from gatewise.inspection.decay import decay, lengths_of_losses
from gatewise.inspection.memory import HalfLife, half_life
from gatewise.inspection.own_data import OwnSteps
from gatewise.inspection.own_units import Correlated, correlated, follows
from gatewise.inspection.passes import by_layer, first_row, state_gradients, traced
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
    """Every array of the trace whole, [L, D, T, H], and what the page tells of each step.

    Where the sizes of layers differ there is one [D, T, H] for each, as in ``f.layer0``.
    """
    contributions: list[NDArray[np.float64]]
    """Of each unit of the memory to the answer, [D, T, H] of each layer."""
    is_whole: bool
    """Whether the page has every unit."""
    sentences: list[str] = field(default_factory=list)
    """What was found, in words; the page has before them what a reader of its names has to know."""


def check_memory(inspected: Inspected) -> None:
    """Raise ValueError, with the number of steps that fit, for an input that takes more than the memory."""
    cell, sizes = inspected.encoder.cell, inspected.sizes
    arrays = len(cell.gates) + 3 * len(cell.states)
    directions = inspected.encoder.num_directions
    each = sum(sizes) * directions * arrays * BYTES_OF_A_VALUE
    time, there = int(inspected.lengths[0]), memory()
    if time * each > there:
        units = (
            f"{sizes[0]} units × {arrays} arrays × {len(sizes) * directions} layers and directions"
            if len(set(sizes)) == 1
            else f"{sum(sizes) * directions} units of all layers and directions × {arrays} arrays"
        )
        raise ValueError(
            f"{time:,} steps × {units} take {in_words(time * each)}, but there are {in_words(there)}: give "
            f"at most {there // each:,} steps"
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
    rows, lengths = first_row(inspected)
    with torch.no_grad():
        traces, outputs = traced(inspected)
        scores = inspected.read(outputs, rows, lengths)
        answer = inspected.answer(scores[0])
        loss = float(inspected.whole_loss(outputs, rows, lengths, answer))
        probability = inspected.probability(scores, answer)
        weights = None if inspected.weights is None else inspected.weights(outputs, lengths)[0].numpy()
    arrays = named(traces, encoder.cell.innermost)
    computed = by_layer([trace.arrays for trace in traces])
    state = memory_state(traces[0].kept, encoder.cell.states)
    shown = _shown(arrays, inspected.sizes)
    with ThreadPoolExecutor(1) as pool:  # half of the work, for a second core: most of it needs no Python
        correlating = None if own is None else pool.submit(_correlated, own, state)
        deciding = pool.submit(contribute, inspected, answer)
        predicting = pool.submit(predict, inspected, outputs)
        coding = pool.submit(lambda: [_coded(array, arrays, shown) for array in arrays])
        losses = lengths_of_losses(inspected)
        gradients = state_gradients(inspected, answer, losses)
        decays = decay(gradients.losses, losses, encoder.num_directions)
        of_units = contributions(gradients.score, {name: computed[name] for name in encoder.cell.states})
        important = most_important(of_units[state])
        gates, unsettable = settable(
            inspected, {array.name: computed[array.name] for array in arrays if array.kind == "gate"}
        )
        clamped, units = clamp(inspected, gates, answer, important[:MOST_UNITS_CLAMPED])
        halves = _half_lives(arrays, state) if state in traces[0].kept else []
        saturated = {a.name: _by_place(a.values, saturation) for a in arrays if a.kind == "gate"}
        ordered = _units(arrays, shown, inspected.sizes)
    decided, predictions, coded = deciding.result(), predicting.result(), coding.result()
    following: dict[str, Any] = {"problem": "The run's own data are not there."}
    if correlating is not None:
        try:
            following = follows(correlating.result(), state, shown, important)
        except ValueError as error:
            following = {"problem": f"What the units follow is not shown: {error}"}
    too_many = _left_out(time, shown, inspected.sizes)
    text = inspected.in_words(answer)
    p = None if probability is None else float(probability)
    values = {
        "cell": inspected.stack[0].cell_name,
        "equations": equations(encoder.cell.innermost),
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "layers": len(inspected.sizes),
        "directions": encoder.num_directions,
        "hidden": inspected.sizes[0] if len(set(inspected.sizes)) == 1 else inspected.sizes,
        "steps": time,
        "step": inspected.step,
        "names": list(inspected.names[0][:time]),
        "words": None if inspected.words is None else [list(word) for word in inspected.words],
        "arrays": coded,
        "units": ordered,
        "memory": _memory(state, halves, shown),
        "saturation": [_saturated(name, places, shown) for name, places in saturated.items()],
        "predictions": {
            "title": inspected.title,
            "steps": [[[name, _short(value)] for name, value in step] for step in predictions.named],
            "actual": [inspected.actual(step) for step in range(time)],
            "surprise": [_short(value) for value in predictions.surprise],
            "note": predictions.note,
            "of_next": inspected.at_every_step,
        },
        "decided": {
            "answer": text,
            "title": inspected.title,
            "gradient": numbers(decided.gradient),
            "left_out": numbers(decided.left_out) if np.isfinite(decided.left_out).any() else None,
            "attention": None if weights is None else numbers(weights),
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
        "gradient_note": told.how_decayed(len(losses), inspected),
        "problems": [*problems, *unsettable, *too_many],
    }
    sentences = [
        told.answer(inspected, text, p),
        *told.memory(arrays, state, halves, inspected),
        *told.saturation(saturated),
        *told.decided(decided, inspected, text),
        *([] if weights is None else [told.weighed(weights, inspected)]),
        *told.clamped(clamped, loss, text, is_choice=p is not None),
        *told.decayed(decays),
        *told.followed(following, shown),
    ]
    values["sentences"] = [*inspected.remarks, *sentences]
    kept = _whole({array.name.replace(" ", "."): array.values for array in arrays})
    kept |= _whole({f"contribution_{name}": layers for name, layers in of_units.items()})
    kept |= {"gradient_times_input": decided.gradient, "left_out": decided.left_out}
    return Look(values, kept, of_units[state], not too_many, sentences)


@torch.no_grad()
def _correlated(own: Callable[[str], OwnSteps], state: str) -> Correlated:
    return correlated(own(state))


def contributions_of(inspected: Inspected) -> list[NDArray[np.float64]]:
    """What the units of the memory contribute to the answer after every step, [D, T, H] of each layer."""
    rows, lengths = first_row(inspected)
    with torch.no_grad():
        traces, outputs = traced(inspected)
        answer = inspected.answer(inspected.read(outputs, rows, lengths)[0])
    state = memory_state(traces[0].kept, inspected.encoder.cell.states)
    values = by_layer([trace.arrays for trace in traces])
    return contributions(state_gradients(inspected, answer).score, {state: values[state]})[state]


def memory_state(kept: Mapping[str, Any], states: Sequence[str]) -> str:
    """The state that is the memory: the last one of which a share is carried over, else the hidden state."""
    carried = [state for state in states if state in kept]
    return carried[-1] if carried else states[0]


def _shown(arrays: Sequence[Array], sizes: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """The units of each layer and direction that the page has room for."""
    states = [array for array in arrays if array.kind == "state"]
    chosen = {}
    for layer, size in enumerate(sizes):
        directions, time, _ = states[-1].values[layer].shape
        count = units_that_fit(size, time, len(arrays), len(sizes), directions)
        for direction in range(directions):
            values = [state.values[layer][direction] for state in states]
            chosen[layer, direction] = (
                list(range(size))
                if count == size
                else most_varied([each for each in values if each.shape[-1] == size], count).tolist()
            )
    return chosen


def _left_out(time: int, shown: Mapping[tuple[int, int], list[int]], sizes: Sequence[int]) -> list[str]:
    """A line where the page has not all units."""
    lacking = {(len(units), sizes[layer]) for (layer, _), units in shown.items() if len(units) < sizes[layer]}
    if not lacking:
        return []
    if len(set(sizes)) > 1:
        counts = " and ".join(f"{count} of {size}" for count, size in sorted(lacking))
        which = f"{counts} units of a layer and direction"
    else:
        ((count, size),) = lacking
        which = f"{count} of {size} units of each layer and direction"
    return [f"Of {time:,} steps the page has room for {which}: those that vary most. The .npz file has all."]


def _whole(arrays: Mapping[str, list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays of layers as one by name, [L, D, T, H]; where sizes differ, one for each layer."""
    found: dict[str, NDArray[Any]] = {}
    for name, layers in arrays.items():
        if len({layer.shape for layer in layers}) == 1:
            found[name] = np.stack(layers)
        else:
            found |= {f"{name}.layer{number}": layer for number, layer in enumerate(layers)}
    return found


def _coded(
    array: Array, arrays: Sequence[Array], shown: Mapping[tuple[int, int], list[int]]
) -> dict[str, Any]:
    """An array for the page; what is kept, where a gate says it, has that gate's values."""
    scale = scale_of(array.values, array.bounds)
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
    arrays: Sequence[Array], shown: Mapping[tuple[int, int], list[int]], sizes: Sequence[int]
) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = [[] for _ in sizes]
    states = [array.values for array in arrays if array.kind == "state"]
    for (layer, direction), units in shown.items():
        size = sizes[layer]
        values = [state[layer][direction] for state in states if state[layer].shape[-1] == size][-1]
        order = similar_order(values[:, units]).tolist()
        found[layer].append({"numbers": units, "order": order, "of": size})
    return found


def _half_lives(arrays: Sequence[Array], state: str) -> list[list[HalfLife]]:
    (kept,) = [array for array in arrays if array.name == f"kept {state}"]
    return [
        [half_life(values, reverse=direction == 1) for direction, values in enumerate(layer)]
        for layer in kept.values
    ]


def _by_place(values: Sequence[NDArray[Any]], of: Callable[[NDArray[Any]], Any]) -> list[list[Any]]:
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
