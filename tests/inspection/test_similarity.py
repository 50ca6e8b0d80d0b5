"""Order of units in which like ones are neighbours."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.inspection import similarity
from gatewise.inspection.similarity import similar_order


def like(groups: int, each: int, steps: int = 60, seed: int = 0) -> np.ndarray:
    """Units of several kinds, those of a kind alike, in mixed order: unit u is of kind u % groups."""
    generator = np.random.default_rng(seed)
    kinds = generator.normal(size=(steps, groups))
    return np.tile(kinds, each) + 0.3 * generator.normal(size=(steps, groups * each))


@pytest.mark.parametrize("optimal", [True, False])
def test_units_of_a_kind_stand_together(optimal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not optimal:
        monkeypatch.setattr(similarity, "MOST_OPTIMAL", 0)
    kinds = similar_order(like(5, 8)) % 5
    assert np.count_nonzero(np.diff(kinds)) == 4


@pytest.mark.parametrize("optimal", [True, False])
def test_units_along_a_line_are_put_back_in_line(optimal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each unit peaks a little later than the one before: only turned branches give that order."""
    if not optimal:
        monkeypatch.setattr(similarity, "MOST_OPTIMAL", 0)
    peaks = np.random.default_rng(1).permutation(40)
    values = np.exp(-(((np.arange(100)[:, None] - 2 * peaks - 10) / 6) ** 2))
    order = peaks[similar_order(values)]
    jumps = np.abs(np.diff(order))
    assert jumps.mean() < 2
    if optimal:
        assert (jumps == 1).all()


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_every_unit_once_and_constant_ones_last(varied: int, constant: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.normal(size=(9, varied)), np.ones((9, constant))], axis=1)
    places = generator.permutation(varied + constant)
    order = similar_order(values[:, places])
    assert sorted(order.tolist()) == list(range(varied + constant))
    last = order[varied:]
    assert (places[last] >= varied).all()
    assert (np.diff(last) > 0).all()


def test_padding_and_repetition_change_nothing() -> None:
    values = like(4, 5)
    padded = np.concatenate([values, np.full((7, 20), np.nan)])
    np.testing.assert_array_equal(similar_order(padded), similar_order(values))
    np.testing.assert_array_equal(similar_order(values.astype(np.float32)), similar_order(values))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 0), (5, 1)])
def test_too_little_to_order(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    assert similar_order(values).tolist() == list(range(shape[1]))


def test_many_units_are_quick() -> None:
    values = np.random.default_rng(0).normal(size=(200, 1024)).cumsum(0)
    similar_order(values[:, :400])
    began = time.process_time()
    similar_order(values)
    assert time.process_time() - began < 0.6  # 0.12 s alone on a machine
