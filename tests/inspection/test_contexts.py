"""The steps at which units are strongest, with what stands around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.inspection.contexts import Context, strongest


def test_the_largest_values_in_either_direction() -> None:
    values = np.zeros((30, 1))
    values[[4, 12, 25], 0] = [0.5, -0.9, 0.7]
    found = strongest(values, [20, 10], count=3, before=2, after=1)
    assert found == [[Context(10, 12, 14, -0.9), Context(23, 25, 27, 0.7), Context(2, 4, 6, 0.5)]]


def test_contexts_stay_within_their_sequence() -> None:
    values = np.array([[0.0], [0.0], [0.9], [0.8], [0.0]])
    assert strongest(values, [3, 2], count=2, before=5, after=5) == [
        [Context(0, 2, 3, 0.9), Context(3, 3, 5, 0.8)]
    ]


def test_both_ways() -> None:
    values = np.array([[0.9], [0.1], [0.6], [-0.2], [0.3], [-0.1]])
    chosen = strongest(values, [6], count=3, before=0, after=0, both_ways=True)[0]
    assert [context.step for context in chosen] == [0, 2, 3]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 15), min_size=1, max_size=5), st.booleans())
def test_laws(seed: int, lengths: list[int], both_ways: bool) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(sum(lengths), 3))
    values[generator.random(values.shape) < 0.1] = np.nan
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    for unit, found in enumerate(strongest(values, lengths, count=4, before=2, after=1, both_ways=both_ways)):
        shown = [step for context in found for step in range(context.first, context.stop)]
        assert len(shown) == len(set(shown))
        for context in found:
            assert context.value == values[context.step, unit]
            assert context.first <= context.step < context.stop <= context.step + 2
            assert len(set(sequence[context.first : context.stop])) == 1
        column = np.abs(values[:, unit])
        if not both_ways and not np.isnan(column).all():
            strengths = [abs(context.value) for context in found]
            assert strengths[0] == np.nanmax(column)
            assert strengths == sorted(strengths, reverse=True)


def test_nothing_to_choose_from() -> None:
    assert strongest(np.zeros((0, 2)), []) == [[], []]
    assert strongest(np.full((3, 1), np.nan), [3]) == [[]]


def test_lengths_must_be_those_of_the_steps() -> None:
    with pytest.raises(ValueError, match="5 steps, but lengths of 4 in all"):
        strongest(np.zeros((5, 1)), [4])
