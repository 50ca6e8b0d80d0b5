"""The loss by chunks against torch's cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import gatewise.nn.token_loss as module
from gatewise.nn.token_loss import token_loss


@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_loss_and_gradients_are_torchs(share, smoothing, with_bias, count, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 20)  # four rows at a time, of which the loss takes two
    monkeypatch.setattr(module, "NEAR", 10)
    torch.manual_seed(1)
    vectors, weight, bias = (torch.randn(*s, dtype=torch.float64) for s in ((count, 4), (5, 4), (5,)))
    inputs = [vectors, weight, bias] if with_bias else [vectors, weight]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    targets = torch.randint(5, (count,))
    scores = F.linear(vectors, weight, bias if with_bias else None)
    expected = share * F.cross_entropy(scores, targets, reduction="sum", label_smoothing=smoothing)
    found, likelihood = token_loss(vectors, weight, bias if with_bias else None, targets, smoothing, share)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(likelihood, share * F.cross_entropy(scores, targets, reduction="sum"))
    assert not likelihood.requires_grad
    for times in (1, 3):
        found, _ = token_loss(vectors, weight, bias if with_bias else None, targets, smoothing, share)
        own = torch.autograd.grad(times * found, inputs)
        of_torch = torch.autograd.grad(times * expected, inputs, retain_graph=True)
        for gradient, right in zip(own, of_torch, strict=True):
            torch.testing.assert_close(gradient, right)


def test_without_gradients_none_are_computed(monkeypatch):
    monkeypatch.setattr(module, "_with_product", None)
    vectors, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    with torch.no_grad():
        found, _ = token_loss(vectors, weight, None, torch.tensor([0, 1, 4]), 0.1)
    assert found.isfinite()


def test_under_autocast_the_weights_gradient_stays_in_their_own_precision():
    torch.manual_seed(1)
    inputs = torch.randn(6, 4)
    first, weight = torch.randn(4, 4).requires_grad_(), torch.randn(9, 4).requires_grad_()
    targets = torch.randint(9, (6,))
    gradients = []
    for own in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            vectors = F.linear(inputs, first)
            assert vectors.dtype == torch.bfloat16
            if own:
                found, _ = token_loss(vectors, weight, None, targets)
            else:
                found = F.cross_entropy(F.linear(vectors, weight), targets, reduction="sum")
        gradients.append(torch.autograd.grad(found, (first, weight)))
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_a_certain_but_wrong_score_has_a_finite_loss():
    torch.manual_seed(0)
    vectors, weight = torch.randn(4, 8).requires_grad_(), (1e4 * torch.randn(1007, 8)).requires_grad_()
    targets = torch.randint(1007, (4,))
    found, _ = token_loss(vectors, weight, None, targets)
    torch.testing.assert_close(found, F.cross_entropy(vectors @ weight.t(), targets, reduction="sum"))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found, (vectors, weight)))


def test_a_second_backward_pass_is_refused():
    vectors, weight = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True)
    found, _ = token_loss(vectors, weight, None, torch.tensor([0, 1, 4]))
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        found.backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_both_ways_to_probabilities_are_torchs_softmax(with_bias, dtype):
    torch.manual_seed(1)
    scores, right = torch.randn(3, 7).to(dtype), torch.tensor([[0], [6], [2]])
    bias = torch.randn(7, dtype=dtype) if with_bias else None
    logs = (scores if bias is None else scores + bias).double().log_softmax(1)
    expected = (0.5 * logs.exp(), logs.gather(1, right), logs.mean(1, keepdim=True))
    tolerance = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}
    for softmax in (module._softmax_at_once, module._softmax_in_place):
        found = softmax(scores.clone(), bias, right, True, 0.5)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double(), other, **tolerance)


def test_the_share_of_half_precision_gradients_comes_last():
    """A slope of a thousandth, divided by a million targets, is 0 in float16."""
    torch.manual_seed(1)
    vectors = torch.randn(2, 4, dtype=torch.float16, requires_grad=True)
    weight, targets = torch.randn(1000, 4, requires_grad=True), torch.tensor([0, 1])
    found, _ = token_loss(vectors, weight, None, targets, share=1e-6)
    _, by_weight = torch.autograd.grad(2e6 * found, (vectors, weight))
    exact = weight.detach().double().requires_grad_()
    expected = 2 * F.cross_entropy(vectors.detach().double() @ exact.t(), targets, reduction="sum")
    torch.testing.assert_close(
        by_weight.double(), torch.autograd.grad(expected, exact)[0], rtol=0.05, atol=1e-3
    )
