"""How long a state is remembered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.duration.survfunc import SurvfuncRight

from gatewise.inspection.memory import half_life, kept_product


def lags_of(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one unit, by multiplying: steps that each start was watched, and whether it fell below one half."""
    watched, fell = [], []
    for start in range(len(kept) - 1):
        product = np.cumprod(np.abs(kept[start + 1 :]))
        below = np.flatnonzero(product < 0.5 * (1 - 1e-9))
        watched.append(below[0] + 1 if len(below) else len(product))
        fell.append(len(below) > 0)
    return np.array(watched), np.array(fell)


def test_product_from_a_step_onward() -> None:
    kept = np.array([[0.5, 2.0], [0.1, -1.0], [0.5, 3.0], [0.25, 0.0]])
    expected = [[np.nan, np.nan], [1, 1], [0.5, 3], [0.125, 0]]
    np.testing.assert_allclose(kept_product(kept, 1), expected)
    backward = [[0.05, 2], [0.1, 1], [1, 1], [np.nan, np.nan]]
    np.testing.assert_allclose(kept_product(kept, 2, reverse=True), backward)


def test_product_of_no_step() -> None:
    with pytest.raises(ValueError, match="step 4 is none of the 4 steps: choose 0 to 3"):
        kept_product(np.ones((4, 1)), 4)


def test_a_constant_share() -> None:
    """.5 is not below one half; .9 falls below after 7 steps, .99 after 69, which the input does not have."""
    kept = np.tile([0.49, 0.5, 0.9, 0.99, 0.0, 1.0], (60, 1))
    result = half_life(kept)
    expected = [1, 2, 7, np.inf, 1, np.inf]
    for quantile in result[:3]:
        np.testing.assert_array_equal(quantile, expected)
    np.testing.assert_allclose(result.forgotten, [1, 58 / 59, 53 / 59, 0, 1, 0])


@given(
    st.integers(2, 40),
    st.integers(0, 2**32 - 1),
    st.floats(-2, 4),
    st.sampled_from([1.0, 1.6]),
    st.booleans(),
)
def test_agrees_with_multiplying_and_with_statsmodels(
    steps: int, seed: int, bias: float, most: float, negative: bool
) -> None:
    generator = np.random.default_rng(seed)
    kept = most / (1 + np.exp(-generator.normal(bias, 2.0, (steps, 3))))
    kept[generator.random(kept.shape) < 0.02] = 0.0
    kept *= generator.choice([-1, 1], kept.shape) if negative else 1
    result = half_life(kept)
    for unit in range(3):
        watched, fell = lags_of(kept[:, unit])
        assert result.forgotten[unit] == pytest.approx(fell.mean())
        survival = SurvfuncRight(watched, fell.astype(int))
        for share, found in ((0.5, result.median), (0.75, result.low), (0.25, result.high)):
            reached = survival.surv_times[survival.surv_prob <= share + 1e-9]
            assert found[unit] == (reached[0] if len(reached) else np.inf)


def test_where_all_fall_quantiles_are_the_plain_ones() -> None:
    kept = np.random.default_rng(0).uniform(0.2, 0.9, (400, 4))
    kept[-2:] = 0.0  # so that even the last start falls
    result = half_life(kept)
    for unit in range(4):
        watched, fell = lags_of(kept[:, unit])
        assert fell.all()
        plain = np.quantile(watched, [0.5, 0.25, 0.75], method="inverted_cdf")
        assert [quantile[unit] for quantile in result[:3]] == plain.tolist()


def test_the_end_of_the_input_does_not_bias() -> None:
    """A memory cut at random, with a median of 25 steps, seen for 60 steps a time: the median is found.

    To count the starts that the input ends for as endless gives about 44, to leave them out about 13.
    """
    generator = np.random.default_rng(0)
    cut = generator.random((60, 4000)) < 1 - 0.5 ** (1 / 25)
    kept = np.where(cut, 0.0, 1.0)
    result = half_life(kept)
    watched, fell = (np.stack(parts) for parts in zip(*(lags_of(unit) for unit in kept.T[:500]), strict=True))
    endless = np.quantile(np.where(fell, watched, 1000), 0.5)
    left_out = np.quantile(watched[fell], 0.5)
    # Every unit is a sample of its own; together they are a sample of the same memory.
    found = np.median(np.nan_to_num(result.median, posinf=1000.0))
    assert abs(found - 25) < 5
    assert endless > 38
    assert left_out < 18


def test_reverse_direction_and_padding() -> None:
    kept = np.random.default_rng(0).uniform(0.3, 1.0, (30, 5))
    padded = np.concatenate([kept, np.full((9, 5), np.nan)])
    np.testing.assert_array_equal(half_life(padded), half_life(kept))
    np.testing.assert_array_equal(half_life(padded, reverse=True), half_life(kept[::-1]))


def test_many_steps_go_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.random.default_rng(0).uniform(0.5, 1.0, (100, 7))
    whole = half_life(kept)
    monkeypatch.setattr("gatewise.inspection.memory._BLOCK", 300)
    np.testing.assert_array_equal(half_life(kept), whole)


def test_a_unit_without_a_number_has_no_half_life() -> None:
    kept = np.full((5, 3), 0.1)
    kept[2, 1], kept[2, 2] = np.nan, np.inf
    result = np.array(half_life(kept))
    assert np.isnan(result[:, 1:]).all()
    assert result[:, 0].tolist() == [1, 1, 1, 1]


def test_one_step_has_nothing_to_follow() -> None:
    assert [quantile.tolist() for quantile in half_life(np.full((1, 2), 0.1))] == [[np.inf] * 2] * 3 + [
        [0, 0]
    ]
