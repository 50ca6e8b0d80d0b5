"""Which units follow which features, against brute force and against the chance level."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from statsmodels.stats.multitest import multipletests

from gatewise.inspection.follows import follow, holm, ranks, shifts_needed


def slow_noise(generator: np.random.Generator, steps: int, series: int, memory: float = 0.9) -> np.ndarray:
    """[N, S] with autocorrelation ``memory`` from one step to the next."""
    noise = generator.normal(size=(steps + 200, series))
    return np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=0)[200:])


def by_shifting(unit: np.ndarray, feature: np.ndarray) -> float:
    """p from all circular shifts, one after the other."""
    observed = abs(np.corrcoef(unit, feature)[0, 1])
    shifted = [abs(np.corrcoef(unit, np.roll(feature, k))[0, 1]) for k in range(len(unit))]
    return float(np.mean(np.array(shifted) >= observed - 2e-6))


@given(st.integers(4, 40), st.integers(0, 2**32 - 1))
def test_agrees_with_shifting_one_by_one(steps: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    units = slow_noise(generator, steps, 3)
    features = np.stack([slow_noise(generator, steps, 1)[:, 0], np.arange(steps) % 3 == 0], 1).astype(float)
    result = follow(units, features, [steps])
    np.testing.assert_allclose(result.r, np.corrcoef(units.T, features.T)[:3, 3:], atol=1e-12)
    expected = [[by_shifting(unit, feature) for feature in features.T] for unit in units.T]
    np.testing.assert_allclose(result.p, expected)
    assert result.least.tolist() == [1 / steps] * 2


@pytest.mark.parametrize("steps", [1000, 997])
def test_a_unit_that_is_the_feature_has_the_least_p(steps: int) -> None:
    generator = np.random.default_rng(0)
    features = slow_noise(generator, steps, 2)
    result = follow(
        np.stack([features[:, 0], -2 * features[:, 1] + 3], 1), features, [steps // 2, -(-steps // 2)]
    )
    assert result.p.diagonal().tolist() == result.least.tolist() == [1 / steps] * 2
    np.testing.assert_allclose(result.r.diagonal(), [1, -1])


def test_a_period_is_no_finding() -> None:
    """A unit with the period of the feature is as strong at every tenth shift."""
    period = (np.arange(200) % 10 == 0).astype(float)
    result = follow(period[:, None], period[:, None], [200])
    assert result.r[0, 0] == pytest.approx(1)
    assert result.p[0, 0] == pytest.approx(0.1)


def test_p_is_uniform_where_nothing_is_followed_and_shuffling_would_not_be() -> None:
    generator = np.random.default_rng(0)
    steps, pairs = 600, 40
    shifted, shuffled = [], []
    for _ in range(pairs):
        unit, feature = slow_noise(generator, steps, 25), slow_noise(generator, steps, 1)
        result = follow(unit, feature, [steps])
        shifted.append(result.p[:, 0])
        others = generator.permuted(np.tile(feature[:, 0], (199, 1)), axis=1)
        drawn = np.abs(np.corrcoef(unit.T, others)[:25, 25:])
        shuffled.append((1 + (drawn >= np.abs(result.r)).sum(1)) / 200)
    false = np.mean(np.concatenate(shifted) <= 0.05)
    assert 0.02 < false < 0.08
    assert 0.35 < np.mean(np.concatenate(shifted) <= 0.5) < 0.65
    assert np.mean(np.concatenate(shuffled) <= 0.05) > 0.4


def labelled(lengths: list[int], labels: np.ndarray) -> np.ndarray:
    return np.repeat(labels, lengths)[:, None].astype(float)


def test_labels_are_exchanged_between_sequences() -> None:
    """Compared with all ten ways in which two of five sequences can have the label."""
    generator = np.random.default_rng(3)
    lengths, labels = [3, 5, 2, 4, 6], np.array([0, 1, 0, 1, 0])
    units = generator.normal(size=(20, 4)) + np.repeat(labels, lengths)[:, None]
    result = follow(units, labelled(lengths, labels), lengths, permutations=20_000)
    observed = np.abs(result.r[:, 0])
    drawn = np.array(
        [
            np.abs(np.corrcoef(units.T, np.repeat(order, lengths))[:4, 4])
            for order in set(permutations(labels.tolist()))
        ]
    )
    np.testing.assert_allclose(result.p[:, 0], (drawn >= observed - 1e-6).mean(0), atol=0.015)
    assert result.least[0] == pytest.approx(1 / 10)


def test_labels_of_unrelated_sequences_are_rarely_significant() -> None:
    """Steps of a sequence share what the sequence is: as if they were independent, most would be."""
    generator = np.random.default_rng(0)
    lengths = [20] * 30
    found = []
    for _ in range(20):
        units = np.repeat(generator.normal(size=(30, 20)), 20, axis=0) + generator.normal(size=(600, 20))
        feature = labelled(lengths, generator.integers(0, 3, 30))
        found.append(follow(units, feature, lengths, permutations=499).p[:, 0])
    assert 0.02 < np.mean(np.concatenate(found) <= 0.05) < 0.09


def test_the_seed_decides() -> None:
    generator = np.random.default_rng(0)
    units, lengths = generator.normal(size=(60, 3)), [10] * 6
    feature = labelled(lengths, np.arange(6))
    first, again, other = (
        follow(units, feature, lengths, permutations=99, seed=seed).p for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert follow(units, feature, lengths, permutations=99).least[0] == pytest.approx(1 / 100)


def test_what_is_constant_has_no_correlation() -> None:
    generator = np.random.default_rng(0)
    units, features = generator.normal(size=(30, 3)), generator.normal(size=(30, 3))
    units[:, 1], units[4, 2], features[:, 2] = 0.3, np.nan, 1.0
    result = follow(units, features, [10, 20])
    assert (
        np.isnan(result.r).tolist()
        == np.isnan(result.p).tolist()
        == [[False, False, True], [True] * 3, [True] * 3]
    )
    assert np.isnan(result.least).tolist() == [False, False, True]
    # A label of the only sequence is constant as well.
    assert np.isnan(follow(units, np.ones((30, 1)), [30]).p).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    units, features, lengths = generator.normal(size=(50, 9)), generator.normal(size=(50, 2)), [20, 30]
    features[:, 1] = np.repeat([0, 1], lengths)
    whole = follow(units, features, lengths)
    monkeypatch.setattr("gatewise.inspection.follows._BLOCK", 100)
    blocks = follow(units, features, lengths)
    np.testing.assert_allclose(blocks.r, whole.r, atol=1e-12)
    np.testing.assert_array_equal(blocks.p, whole.p)
    monkeypatch.setattr("gatewise.inspection.follows._ORDERS_AT_ONCE", 7)
    np.testing.assert_array_equal(follow(units, features, lengths).p, whole.p)


@pytest.mark.parametrize(("features", "lengths"), [(9, [10]), (10, [4, 4]), (10, [10, 0]), (10, [])])
def test_sequences_must_go_together(features: int, lengths: list[int]) -> None:
    with pytest.raises(
        ValueError, match=r"units have 10 steps, features .* give all three of the same sequences"
    ):
        follow(np.zeros((10, 2)), np.zeros((features, 1)), lengths)


def test_holm_agrees_with_statsmodels() -> None:
    p = np.random.default_rng(0).random((40, 3)) ** 3
    expected = np.stack([multipletests(column, method="holm")[1] for column in p.T], 1)
    np.testing.assert_allclose(holm(p), expected)
    with_gaps = np.insert(p, [0, 7], np.nan, axis=0)
    np.testing.assert_allclose(holm(with_gaps), np.insert(expected, [0, 7], np.nan, axis=0))


def test_no_test_needs_no_correction() -> None:
    assert holm(np.zeros((0, 2))).shape == (0, 2)
    assert np.isnan(holm(np.full((2, 1), np.nan))).all()


def test_rank_by_strength() -> None:
    r = np.array([[0.1, np.nan], [-0.9, 0.2], [0.5, np.nan], [0.5, -0.2]])
    np.testing.assert_array_equal(ranks(r), [[4, np.nan], [1, 1], [2, np.nan], [2, 1]])


def test_steps_that_many_units_need() -> None:
    """With that many shifts the least p of one unit is just significant after Holm's correction."""
    needed = shifts_needed(64)
    assert needed == 1280
    p = np.full((64, 1), 0.5)
    p[0] = 1 / needed
    assert holm(p)[0, 0] <= 0.05
    p[0] = 1 / (needed - 1)
    assert holm(p)[0, 0] > 0.05


def test_many_units_and_steps_are_quick() -> None:
    generator = np.random.default_rng(0)
    units = generator.normal(size=(20_000, 256)).astype(np.float32)
    features = (generator.random((20_000, 5)) < 0.1).astype(float)
    began = time.process_time()
    follow(units, features, [20_000])
    assert time.process_time() - began < 2.0  # 0.35 s alone on a machine
