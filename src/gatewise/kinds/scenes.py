"""Scenes of a few coloured shapes, and the sentences of a small grammar that are true of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SIZES = ("small", "large")
CELLS = 3
"""Rows and columns that a picture has places in."""
NONE = -1
"""Stands for every number of a thing that is not there."""
_OPPOSITES = (("left of", "right of"), ("above", "below"))
RELATIONS = tuple(itertools.chain(*_OPPOSITES))
_THING = rf"a (?:({'|'.join(SIZES)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_THINGS = re.compile(_THING)
_RELATED = re.compile(rf"(?:there is )?{_THING} (?:is )?({'|'.join(RELATIONS)}) {_THING}")
_LISTED = re.compile(rf"(?:there is |there are )?{_THING}(?:(?:, | and ){_THING})*")


class Thing(NamedTuple):
    """A shape of a scene, each field an index, or what a sentence says of one: None where it does not say."""

    shape: int | None
    colour: int | None
    size: int | None
    column: int | None = None
    """Of the place, from the left."""
    row: int | None = None
    """From above."""


FIELDS = len(Thing._fields)


def things_of(scene: Sequence[Sequence[int]]) -> list[Thing]:
    """The things of a scene [K, 5], whose rows of ``NONE`` are no things."""
    return [Thing(*numbers) for numbers in scene if numbers[0] != NONE]


def sentences(things: Sequence[Thing]) -> Iterator[str]:
    """Every sentence of the grammar about a scene, all of them true.

    Of one thing there is its name; of more, how any two are to each other, and all of them in any order. The
    sizes of all things of a sentence are named, or none.
    """
    for sized in (False, True):
        names = [named(thing, sized) for thing in things]
        for order in itertools.permutations(names):
            whole = order[0] if len(order) == 1 else f"{', '.join(order[:-1])} and {order[-1]}"
            yield whole
            yield f"there {'is' if len(order) == 1 else 'are'} {whole}"
        for first, second in itertools.permutations(range(len(things)), 2):
            for relation in RELATIONS:
                if holds(relation, things[first], things[second]):
                    yield f"{names[first]} {relation} {names[second]}"
                    yield f"{names[first]} is {relation} {names[second]}"
                    yield f"there is {names[first]} {relation} {names[second]}"


def named(thing: Thing, sized: bool) -> str:
    """A thing in words, as in ``a small red circle``."""
    assert thing.shape is not None
    assert thing.colour is not None
    assert thing.size is not None
    size = f"{SIZES[thing.size]} " if sized else ""
    return f"a {size}{COLOURS[thing.colour]} {SHAPES[thing.shape]}"


def holds(relation: str, first: Thing, second: Thing) -> bool:
    """Whether the first thing lies so in relation to the second: in another column, or in another row."""
    across = relation in _OPPOSITES[0]
    one, other = (first.column, second.column) if across else (first.row, second.row)
    assert one is not None
    assert other is not None
    return one < other if relation in ("left of", "above") else one > other


def is_true(sentence: str, scene: Sequence[Sequence[int]]) -> bool:
    """Whether a sentence of the grammar is true of a scene [K, 5]; one of another form is not.

    Each thing that it names has to be another one of the scene.
    """
    sentence = sentence.strip().lower().removesuffix(".")
    related = _RELATED.fullmatch(sentence)
    if related is None and _LISTED.fullmatch(sentence) is None:
        return False
    said = [_said(match) for match in _THINGS.finditer(sentence)]
    return any(
        all(_fits(each, thing) for each, thing in zip(said, chosen, strict=True))
        and (related is None or holds(related[4], chosen[0], chosen[1]))
        for chosen in itertools.permutations(things_of(scene), len(said))
    )


def _said(match: re.Match[str]) -> Thing:
    size, colour, shape = match.groups()
    return Thing(SHAPES.index(shape), COLOURS.index(colour), None if size is None else SIZES.index(size))


def _fits(said: Thing, thing: Thing) -> bool:
    return all(word is None or word == value for word, value in zip(said, thing, strict=True))
