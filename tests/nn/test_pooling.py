"""Pooling of prefixes: what it would be if the sequences ended with each step."""

from __future__ import annotations

import pytest
import torch

from gatewise.nn.pooling import Pooling


@pytest.mark.parametrize("how", ["last", "mean", "max", "mean_max"])
def test_so_far_is_the_pooling_of_every_prefix(how):
    outputs = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    pool = Pooling(how, 4)
    found = pool.so_far(outputs)
    assert found.shape == (3, 6, pool.output_size)
    for step in range(6):
        prefix, lengths = outputs[:, : step + 1], torch.full((3,), step + 1)
        torch.testing.assert_close(found[:, step], pool(prefix, prefix[:, -1], lengths))
