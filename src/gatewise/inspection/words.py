"""What a memory did at chosen steps, such as the full stops of a text, in plain words with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gatewise.inspection.follows import LEVEL, follow, holm
from gatewise.inspection.memory import kept_product
from gatewise.inspection.standardised import Floats
from gatewise.settings import one_line

NEARLY_NOTHING = 0.1
"""A unit that keeps less has been cut."""
_MOST_LISTED = 6
_LONGEST_NAME = 24


class Kept(NamedTuple):
    """The share of its memory that every unit of one layer and direction keeps."""

    where: str
    """As it stands in a sentence: ``layer 1``, ``layer 2 (read from the end)``."""
    values: Floats
    """[T, U], without padding."""
    reverse: bool = False
    """Whether this direction reads from the end of the input."""


class Marks(NamedTuple):
    """What the chosen steps are called."""

    one: str
    many: str


FULL_STOPS = Marks("full stop", "full stops")


def sentences(
    layers: Sequence[Kept], names: Sequence[str], marked: Sequence[int], marks: Marks = FULL_STOPS
) -> list[str]:
    """What each layer kept at the marked steps, compared with the other steps.

    For every layer: the mean over its units of the share they keep at the marked steps and at the others, and
    whether chance would differ as much, by shifting the marks in a circle along the input (see ``follow``)
    with Holm's correction over the layers; how many units keep less than a tenth there; and what is left,
    where the layer stops reading, of what it held just before the first mark that has a step before it.
    Steps count from 0.

    Args:
        names: what stands at each step, T of them.
        marked: numbers of the marked steps, 0 to T - 1.
    """
    chosen = sorted(set(marked))
    if not chosen:
        return [f"The input has no {marks.one}, so there is none to compare with other steps."]
    if chosen[0] < 0 or chosen[-1] >= len(names):
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise ValueError(
            f"marked step {wrong} is none of the {len(names)} steps: choose 0 to {len(names) - 1}"
        )
    kept = [layer._replace(values=np.abs(np.asarray(layer.values, dtype=np.float64))) for layer in layers]
    if len(chosen) == len(names):
        means = _listed([f"{layer.where} {_percent(layer.values.mean())}" for layer in kept])
        every = (
            f"All {len(names)} steps are {marks.many}"
            if len(names) > 1
            else f"The only step is a {marks.one}"
        )
        return [
            f"{every}, so there is no other step to compare with. Kept of the memory on average: {means}."
        ]
    tests = [[_p(layer.values.mean(1), chosen), _p(_cut(layer), chosen)] for layer in kept]
    corrected = holm(np.array(tests)).tolist()
    results = []
    for layer, (p, p_of_cut) in zip(kept, corrected, strict=True):
        results.append(_at_marks(layer, chosen, marks, p, len(layers)))
        results.append(_cut_units(layer, chosen, p_of_cut, len(layers)))
        results.append(_left_at_the_end(layer, names, chosen, marks))
    return results


def _at_marks(layer: Kept, chosen: Sequence[int], marks: Marks, p: float, tests: int) -> str:
    """What is kept there and elsewhere, and what to think of the difference."""
    means = layer.values.mean(1)
    there, elsewhere = means[chosen], np.delete(means, chosen)
    steps = len(means)
    if len(chosen) == 1:
        place = f"the {marks.one} (step {chosen[0]})"
        on_average = ("", " on average")
    else:
        place = f"the {len(chosen)} {marks.many} (steps {_listed(list(map(str, chosen)))})"
        on_average = (" on average", "")
    others = "other step" if len(elsewhere) == 1 else "other steps"
    on_average = on_average if len(elsewhere) > 1 else (on_average[0], "")
    fact = (
        f"At {place} {layer.where} keeps {_percent(there.mean())} of its memory{on_average[0]}, "
        f"at the {others} {_percent(elsewhere.mean())}{on_average[1]}"
    )
    if np.isnan(p):
        return f"{fact}: it keeps the same at every step."
    less = there.mean() < elsewhere.mean()
    if p <= LEVEL:
        return f"{fact}: that is unusually {'little' if less else 'much'} ({_written(p, tests)})."
    short = tests / steps > LEVEL  # no p can come out small enough
    if len(chosen) > 1 and short and p <= 2 * tests / steps:
        return f"{fact}: {steps} steps are too few to tell that from chance ({_written(p, tests)})."
    if len(chosen) > 1:
        return f"{fact}: that is nothing special ({_written(p, tests)})."
    fewer = int((elsewhere < there[0]).sum())
    extreme = fewer == 0 if less else not (elsewhere > there[0]).any()
    if extreme and short:
        word, nearest = ("less", elsewhere.min()) if less else ("more", elsewhere.max())
        after_it = f" (the next {_percent(nearest)})" if len(elsewhere) > 1 else ""
        return (
            f"{fact}: no other step keeps {word}{after_it}, but of {steps} steps one has to, "
            "so this alone shows little."
        )
    keeping = "keeps" if fewer == 1 else "keep"
    return f"{fact}: that is nothing special ({fewer or 'none'} of {len(elsewhere)} {others} {keeping} less)."


def _cut(layer: Kept) -> Floats:
    """[T]: how many units keep less than a tenth."""
    counts: Floats = (layer.values < NEARLY_NOTHING).sum(1).astype(np.float64)
    return counts


def _cut_units(layer: Kept, chosen: Sequence[int], p: float, tests: int) -> str:
    """How many units keep less than a tenth there and elsewhere."""
    cut = _cut(layer)
    limit = _percent(NEARLY_NOTHING)
    if not cut.any():
        return f"No unit of {layer.where} keeps less than {limit} at any step."
    there, elsewhere = cut[chosen], np.delete(cut, chosen)
    others = "other steps" if len(elsewhere) > 1 else "other step"
    keep = _have(there.mean(), layer.values.shape[1], ("keeps", "keep"))
    if len(chosen) > 1:
        verdict = "the same at every step" if np.isnan(p) else _written(p, tests)
        average = _number(elsewhere.mean())
        return f"There {keep} less than {limit} on average, at the {others} {average} ({verdict})."
    as_many = int((elsewhere >= there[0]).sum())
    elsewhere_too = f"{_number(elsewhere.mean())}{' on average' if len(elsewhere) > 1 else ''}"
    if len(elsewhere) == 1:
        verdict = f"which is {'no fewer' if as_many else 'fewer'}"
    else:
        verdict = (
            f"{as_many or 'none'} of {len(elsewhere)} {others} {'has' if as_many == 1 else 'have'} as many"
        )
    return f"There {keep} less than {limit}, at the {others} {elsewhere_too} ({verdict})."


def _left_at_the_end(layer: Kept, names: Sequence[str], chosen: Sequence[int], marks: Marks) -> str:
    """What is left of the memory from just before the first mark that a layer reads."""
    steps, units = layer.values.shape
    earlier = 1 if layer.reverse else -1
    having = [t for t in chosen if 0 <= t + earlier < steps and t + earlier not in chosen]
    if not having:
        return f"Nothing comes before the {marks.one} for {layer.where}, so there is no memory for it to cut."
    mark = max(having) if layer.reverse else min(having)
    start, end = mark + earlier, 0 if layer.reverse else steps - 1
    left = kept_product(layer.values, start, reverse=layer.reverse)[end]
    read = layer.values[:start] if layer.reverse else layer.values[start + 1 :]
    ordinary = np.delete(layer.values, chosen, axis=0).mean(0)
    without = np.delete(read, len(read) - 1 if layer.reverse else 0, axis=0).prod(0) * ordinary
    where = "at the beginning, where it stops reading" if layer.reverse else "at the end"
    where = f"after the {marks.one}, the last step it reads" if len(read) == 1 else where
    most = _have(float((left > 0.5).sum()), units, ("has", "have"))
    which = f"first {marks.one}" if len(chosen) > 1 else marks.one
    return (
        f"Of what {layer.where} held just before the {which} (step {start}, “{_name(names[start])}”) "
        f"{_percent(left.mean())} is left {where}, on average over its units; with an ordinary step in the "
        f"place of that {marks.one} it would be {_percent(without.mean())}. "
        f"{most[0].upper()}{most[1:]} more than one half."
    )


def _have(count: float, units: int, verb: tuple[str, str]) -> str:
    """So many of the units do what the verb says: ``1 of its 64 units keeps``."""
    if units == 1 and count in (0, 1):
        return f"its only unit {verb[0]}" if count else f"not even its only unit {verb[0]}"
    if count == units:
        return f"all its {units} units {verb[1]}"
    return f"{_number(count)} of its {units} units {verb[0] if count == 1 else verb[1]}"


def _p(values: Floats, chosen: Sequence[int]) -> float:
    """Of the shift test of marks and values, [T]; NaN where the values are all the same."""
    indicator = np.zeros((len(values), 1))
    indicator[list(chosen)] = 1.0
    return float(follow(np.asarray(values, dtype=np.float64)[:, None], indicator, [len(values)]).p[0, 0])


def _percent(share: float) -> str:
    """As a person would write it: 62 %, 3.1 %, less than 0.1 %."""
    percent = 100 * float(share)
    if 0 < percent < 0.1:
        return "less than 0.1 %"
    if 99.5 <= percent < 100:
        return "nearly 100 %"
    text = f"{percent:.1f}" if percent < 9.95 else f"{percent:.0f}"
    return f"{text.removesuffix('.0')} %"


def _number(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "fewer than 0.1" if text == "0" and value > 0 else "none" if text == "0" else text


def _written(p: float, tests: int) -> str:
    return f"p = {p:.2g}" + (f", Holm's correction over {tests} tests" if tests > 1 else "")


def _listed(parts: Sequence[str]) -> str:
    """In a sentence, those in the middle of a long list left out: ``1, 2 and 3``."""
    if len(parts) > _MOST_LISTED:
        return f"{', '.join(parts[: _MOST_LISTED - 1])} … {parts[-1]}"
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _name(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"
