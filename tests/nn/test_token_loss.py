"""The loss of a large output layer, against torch's cross-entropy of all its scores."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gatewise.nn.token_loss import FEWEST, ROWS, token_loss

IGNORED = -100


def made(rows=(3, 100), features=8, classes=FEWEST + 7, seed=0):
    torch.manual_seed(seed)
    layer = nn.Linear(features, classes)
    outputs = torch.randn(*rows, features, requires_grad=True)
    return outputs, layer, torch.randint(classes, rows)


def gradients(loss, outputs, layer):
    return torch.autograd.grad(loss, [outputs, layer.weight, layer.bias])


def by_torch(outputs, layer, targets):
    return F.cross_entropy(layer(outputs).flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


@pytest.mark.parametrize(
    ("rows", "ignored"), [((3, 100), 0), ((3, 100), 40), ((1,), 0), ((ROWS,), 1), ((2, ROWS + 1), 300)]
)
def test_loss_and_gradients_are_those_of_torch(rows, ignored):
    outputs, layer, targets = made(rows)
    targets.view(-1)[:ignored] = IGNORED
    loss = token_loss(outputs, layer, targets, IGNORED)
    expected = by_torch(outputs, layer, targets)
    torch.testing.assert_close(loss, expected)
    pairs = zip(gradients(3 * loss, outputs, layer), gradients(3 * expected, outputs, layer), strict=True)
    for found, theirs in pairs:
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-7)


def test_a_certain_but_wrong_score_has_a_finite_loss():
    outputs, layer, targets = made((4,))
    with torch.no_grad():
        layer.weight.mul_(1e4)
    loss = token_loss(outputs, layer, targets, IGNORED)
    torch.testing.assert_close(loss, by_torch(outputs, layer, targets))
    assert torch.isfinite(torch.cat([g.flatten() for g in gradients(loss, outputs, layer)])).all()


def test_all_ignored_is_zero_and_moves_nothing():
    outputs, layer, targets = made()
    loss = token_loss(outputs, layer, torch.full_like(targets, IGNORED), IGNORED)
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(loss, outputs, layer))


@pytest.mark.parametrize("change", ["few", "double", "bfloat16", "frozen"])
def test_other_layers_take_the_usual_functions(change):
    outputs, layer, targets = made(classes=5 if change == "few" else FEWEST)
    if change == "double":
        outputs, layer = outputs.detach().double().requires_grad_(), layer.double()
    if change == "frozen":
        layer.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "bfloat16"):
        loss = token_loss(outputs, layer, targets, IGNORED)
        torch.testing.assert_close(loss, by_torch(outputs, layer, targets))
    loss.backward()
    assert outputs.grad is not None


def test_a_second_backward_pass_is_refused():
    outputs, layer, targets = made()
    loss = token_loss(outputs, layer, targets, IGNORED)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        loss.backward()
