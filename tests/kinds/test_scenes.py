"""The grammar of scenes: what it says is true, and truth is judged as by trying all, without a pattern."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.kinds.scenes import COLOURS, NONE, SHAPES, SIZES, is_true, sentences, things_of

thing = st.tuples(*(st.integers(0, n - 1) for n in (6, 6, 2, 3, 3)))
scene = st.lists(thing, min_size=1, max_size=3, unique_by=lambda t: (t[3], t[4])).map(
    lambda things: [list(t) for t in things] + [[NONE] * 5] * (3 - len(things))
)


@settings(max_examples=60, deadline=None)
@given(scene)
def test_every_sentence_about_a_scene_is_true_and_there_are_several(numbers):
    said = list(sentences(things_of(numbers)))
    assert len(said) >= 4
    assert [text for text in said if not is_true(text, numbers)] == []
    assert all(is_true(text.capitalize() + ".", numbers) for text in said)


def meant(text):
    """The things that a sentence names, and its relation, read word by word without a pattern."""
    words = text.replace(",", " ,").split()
    if words[:1] == ["there"]:
        words = words[2:]
    things, relation, at = [], None, 0
    while at < len(words):
        if words[at] == "a":
            size = words[at + 1] if words[at + 1] in SIZES else None
            at += 2 if size else 1
            things.append((words[at + 1], words[at], size))
            at += 2
        else:
            if words[at] in ("left", "right", "above", "below"):
                relation = words[at]
            at += 1
    return things, relation


def true_by_search(text, numbers):
    """Whether some assignment of the named things to those of the scene fits, tried one by one."""
    said, relation = meant(text)
    present = [t for t in numbers if t[0] != NONE]
    for chosen in itertools.permutations(range(len(present)), len(said)):
        fits = True
        for (shape, colour, size), index in zip(said, chosen, strict=True):
            own = present[index]
            fits &= (SHAPES[own[0]], COLOURS[own[1]]) == (shape, colour)
            fits &= size is None or SIZES[own[2]] == size
        if fits and relation is not None:
            (_, _, _, x1, y1), (_, _, _, x2, y2) = (present[index] for index in chosen)
            fits &= {"left": x1 < x2, "right": x1 > x2, "above": y1 < y2, "below": y1 > y2}[relation]
        if fits:
            return True
    return False


@settings(max_examples=100, deadline=None)
@given(scene, scene, st.randoms())
def test_a_sentence_of_another_scene_is_judged_as_by_trying_all(own, other, draw):
    text = draw.choice(list(sentences(things_of(other))))
    assert is_true(text, own) == true_by_search(text, own)


ONE_OF_EACH = [[0, 0, 0, 0, 0], [1, 2, 1, 2, 1], [NONE] * 5]
"""A small red circle at the top left, and a large blue square at the right."""


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("a small red circle left of a large blue square", True),
        ("a red circle is above a blue square", True),
        ("a blue square is above a red circle", False),
        ("a large red circle left of a blue square", False),
        ("a blue square and a red circle", True),
        ("a red circle and a red circle", False),  # there is one
        ("a red circle, a blue square and a green cross", False),
        ("a red circle", True),
        ("a red square", False),
        ("a red circle left of a blue square left of", False),
        ("red circle", False),
        ("there is a red circle left of", False),
        ("", False),
    ],
)
def test_what_is_true(text, truth):
    assert is_true(text, ONE_OF_EACH) is truth
