"""Arrays as few bytes, and which units there is room for."""

from __future__ import annotations

import base64
import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.inspection.coding import (
    ALWAYS_WHOLE,
    BLANK,
    PAGE_BYTES,
    SHARE,
    Scale,
    most_varied,
    numbers,
    packed,
    quantised,
    restored,
    scale_of,
    units_that_fit,
)

floats = st.floats(allow_nan=False, allow_infinity=False)


def test_levels_of_a_share() -> None:
    values = np.array([[0.0, 1.0, 0.5, np.nan], [1 / 254, 0.4 / 254, -0.1, np.inf]], dtype=np.float32)
    assert quantised(values, SHARE).tolist() == [[0, 254, 127, BLANK], [1, 0, 0, 254]]


@given(floats, floats)
def test_restored_to_half_a_level(value: float, other: float) -> None:
    values = np.array([value, other, 0.0])
    scale = scale_of([values])
    codes = quantised(values, scale)
    assert codes[2] == 127
    error = np.abs(restored(codes, scale) / 2 - values / 2) * 2
    assert (error <= (scale.high / 254) * 1.001 + 1e-300).all()


def test_blank_stays_blank() -> None:
    assert np.isnan(restored(quantised(np.array([np.nan, 1.0]), SHARE), SHARE)).tolist() == [True, False]


def test_scales() -> None:
    arrays = [np.array([0.5, -3.0, np.nan]), np.array([2.0, np.inf]), np.array([])]
    assert scale_of(arrays) == Scale(-3.0, 3.0, "diverging")
    assert scale_of(arrays, (0.0, 1.0)) == SHARE
    assert scale_of(arrays, (-1.0, 1.0)) == Scale(-1.0, 1.0, "diverging")
    assert scale_of(arrays, (0.0, 6.0)) == Scale(-6.0, 6.0, "diverging")
    assert scale_of([np.zeros(3)]) == scale_of([]) == Scale(-1.0, 1.0, "diverging")


def test_bytes_stand_row_by_row() -> None:
    values = np.random.default_rng(0).random((5, 3)).T  # not contiguous
    content = zlib.decompress(base64.b64decode(packed(values, SHARE)))
    assert list(content) == [round(254 * value) for row in values.tolist() for value in row]


def test_numbers_are_json() -> None:
    values = numbers(np.array([1 / 3, np.nan, np.inf, -np.inf, 12345.678, 0.0]))
    assert values == [0.3333, None, None, None, 12350.0, 0.0]
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_up_to_a_thousand_steps_every_unit_is_shown() -> None:
    assert units_that_fit(512, ALWAYS_WHOLE, 8, 2, 2) == 512


@pytest.mark.parametrize(
    ("steps", "arrays", "layers", "directions"), [(1001, 6, 2, 2), (5000, 8, 1, 1), (20_000, 4, 2, 1)]
)
def test_a_longer_input_keeps_as_many_units_as_the_page_has_room_for(
    steps: int, arrays: int, layers: int, directions: int
) -> None:
    kept = units_that_fit(1024, steps, arrays, layers, directions)
    coded = 4 * math.ceil(steps * kept / 3) * arrays * layers * directions
    one_more = 4 * math.ceil(steps * (kept + 1) / 3) * arrays * layers * directions
    assert coded <= PAGE_BYTES + 4 * arrays * layers * directions
    assert one_more > PAGE_BYTES
    assert units_that_fit(3, steps, arrays, layers, directions) == 3


def test_at_least_one_unit_is_shown() -> None:
    assert units_that_fit(64, 10_000_000, 8, 2, 2) == 1


def test_noise_does_not_take_more_bytes_than_counted() -> None:
    """The case that the page must show within 2.5 MB, with noise that no deflating makes smaller."""
    values = np.random.default_rng(0).random((200, 256))
    assert 6 * 4 * len(packed(values, SHARE)) < 1_700_000


def test_units_with_most_variance() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([1.0, 5.0, 0.1, 3.0, 0.0])
    values = generator.normal(size=(200, 5)) * spread + 100
    assert most_varied([values], 3).tolist() == [0, 1, 3]
    values[7] = np.nan
    assert most_varied([values], 2).tolist() == [1, 3]
    assert most_varied([values], 9).tolist() == [0, 1, 2, 3, 4]


def test_large_values_have_no_more_say() -> None:
    generator = np.random.default_rng(0)
    state = 1e6 * generator.normal(size=(500, 4)) * [1.0, 1.1, 1.0, 1.0]
    gate = generator.normal(size=(500, 4)) * [1.0, 0.01, 0.01, 0.01]
    assert most_varied([state, gate], 1).tolist() == [0]


def test_equal_units_are_kept_by_number() -> None:
    assert most_varied([np.zeros((4, 3))], 2).tolist() == [0, 1]
    assert most_varied([np.full((4, 3), np.nan)], 2).tolist() == [0, 1]
