"""Which values of a sweep are composed before it starts."""

from __future__ import annotations

import pytest

from gatewise.config.compose import hydra_session
from gatewise.sweeps.sweep import each_kind

KINDS = [
    ("optimizer.lr", ["0.1", "1e-3", ".5", "-2.0"], ["0.1"]),
    ("optimizer.lr", ["0.1", "1", "2", "few", "1x", "2x"], ["0.1", "1", "few", "1x", "2x"]),
    ("model", ["lstm", "gru"], ["lstm", "gru"]),
    # Choices of a group may be numbers.
    ("optimizer", ["1", "2"], ["1", "2"]),
    ("task.pooling", ["last", "mean"], ["last", "mean"]),
]


@pytest.mark.parametrize(("key", "values", "checked"), KINDS)
def test_numbers_differ_in_nothing_that_composing_looks_at(
    key: str, values: list[str], checked: list[str]
) -> None:
    with hydra_session("train") as loader:
        assert each_kind(key, values, loader) == checked
