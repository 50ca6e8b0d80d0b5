"""What was found, in plain sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatewise.inspection.arrays import Array, same_gate
from gatewise.inspection.clamps import Clamped
from gatewise.inspection.contributions import Contributions
from gatewise.inspection.gradients import Reach
from gatewise.inspection.memory import HalfLife
from gatewise.inspection.own_units import LEVEL
from gatewise.inspection.saturation import EDGE
from gatewise.inspection.standardised import Floats
from gatewise.inspection.words import FULL_STOPS, Kept, Marks, sentences
from gatewise.settings import one_line
from gatewise.tasks.followed import ENDS
from gatewise.tasks.inspected import Inspected

LINE_ENDS = Marks("line end", "line ends")
_MOST_NAMED = 3


def answer(inspected: Inspected, text: str, probability: float | None) -> str:
    """What the model answers, and how sure it is."""
    count = len(inspected.names[0])
    steps = (
        f"{count:,} {inspected.step if inspected.step != 'time' else 'time step'}{'s' if count > 1 else ''}"
    )
    if probability is None:
        return f"After {steps} the model's nearest {inspected.title} is {quoted(text)}."
    what = inspected.title.partition(",")[0]
    return (
        f"After {steps} the most probable {what} is {quoted(text)}, with probability {number(probability)}."
    )


def memory(
    arrays: Sequence[Array], state: str, halves: Sequence[Sequence[HalfLife]], inspected: Inspected
) -> list[str]:
    """How long the memory lasts, and what is kept of it where a sentence or a line ends."""
    if not halves:
        return [f"Nothing of {state} is carried over directly: the cell writes all of it anew at every step."]
    if len(inspected.names[0]) == 1:
        return ["The input is one step only, over which nothing can be remembered."]
    (kept,) = [array for array in arrays if array.name == f"kept {state}"]
    gate = same_gate(kept, arrays)
    name = state if gate is None else f"{state} ({gate} is what is kept)"
    lines = []
    layers = []
    for (layer, direction), half in _places(halves):
        where = place(layer, direction)
        lines.append(_lasting(half, name, where))
        layers.append(Kept(where, kept.values[layer][direction], direction == 1))
    names = inspected.names[0]
    if inspected.step == "token":
        stops = [step for step, token in enumerate(names) if token in ENDS]
        ends = [step for step, token in enumerate(names) if token in ("\n", "<eos>")]
        marks, kind = (ends, LINE_ENDS) if ends and not stops else (stops, FULL_STOPS)
        lines += sentences(layers, names, marks, kind)
    return lines


def _lasting(half: HalfLife, name: str, where: str) -> str:
    reached = np.isfinite(half.median)
    count = len(half.median)
    if not reached.any():
        return f"No unit of {where} has lost half of its {name} within the input, at the median start."
    # Of all units: a unit that never loses half lies above every one that does.
    in_order = np.sort(half.median)  # NaN last
    known = int((~np.isnan(in_order)).sum())
    low, median, high = (in_order[max(0, math.ceil(share * known) - 1)] for share in (0.25, 0.5, 0.75))
    longer = count - int(reached.sum())
    if not math.isfinite(median):
        return (
            f"At the median unit half or more of what {where} holds in {name} is there to the end; so it is "
            f"in {longer} of {count} units."
        )
    rest = "" if reached.all() else f"; {longer} of {count} keep half or more to the end"
    steps = f"{number(median)} step{'' if median == 1 else 's'}"
    upper = number(high) if math.isfinite(high) else "the end of the input"
    return (
        f"Half of what {where} holds in {name} is gone after {steps} at the median unit "
        f"(quartiles {number(low)} and {upper}){rest}."
    )


def saturation(saturated: Mapping[str, list[list[Any]]]) -> list[str]:
    """How often each gate is nearly shut or nearly open, over all units of a layer."""
    parts = []
    for name, places in saturated.items():
        for (layer, direction), each in _places(places):
            shut, opened = (percent(float(np.nanmean(share))) for share in (each.below, each.above))
            parts.append(
                f"{name} of {place(layer, direction)} is below {EDGE:g} at {shut} and above "
                f"{1 - EDGE:g} at {opened}"
            )
    return [f"Of all steps and units, {'; '.join(parts)}."] if parts else []


def decided(found: Contributions, inspected: Inspected, text: str) -> list[str]:
    """Which steps spoke most for and against the answer."""
    values, how = found.left_out, "leaving it out"
    if not np.isfinite(values).any():
        values, how = found.gradient, "gradient times input"
    order = np.argsort(-np.nan_to_num(np.abs(values)), kind="stable")[:_MOST_NAMED]
    told = [f"{_named(inspected, step)} ({number(values[step], sign=True)})" for step in order]
    what = "logarithm of its probability" if inspected.step != "time" else "forecast, in standard deviations"
    line = f"What matters most for {quoted(text)}: {listed(told)}; by {how}, what each adds to the {what}."
    if math.isfinite(found.agreement):
        line += (
            f" Over the steps that were left out, gradient times input correlates with it at "
            f"{number(found.agreement)}."
        )
    return [line]


def weighed(weights: Floats, inspected: Inspected) -> str:
    """Which steps the pooling looks at most."""
    order = np.argsort(-weights, kind="stable")[:_MOST_NAMED]
    told = [f"{_named(inspected, step)} ({percent(float(weights[step]))})" for step in order]
    even = percent(1 / len(weights))
    return (
        f"The attention of the pooling is most on {listed(told)}; {even} each would be even. What a step "
        f"adds to the answer is another thing: see what leaving it out changes."
    )


def clamped(rows: Sequence[Clamped], loss: float, text: str, is_choice: bool) -> list[str]:
    """Which gate matters most for the loss, and which unit."""
    lines = []
    whole = [row for row in rows if row.unit is None and math.isfinite(row.loss)]
    single = [row for row in rows if row.unit is not None and math.isfinite(row.loss)]
    for kind, choices in (("gate", whole), ("gate of a single unit", single)):
        if not choices:
            continue
        most = max(choices, key=lambda row: abs(row.loss - loss))
        unit = "" if most.unit is None else f"unit {most.unit} of "
        value = "its mean over the steps" if most.value == "mean" else most.value
        then = "the answer stays" if most.answer == text else f"the answer becomes {quoted(most.answer)}"
        lines.append(
            f"The {kind} that matters most is {most.name} of {unit}{place(most.layer, most.direction)}: "
            f"held at {value}, the loss goes from {number(loss)} to {number(most.loss)}, and {then}."
        )
    changed = sum(row.answer != text for row in single)
    if single and is_choice:
        lines.append(
            f"Of {len(single)} clamps of a single unit's gate, {changed or 'none'} changed the answer."
        )
    return lines


def decayed(decays: Sequence[Reach]) -> list[str]:
    """How far back the gradient of a loss reaches."""
    lines = []
    for each in decays:
        norms = np.array(each.median)
        if len(norms) < 2 or not norms[0] > 0:
            continue
        last = each.distance[-1]
        small = [d for d, norm in zip(each.distance, norms, strict=True) if norm < norms[0] / 100]
        fell = (
            f"falls below a hundredth of that after {_steps(small[0])}"
            if small
            else "stays above a hundredth"
        )
        lines.append(
            f"The gradient of the loss with respect to {each.state} of {place(each.layer, each.direction)}, "
            f"compared with that at the step of the loss, {fell}; {_steps(last)} back it is "
            f"{number(norms[-1] / norms[0])} times as large (median)."
        )
    return lines


def followed(values: Mapping[str, Any], shown: Mapping[tuple[int, int], list[int]]) -> list[str]:
    """The unit that follows a feature most, if chance would not do as much."""
    if "problem" in values:
        return []
    pairs = [
        (abs(r), r, holm, feature, shown[where][unit], place(*where))
        for where, each in _places(values["units"])
        for feature, *rows in zip(values["features"], each["r"], each["holm"], strict=True)
        for unit, (r, holm) in enumerate(zip(*rows, strict=True))
        if r is not None and holm is not None
    ]
    beyond = [pair for pair in pairs if pair[2] <= LEVEL]
    start = f"Over {values['steps']:,} steps of the run's own data"
    if not pairs:
        return []
    _, r, p, feature, unit, where = max(beyond or pairs)
    found = f"unit {unit} of {where} and “{feature}”, r = {number(r)}, p = {number(p)}"
    if not beyond:
        few = ": so few steps cannot show more" if values["too_few"] else ""
        return [
            f"{start} no unit follows a feature more than chance may make{few}; the strongest pair are "
            f"{found} after Holm's correction over all units."
        ]
    return [
        f"{start} {len(beyond)} of {len(pairs)} pairs of a unit and a feature go together more than chance "
        f"makes, after Holm's correction over all units; most of all {found}."
    ]


def how_decided(inspected: Inspected, found: Contributions) -> str:
    """How the contributions were computed."""
    tried = int(np.isfinite(found.left_out).sum())
    of = "the logarithm of the answer's probability" if inspected.step != "time" else "the nearest forecast"
    note = f"Gradient of {of} times the input of each step, summed over its features"
    if not tried:
        return f"{note}."
    rest = "" if tried == len(found.left_out) else f" for {tried} of {len(found.left_out):,} steps"
    return f"{note}; and the change of it when the step is left out, computed anew{rest}."


def how_clamped(inspected: Inspected, gates: int, units: int) -> str:
    """What was held, and what the loss is."""
    if not gates:
        return "The cell shows no gate between 0 and 1 that could be held."
    note = "Each gate of each layer and direction is held at 0, at 1 and at each unit's mean over the steps"
    if units:
        note += (
            f"; then, one at a time, each gate of the {units} units whose memory contributes most, by "
            f"|gradient × state|"
        )
    known = any(inspected.has_truth(step + 1) for step in range(len(inspected.names[0])))
    last = inspected.has_truth(len(inspected.names[0]))
    if inspected.at_every_step and known:
        return f"{note}. The loss is the mean over all tokens whose next one is known, in nats."
    if inspected.step == "time":
        if last:
            return f"{note}. The loss is the mean squared error of the forecast."
        return (
            f"{note}. What comes after the input is not in the file, so the loss is the mean squared change "
            f"of the forecast, in units of the training variance."
        )
    of = "right answer" if last else "answer without a clamp, as the right one is not known"
    return f"{note}. The loss is the negative logarithm of the probability of the {of}."


def how_decayed(losses: int, inspected: Inspected) -> str:
    """What the gradients are of."""
    many = (
        f"the losses after {losses} steps, each by a run up to it"
        if losses > 1
        else "one loss, by a run of the steps up to it"
    )
    return (
        f"Norm over the units of the gradient of {many}; distance counts from the step of the loss back"
        + (
            ", in the reverse direction from the first step on."
            if inspected.encoder.num_directions > 1
            else "."
        )
    )


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def place(layer: int, direction: int) -> str:
    """A layer and direction as a sentence names it; they are counted from 0, as in Python."""
    return f"layer {layer}" + (" (read from the end)" if direction else "")


def _named(inspected: Inspected, step: int) -> str:
    name = quoted(inspected.names[0][step])
    return f"frame {step}" if inspected.step == "frame" else f"{name} at step {step}"


def quoted(text: str) -> str:
    """A name in a sentence, on one line."""
    return f"“{one_line(text)[:60]}”"


def listed(parts: Sequence[str]) -> str:
    """Parts as a sentence lists them."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def number(value: float, sign: bool = False) -> str:
    """Three digits."""
    return f"{value:{'+' if sign else ''}.3g}"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.3g} %"


def _places(values: Sequence[Sequence[Any]]) -> list[tuple[tuple[int, int], Any]]:
    return [((i, d), each) for i, row in enumerate(values) for d, each in enumerate(row)]
