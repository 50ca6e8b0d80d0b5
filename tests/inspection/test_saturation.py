"""How often gates are nearly shut or nearly open."""

from __future__ import annotations

import numpy as np
import pytest

from gatewise.inspection.saturation import saturation


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shares_of_the_steps(dtype: type) -> None:
    gate = np.array([[0.0, 0.95], [0.05, 0.5], [0.1, 0.9], [0.9, np.nan]], dtype=dtype)
    result = saturation(gate)
    np.testing.assert_allclose(result.below, [0.5, 0])
    np.testing.assert_allclose(result.above, [0, 1 / 3])


def test_a_tanh_has_the_outer_tenths_of_its_range() -> None:
    result = saturation(np.array([[-0.9], [-0.7], [0.7], [0.85], [1.0]]), -1.0, 1.0)
    assert (result.below[0], result.above[0]) == (0.2, 0.4)


def test_rows_of_a_batch_count_together() -> None:
    values = np.random.default_rng(0).random((3, 10, 4))
    flat = saturation(values.reshape(30, 4))
    np.testing.assert_array_equal(saturation(values), flat)
    np.testing.assert_allclose(flat.below, (values < 0.1).mean((0, 1)))


def test_padding_alone_is_no_share() -> None:
    assert np.isnan(saturation(np.full((4, 2), np.nan))).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (-np.inf, np.inf), (1.0, 0.0), (0.0, np.nan)])
def test_what_has_no_bounds_does_not_saturate(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="only what lies between two finite bounds saturates"):
        saturation(np.zeros((2, 2)), low, high)
