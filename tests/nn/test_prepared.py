"""Calls without gradients are prepared from their second time on, and nobody can tell but by the clock."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from prepared_nets import CELLS, draw, make, noted
from torch.func import functional_call

from gatewise.cells import LSTM, PeepholeLSTM
from gatewise.engine import Prepared
from gatewise.nn import Recurrent


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each prepared call had a result."""
    return noted(Prepared, monkeypatch)


def usual(net: Recurrent, *args):
    """The results of a net that has prepared nothing yet."""
    outputs, state = copy.deepcopy(net)(*args)
    return outputs, state


def check(net: Recurrent, *args) -> None:
    outputs, state = net(*args)
    expected, expected_state = usual(net, *args)
    assert torch.equal(outputs, expected)
    assert type(state) is net.cell.State
    for tensor, other in zip(state, expected_state, strict=True):
        assert torch.equal(tensor, other)


@torch.no_grad()
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_a_call_that_comes_again(cell, layers, batch_first, calls):
    net = make(cell, num_layers=layers, batch_first=batch_first)
    for time, batch in ((1, 1), (1, 4), (7, 1), (30, 2), (0, 2), (2, 0)):
        x, state = draw(net, time, batch)
        if batch_first and min(time, batch) > 1:
            x = x.transpose(0, 1).contiguous().transpose(0, 1)
        for _ in range(3):
            check(net, x, state)
            check(net, x)
    assert len(calls) > 4
    assert all(calls)


@torch.no_grad()
def test_a_sequence_step_by_step_is_the_whole(calls):
    net = make(num_layers=2)
    x, _ = draw(net, 9, 2)
    expected, last = usual(net, x)
    state, outputs = None, []
    for step in x:
        output, state = net(step[None], state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), expected)
    torch.testing.assert_close(list(state), last)
    assert sum(calls) >= 7


@torch.no_grad()
def test_results_are_the_callers(calls):
    net = make(num_layers=2)
    (x, state), (y, _) = draw(net, 3, 2), draw(net, 3, 2)
    for _ in range(3):
        net(x, state)
    before = [t.clone() for t in (x, *state)]
    outputs, final = net(x, state)
    kept = [t.clone() for t in (outputs, *final)]
    net(y, final)
    assert all(torch.equal(t, k) for t, k in zip((outputs, *final), kept, strict=True))
    outputs.zero_()
    assert torch.equal(final.h, kept[1])
    check(net, x, state)
    assert all(torch.equal(t, b) for t, b in zip((x, *state), before, strict=True))
    assert sum(calls) > 3


@torch.no_grad()
@pytest.mark.parametrize("cell", [LSTM(), PeepholeLSTM()], ids=repr)
def test_weights_are_those_of_now(cell, calls):
    net, other = make(cell), make(cell)
    x, state = draw(net, 2, 3)
    for _ in range(3):
        check(net, x, state)
    layer = net.layers[0]
    layer.weight_hh.mul_(2)
    check(net, x, state)
    layer.weight_ih = torch.nn.Parameter(torch.randn(layer.weight_ih.shape).double())
    check(net, x, state)
    layer.bias.data = torch.randn_like(layer.bias)
    check(net, x, state)
    for value in layer.own.values():
        value.add_(1)
    check(net, x, state)
    # Memory in another order.
    layer.weight_hh.data = layer.weight_hh.detach().t().contiguous().t()
    check(net, x, state)
    weights = {name: value.clone() for name, value in other.named_parameters()}
    outputs, _ = functional_call(net, weights, (x, state))
    assert torch.equal(outputs, usual(other, x, state)[0])
    net.load_state_dict(other.state_dict())
    check(net, x, state)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight_hh", torch.nn.Tanh())
    check(net, x, state)
    assert sum(calls) > 4


@torch.no_grad()
def test_another_dtype_after_all():
    net = make()
    x, state = draw(net, 1, 2)
    for _ in range(3):
        check(net, x, state)
    net.float()
    with pytest.raises(ValueError, match=r"input is torch.float64 and the weights are torch.float32"):
        net(x, state)
    check(net, x.float(), tuple(s.float() for s in state))
    net.bfloat16()
    assert net(x.bfloat16())[0].dtype == torch.bfloat16


@torch.no_grad()
def test_what_was_wrong_before_is_wrong_now():
    net = make()
    x, (h, c) = draw(net, 1, 2)
    for _ in range(3):
        check(net, x, (h, c))
    with pytest.raises(ValueError, match="state must be"):
        net(x, (h,))
    with pytest.raises(ValueError, match="state must be"):
        net(x, (h[:, :1], c))
    with pytest.raises(ValueError, match=r"state c is torch\.float32"):
        net(x, (h, c.float()))
    with pytest.raises(ValueError, match="state h must be a"):
        net(x, (h.numpy(), c))
    with pytest.raises(ValueError, match="input must be"):
        net(x[..., :2], (h, c))


@torch.no_grad()
def test_memory_in_another_order():
    net = make()
    x, (h, c) = draw(net, 4, 2)
    turned = x.transpose(0, 1).contiguous().transpose(0, 1)
    wide = torch.stack([h, h], -1)[..., 0]
    for _ in range(3):
        check(net, turned, (wide, c))


@torch.no_grad()
def test_dropouts_are_drawn_in_training():
    for settings in ({"input_dropout": 0.5}, {"zoneout": 0.5}, {"num_layers": 2, "dropout": 0.5}):
        net = make(**settings)
        x, state = draw(net, 4, 2)
        draws = [net(x, state)[0] for _ in range(4)]
        assert not torch.equal(draws[2], draws[3])
        net.eval()
        for _ in range(3):
            check(net, x, state)


@torch.no_grad()
def test_a_learnt_initial_state():
    net = make(learn_initial_state=True)
    net.layers[0].initial["h"].add_(1)
    x, state = draw(net, 2, 2)
    for _ in range(3):
        check(net, x)
        check(net, x, state)


@torch.no_grad()
def test_autocast_and_vmap():
    net = make().float()
    x = torch.randn(3, 2, 3)
    for _ in range(3):
        net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(x)[0].dtype == torch.bfloat16
    several = torch.randn(5, 3, 2, 3)
    expected = torch.stack([net(one)[0] for one in several])
    torch.testing.assert_close(torch.func.vmap(lambda one: net(one)[0])(several), expected)


@torch.no_grad()
def test_copies_prepare_for_themselves():
    net = make()
    x, state = draw(net, 1, 1)
    for _ in range(3):
        net(x, state)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.layers[0].weight_hh.add_(1)
        for _ in range(3):
            check(other, x, state)
        assert not torch.equal(other(x, state)[0], net(x, state)[0])


def test_several_threads_at_once():
    net = make(num_layers=2)
    inputs = [draw(net, 5, 2) for _ in range(4)]
    expected = [usual(net, *given)[0] for given in inputs]

    @torch.no_grad()
    def run(index: int) -> bool:
        return all(torch.equal(net(*inputs[index])[0], expected[index]) for _ in range(200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


@torch.no_grad()
def test_another_number_of_threads(calls):
    net = Recurrent(128, 400)
    x = torch.randn(1, 1, 128)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            for _ in range(3):
                outputs, _ = net(x)
                torch.testing.assert_close(outputs, usual(net, x)[0])
    finally:
        torch.set_num_threads(before)
    assert len(calls) >= 5
