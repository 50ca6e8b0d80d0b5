"""What a metric says of itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MeanMetric, MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy

from gatewise.tasks.scores import Measure


def test_what_compares_says_which_side_is_better() -> None:
    assert Measure("", MulticlassAccuracy(3)).mode == "max"
    assert Measure("", MeanSquaredError()).mode == "min"
    assert Measure("", MeanMetric()).mode is None
    assert Measure("").mode is None


@given(st.floats(-8, 8).filter(lambda slope: abs(slope) > 1e-3))
def test_what_follows_from_the_loss_is_better_where_the_loss_is(slope: float) -> None:
    assert Measure("", of_loss=lambda loss: slope * loss).mode == ("min" if slope > 0 else "max")


@pytest.mark.parametrize(
    ("of_loss", "mode"), [(torch.exp, "min"), (lambda x: torch.exp(-x), "max"), (torch.zeros_like, None)]
)
def test_known_functions_of_the_loss(of_loss: Callable[[Tensor], Tensor], mode: str | None) -> None:
    assert Measure("", of_loss=of_loss).mode == mode
