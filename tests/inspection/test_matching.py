"""Units of two models matched by what they contribute."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from gatewise.inspection.matching import match, matched_by_chance


def test_the_same_units_under_other_numbers_are_found() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(100, 8))
    places = generator.permutation(8)
    second = 3 * first[:, places] + 0.1 * generator.normal(size=(100, 8))
    pairs = match(first, second)
    assert {(pair.first, pair.second) for pair in pairs} == {(int(u), i) for i, u in enumerate(places)}
    strengths = [pair.r for pair in pairs]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[-1] > 0.99


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (5, 2)])
def test_no_other_pairing_correlates_more(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    first, second = (generator.normal(size=(12, size)) for size in sizes)
    r = np.corrcoef(first.T, second.T)[: sizes[0], sizes[0] :]
    r = r if sizes[0] <= sizes[1] else r.T
    best = max(sum(r[range(len(r)), order]) for order in permutations(range(max(sizes)), min(sizes)))
    pairs = match(first, second)
    assert len(pairs) == min(sizes)
    assert sum(pair.r for pair in pairs) == pytest.approx(best)


def test_constant_units_stay_unmatched() -> None:
    first, second = (np.random.default_rng(seed).normal(size=(20, 3)) for seed in (0, 1))
    first[:, 1], second[3, 0] = 0.5, np.inf
    pairs = match(first, second)
    assert {pair.first for pair in pairs} == {0, 2}
    assert {pair.second for pair in pairs} == {1, 2}
    assert match(np.ones((20, 2)), second) == []


def test_padding_is_left_out() -> None:
    first, second = (np.random.default_rng(seed).normal(size=(20, 3)) for seed in (0, 1))
    padding = np.full((4, 3), np.nan)
    assert match(np.concatenate([first, padding]), np.concatenate([second, padding])) == match(first, second)


def test_only_one_input_can_be_matched() -> None:
    with pytest.raises(ValueError, match="5 and 6 steps: units can only be matched on one input"):
        match(np.zeros((5, 2)), np.zeros((6, 2)))


def test_what_chance_gives() -> None:
    """Of many units on few steps the best pairs correlate highly whatever they are."""
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(12, 40)), generator.normal(size=(12, 40))
    by_chance = matched_by_chance(first, second)
    assert by_chance > 0.5
    assert np.mean([pair.r for pair in match(first, second)]) == pytest.approx(by_chance, abs=0.05)
    assert np.mean([pair.r for pair in match(first, first)]) > by_chance + 0.3
    assert np.isnan(matched_by_chance(np.ones((12, 2)), second))
