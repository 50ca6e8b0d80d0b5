"""How much of the gradient reaches a state, against distance."""

from __future__ import annotations

import numpy as np
import pytest

from gatewise.inspection.gradients import reach


def test_norms_by_distance_in_both_directions() -> None:
    """Against loops; two states of different sizes, rows whose losses stand at different steps."""
    generator = np.random.default_rng(0)
    gradients = {"h": generator.normal(size=(2, 2, 5, 7, 3)), "c": generator.normal(size=(2, 2, 5, 7, 4))}
    positions = np.array([6, 3, 5, 0, 6])
    results = {(found.state, found.layer, found.direction): found for found in reach(gradients, positions)}
    assert len(results) == 8
    for (state, layer, direction), found in results.items():
        by_distance: dict[int, list[float]] = {}
        for row, loss in enumerate(positions):
            for step in range(7):
                distance = step - loss if direction else loss - step
                if distance >= 0:
                    norm = np.linalg.norm(gradients[state][layer, direction, row, step])
                    by_distance.setdefault(int(distance), []).append(float(norm))
        assert found.distance == sorted(by_distance)
        for share, quantile in ((0.25, found.low), (0.5, found.median), (0.75, found.high)):
            expected = [np.quantile(by_distance[distance], share) for distance in found.distance]
            np.testing.assert_allclose(quantile, expected)


def test_the_directions_may_have_losses_of_their_own() -> None:
    gradient = np.arange(1.0, 6).reshape(1, 1, 1, 5, 1).repeat(2, axis=1)
    forward, backward = reach({"h": gradient}, np.array([[4], [0]]))
    assert forward.median == [5, 4, 3, 2, 1]
    assert backward.median == [1, 2, 3, 4, 5]


def test_padding_is_left_out() -> None:
    gradient = np.ones((1, 1, 2, 4, 2))
    gradient[0, 0, 0] *= 3
    gradient[0, 0, 1, :2] = np.nan
    found = reach({"h": gradient}, np.array([3, 3]))[0]
    np.testing.assert_allclose(found.median, np.sqrt(2) * np.array([2, 2, 3, 3]))
    gradient[0, 0, 0, 0] = np.nan
    assert np.isnan(reach({"h": gradient}, np.array([3, 3]))[0].high).tolist() == [False, False, False, True]


def test_what_vanishes_is_not_rounded_to_nothing() -> None:
    gradient = np.full((1, 1, 1, 2, 4), 1e-200)
    assert reach({"h": gradient}, np.array([1]))[0].median == pytest.approx([2e-200] * 2, rel=1e-12)


def test_what_explodes_is_infinite() -> None:
    gradient = np.full((1, 1, 3, 1, 2), np.inf)
    found = reach({"h": gradient}, np.zeros(3))[0]
    assert found.median == found.low == [np.inf]
    gradient[0, 0, 0] = 1.0
    assert reach({"h": gradient}, np.zeros(3))[0].median == [np.inf]


@pytest.mark.parametrize("position", [-1, 4])
def test_a_loss_must_stand_at_a_step(position: int) -> None:
    with pytest.raises(
        ValueError, match=f"position {position} of a loss is none of the 4 steps: choose 0 to 3"
    ):
        reach({"h": np.zeros((1, 1, 2, 4, 1))}, np.array([0, position]))


def test_no_rows() -> None:
    assert reach({"h": np.zeros((1, 1, 0, 4, 2))}, np.zeros(0))[0].distance == []
