"""Clipping against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gatewise.tasks.clipping import clip


@pytest.mark.parametrize("size", [1e-3, 0.3, 1.0, 50.0, float("nan"), float("inf")])
def test_gradients_are_those_that_torch_clips(size):
    torch.manual_seed(1)
    own = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    own[2].requires_grad_(False)  # has no gradient
    for weight in own[:2].parameters():
        weight.grad = size * torch.randn_like(weight)
    of_torch = copy.deepcopy(own)
    for ours, right in zip(own.parameters(), of_torch.parameters(), strict=True):
        right.grad = None if ours.grad is None else ours.grad.clone()
    clip(torch.optim.SGD(own.parameters(), lr=1.0), 1.0)
    nn.utils.clip_grad_norm_(of_torch.parameters(), 1.0)
    for ours, right in zip(own[:2].parameters(), of_torch[:2].parameters(), strict=True):
        torch.testing.assert_close(ours.grad, right.grad, equal_nan=True)


def test_small_gradients_are_not_written():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([0.3, 0.4])
    version = weight.grad._version
    clip(torch.optim.SGD([weight], lr=1.0), 1.0)
    assert weight.grad._version == version


def test_nothing_to_clip():
    clip(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=1.0), 1.0)
