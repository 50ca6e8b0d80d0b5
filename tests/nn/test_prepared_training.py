"""Calls with gradients are prepared from their second time on, with the same results and gradients."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from prepared_nets import CELLS, draw, make, noted
from torch.func import functional_call

from gatewise.cells import GRU
from gatewise.engine import PreparedLayers
from gatewise.nn import Recurrent


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each prepared call had a result."""
    return noted(PreparedLayers, monkeypatch)


def gradients(net: Recurrent, *args):
    """Outputs, final state and the gradients of all parameters and inputs."""
    net.zero_grad()
    x, state = args[0].clone().requires_grad_(), None
    if len(args) > 1:
        state = tuple(s.clone().requires_grad_() for s in args[1])
    outputs, final = net(x, state)
    weights = torch.arange(1.0, 1 + outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)
    sum((outputs * weights).sum() + s.pow(2).sum() for s in final).backward()
    return [outputs, *final, x.grad, *(s.grad for s in state or ()), *(p.grad for p in net.parameters())]


def check(net: Recurrent, *args) -> None:
    expected = gradients(copy.deepcopy(net), *args)  # a copy has prepared nothing
    for tensor, other in zip(gradients(net, *args), expected, strict=True):
        assert tensor is other is None or torch.equal(tensor, other)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_a_call_that_comes_again(cell, layers, batch_first, calls):
    net = make(cell, num_layers=layers, batch_first=batch_first)
    for time, batch in ((1, 1), (1, 4), (7, 2), (0, 2), (2, 0)):
        x, state = draw(net, time, batch)
        for _ in range(3):
            check(net, x, state)
            check(net, x)
    assert len(calls) > 4
    assert all(calls)


@pytest.mark.parametrize(("time", "batch"), [(3, 2), (0, 2), (2, 0)])
def test_it_is_what_the_loop_computes(time, batch, calls):
    net = make(GRU(), num_layers=2)
    loop = copy.deepcopy(net)
    loop.engine = "loop"
    x, state = draw(net, time, batch)
    for _ in range(3):
        torch.testing.assert_close(gradients(net, x, state), gradients(loop, x, state))
    assert calls == [True, True]


def test_weights_are_those_of_now(calls):
    net, other = make(), make()
    x, state = draw(net, 2, 3)
    for _ in range(3):
        check(net, x, state)
    layer = net.layers[0]
    with torch.no_grad():
        layer.weight_hh.mul_(2)
    check(net, x, state)
    layer.weight_hh.requires_grad_(False)
    check(net, x, state)
    layer.weight_hh.data = layer.weight_hh.detach().t().contiguous().t()
    check(net, x, state)
    layer.bias = None
    check(net, x, state)
    weights = {name: value.clone() for name, value in other.named_parameters()}
    torch.testing.assert_close(functional_call(net, weights, (x, state))[0], other(x, state)[0])
    assert sum(calls) > 3


@pytest.mark.parametrize("with_gradients", [False, True])
def test_weights_of_another_shape(with_gradients):
    net = make()
    x, state = draw(net, 1, 2)
    with torch.set_grad_enabled(with_gradients):
        for _ in range(3):
            net(x, state)
        net.layers[0].weight_hh = torch.nn.Parameter(torch.zeros(4, 4).double())
        with pytest.raises(ValueError, match=r"W must be \[16, 4\]"):
            net(x, state)


def test_an_optimizer_trains_to_the_same_weights(calls):
    net = make(num_layers=2)
    other = copy.deepcopy(net)
    x, _ = draw(net, 5, 2)
    for trained in (net, other):
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        for _ in range(4):
            if trained is other:
                trained._prepared.__init__()
            optimizer.zero_grad()
            trained(x)[0].sum().backward()
            optimizer.step()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert len(calls) == 3


def test_nothing_needs_gradients():
    net = make().requires_grad_(False)
    x, state = draw(net, 1, 2)
    for _ in range(3):
        assert not net(x, state)[0].requires_grad
    assert net(x.requires_grad_(), state)[0].requires_grad


def test_second_derivatives():
    net = make()
    x, _ = draw(net, 2, 1)
    for _ in range(3):
        assert torch.autograd.gradcheck(lambda x: net(x)[0], x.requires_grad_())
        assert torch.autograd.gradgradcheck(lambda x: net(x)[0], x)


def test_dropouts_recompute_and_a_learnt_state(calls):
    for settings in ({"recompute": True}, {"state_dropout": 0.5}, {"weight_dropout": 0.5}, {"zoneout": 0.5}):
        net = make(**settings)
        x, _ = draw(net, 4, 2)
        draws = [net(x)[0] for _ in range(4)]
        assert torch.equal(draws[2], draws[3]) == ("recompute" in settings)
    assert not calls
    net = make(learn_initial_state=True)
    for _ in range(3):
        check(net, x)


def test_weights_changed_before_the_backward_pass():
    net = make(GRU())
    x, _ = draw(net, 2, 2)
    for _ in range(3):
        outputs, _ = net(x)
    with torch.no_grad():
        next(iter(net.layers[0].own.values())).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_several_threads_at_once():
    net = make(num_layers=2)
    inputs = [draw(net, 5, 2) for _ in range(4)]
    expected = [copy.deepcopy(net)(*given)[0] for given in inputs]

    def run(index: int) -> bool:
        return all(torch.equal(net(*inputs[index])[0], expected[index]) for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))
