"""What a metric says of itself."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MeanMetric, MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy

from gatewise.tasks.scores import BUFFERED_BATCHES, EpochScores, Measure, Score


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


def _tensors() -> int:
    return sum(isinstance(each, Tensor) for each in gc.get_objects())


def test_losses_are_added_up_without_a_tensor_that_stays() -> None:
    # Among scores that come and go, it would hold their memory.
    epoch, losses = EpochScores({}), torch.rand(BUFFERED_BATCHES + 7)
    before = _tensors()
    for loss in losses:
        epoch.add(Score(loss.clone(), 3))
    del loss
    assert _tensors() == before
    held = epoch.epoch_state()
    epoch.load_epoch_states([held], torch.device("cpu"))
    epoch.gather()
    assert epoch.count == 3 * len(losses)
    assert epoch.loss == pytest.approx(3 * float(losses.double().sum()), rel=1e-12)
    epoch.load_epoch_states([{**held, "losses": [*map(torch.tensor, held["losses"])]}], torch.device("cpu"))
    epoch.gather()  # of an earlier version
    assert epoch.loss == pytest.approx(3 * float(losses.double().sum()), rel=1e-12)
