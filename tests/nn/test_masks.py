"""Masks of dropout, made of random bits on a CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.nn.masks import STEPS, Dropout, dropout, kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.65])
def test_so_many_values_are_dropped_and_the_others_keep_the_mean(p, dtype):
    torch.manual_seed(1)
    mask = kept(p, (1000, 401), torch.empty(0, dtype=dtype))
    assert mask.dtype == dtype
    share = (mask == 0).double().mean().item()
    # Four standard deviations of the mean of so many draws, and what the share is rounded by.
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / mask.numel()) ** 0.5 + 1 / STEPS)
    (value,) = mask[mask != 0].unique().tolist()
    assert value == pytest.approx(1 / (1 - p), rel=1e-3 if dtype != torch.bfloat16 else 1e-2)


def test_values_are_dropped_independently():
    """Of the four values that one random number gives, every pattern is as likely as any other."""
    torch.manual_seed(2)
    mask = (kept(0.5, (50_000, 4), torch.empty(0)) > 0).long()
    patterns = torch.bincount((mask * torch.tensor([1, 2, 4, 8])).sum(1), minlength=16)
    # Pearson's statistic of 16 patterns: above 37.7 once in a thousand.
    expected = len(mask) / 16
    assert ((patterns - expected) ** 2 / expected).sum() < 37.7


def test_a_seed_gives_the_same_masks_and_each_call_another():
    torch.manual_seed(3)
    first, second = (kept(0.3, (7, 9), torch.empty(0)) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(kept(0.3, (7, 9), torch.empty(0)), first)
    assert not torch.equal(first, second)


@given(st.lists(st.integers(0, 5), max_size=3))
def test_any_shape(shape):
    assert kept(0.5, shape, torch.empty(0)).shape == torch.Size(shape)


def test_extreme_shares():
    assert not kept(1.0, (100,), torch.empty(0)).any()
    assert kept(1e-9, (100_000,), torch.empty(0)).mean().item() == pytest.approx(1, abs=1e-3)
    assert kept(1 - 1e-9, (100_000,), torch.empty(0)).isfinite().all()


def test_dropout_and_its_gradient():
    x = torch.randn(50, 40, requires_grad=True)
    dropped = Dropout(0.4)(x)
    (slope,) = torch.autograd.grad(dropped.sum(), x)
    assert torch.equal(dropped, x * slope)
    assert 0 < (slope == 0).sum() < slope.numel()
    assert dropout(x, 0.4, training=False) is x
    assert Dropout(0.4).eval()(x) is x
