"""The learning rate of every epoch, as the recipes have it."""

import pytest
import torch

from gatewise.training.schedules import DecayAfter


def rates(epochs, gamma, count, lr=20.0):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = DecayAfter(optimizer, epochs, gamma)
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_zarembas_small_recipe():
    """Rate 1 in four epochs, halved before each of the nine others; ours is of the mean over 20 steps."""
    assert rates(4, 0.5, 13) == pytest.approx([20.0 * 0.5 ** max(e - 4, 0) for e in range(1, 14)])
    assert rates(4, 0.5, 6) == [20, 20, 20, 20, 10, 5]


def test_it_may_begin_at_once():
    assert rates(0, 0.1, 3, lr=1.0) == pytest.approx([0.1, 0.01, 0.001])


def test_it_goes_on_from_its_state():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=8.0)
    first = DecayAfter(optimizer, 1, 0.5)
    optimizer.step()
    first.step()
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=8.0)
    again = DecayAfter(other, 1, 0.5)
    again.load_state_dict(first.state_dict())
    other.load_state_dict(optimizer.state_dict())
    for optimizer_, scheduler in ((optimizer, first), (other, again)):
        optimizer_.step()
        scheduler.step()
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == 2.0


@pytest.mark.parametrize(("settings", "match"), [((-1, 0.5), "epochs"), ((2, 1.0), "gamma")])
def test_settings_that_cannot_be(settings, match):
    with pytest.raises(ValueError, match=match):
        rates(*settings, 1)
