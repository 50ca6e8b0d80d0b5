"""Attention against its equations written out in numpy, its masks, and its two forms of call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatewise.nn.attention import Attention

HOWS = ["additive", "dot", "general"]


def made(how, coverage=False, size=4):
    torch.manual_seed(3)
    attention = Attention(how, size, size, 5, coverage).double()
    values = torch.randn(3, 6, size, dtype=torch.float64)
    return attention, values, torch.tensor([6, 2, 0]), torch.randn(3, 4, size, dtype=torch.float64)


def softmax(scores):
    parts = np.exp(scores - scores.max())
    return parts / parts.sum()


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_contexts_are_those_of_the_published_equations(how, coverage):
    attention, values, lengths, queries = made(how, coverage)
    contexts, weights, _ = attention(queries, attention.prepare(values, lengths))
    w = {name: parameter.detach().numpy() for name, parameter in attention.named_parameters()}
    for row, length in enumerate(lengths.tolist()):
        covered = np.zeros(length)
        for time in range(queries.shape[1]):
            q, h = queries[row, time].numpy(), values[row, :length].numpy()
            extra = covered[:, None] * w["covered.weight"][:, 0] if coverage else 0.0
            if how == "additive":
                inside = w["query.weight"] @ q + w["query.bias"] + h @ w["key.weight"].T + extra
                scores = np.tanh(inside) @ w["scorer.weight"][0]
            else:
                scores = (h if how == "dot" else h @ w["key.weight"].T) @ q + np.sum(extra, -1)
            expected = softmax(scores) if length else scores
            np.testing.assert_allclose(weights[row, time, :length].detach(), expected, atol=1e-12)
            np.testing.assert_allclose(contexts[row, time].detach(), expected @ h, atol=1e-12)
            covered = covered + expected


@pytest.mark.parametrize("how", HOWS)
def test_padding_and_an_empty_source_get_no_weight_and_no_gradient(how):
    attention, values, lengths, queries = made(how)
    values[1, 2:] = 1e30
    values.requires_grad_()
    contexts, weights, _ = attention(queries, attention.prepare(values, lengths))
    torch.testing.assert_close(weights.sum(-1), (lengths > 0).double()[:, None].expand(-1, 4))
    assert not weights[1, :, 2:].any()
    assert not contexts[2].any()
    contexts.sin().sum().backward()
    assert values.grad.isfinite().all()
    assert not values.grad[1, 2:].any()
    assert not values.grad[2].any()


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("how", HOWS)
def test_queries_one_by_one_attend_as_all_at_once(how, coverage):
    attention, values, lengths, queries = made(how, coverage)
    memory = attention.prepare(values, lengths)
    contexts, weights, total = attention(queries, memory)
    covered = None
    for time, query in enumerate(queries.split(1, 1)):
        found = attention.beside(query, memory, covered)
        torch.testing.assert_close(found[0], contexts[:, time : time + 1])
        torch.testing.assert_close(found[1], weights[:, time : time + 1])
        covered = found[2]
    if coverage:
        torch.testing.assert_close(covered.squeeze(1), total)
        torch.testing.assert_close(total, weights.sum(1))


def test_dot_of_unequal_sizes_is_refused():
    with pytest.raises(ValueError, match="choose general or additive"):
        Attention("dot", 3, 4)
