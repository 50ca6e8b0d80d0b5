"""Columns with mean 0 and length 1."""

from __future__ import annotations

import numpy as np
import pytest

from gatewise.inspection.standardised import standardised, without_padding


def test_products_are_correlations() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (50, 4))
    columns, varies = standardised(values)
    assert varies.all()
    np.testing.assert_allclose(columns.T @ columns, np.corrcoef(values.T), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_scale_does_not_matter(scale: float) -> None:
    values = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(standardised(values * scale)[0], standardised(values)[0], atol=1e-12)


def test_what_does_not_vary_becomes_zeros() -> None:
    noise = np.random.default_rng(0).normal(size=10)
    rounding = np.float32(0.7) + np.array([0, 6e-8] * 5)
    values = np.stack([noise, np.full(10, 0.1), rounding, np.where(noise > 0, np.nan, noise), noise], 1)
    values[3, 4] = np.inf
    columns, varies = standardised(values)
    assert varies.tolist() == [True, False, False, False, False]
    assert (columns[:, 1:] == 0).all()


def test_no_steps() -> None:
    columns, varies = standardised(np.zeros((0, 3)))
    assert columns.shape == (0, 3)
    assert not varies.any()


def test_padding_is_nan_in_every_unit() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(without_padding(values), values[[0, 2]])
