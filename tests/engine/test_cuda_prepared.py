"""Calls of the cuda engine are prepared from their second time on, with the same results; emulated."""

from __future__ import annotations

import copy

import pytest
import torch
from emulator import emulated_gpu, needs_cpp

from gatewise.cells import GRU, LSTM, LayerNormLSTM, PeepholeLSTM, ProjectedLSTM
from gatewise.engine import PreparedLayers, auto, cuda
from gatewise.engine.request import Unsupported
from gatewise.nn import Recurrent

pytestmark = needs_cpp


@pytest.fixture(autouse=True)
def _gpu():
    with emulated_gpu():
        yield


@pytest.fixture
def calls(monkeypatch):
    """Whether each prepared call had a result."""
    found = []
    run = PreparedLayers.run

    def spy(self, *args):
        result = run(self, *args)
        found.append(result is not None)
        return result

    monkeypatch.setattr(PreparedLayers, "run", spy)
    return found


def make(cell=None, dtype=torch.float64, **settings):
    torch.manual_seed(0)
    return Recurrent(3, 4, cell=cell or LSTM(), engine="cuda", **settings).to(dtype)


def draw(net, time, batch, dtype=torch.float64):
    x = torch.randn(*((batch, time) if net.batch_first else (time, batch)), 3, dtype=dtype)
    return x, tuple(torch.randn(net.num_layers, batch, size).to(dtype) for size in net.state_sizes)


def results(net, x, state=None):
    """Outputs, final state, and the gradients of all parameters and inputs."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    state = None if state is None else tuple(s.clone().requires_grad_() for s in state)
    outputs, final = net(x, state)
    weights = torch.arange(1.0, 1 + outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)
    sum((outputs * weights).sum() + s.pow(2).sum() for s in final).backward()
    return [outputs, *final, x.grad, *(s.grad for s in state or ()), *(p.grad for p in net.parameters())]


def check(net, *args):
    expected = results(copy.deepcopy(net), *args)  # a copy has prepared nothing
    for tensor, other in zip(results(net, *args), expected, strict=True):
        assert tensor is other is None or torch.equal(tensor, other)


@pytest.mark.parametrize(
    ("cell", "settings", "dtype"),
    [
        (LSTM(), {"num_layers": 2, "batch_first": True}, torch.bfloat16),
        *(
            pytest.param(cell, settings, dtype, marks=pytest.mark.slow)
            for cell in (LSTM(), GRU(), LayerNormLSTM(), PeepholeLSTM(), ProjectedLSTM(2))
            for settings in ({}, {"num_layers": 2}, {"bias": False})
            for dtype in (torch.float64, torch.float32, torch.bfloat16)
        ),
    ],
    ids=str,
)
def test_a_call_that_comes_again(cell, settings, dtype, calls):
    net = make(cell, dtype, **settings)
    x, state = draw(net, 5, 2, dtype)
    for _ in range(3):
        check(net, x, state)
        check(net, x)
    with torch.no_grad():
        outputs = [net(x)[0] for _ in range(3)]
    assert torch.equal(outputs[0], outputs[2])
    assert calls == [True] * 7


def test_another_form_another_setting_and_what_the_gpu_refuses(calls, monkeypatch):
    net = make(dtype=torch.float32)
    x, state = draw(net, 3, 2, torch.float32)
    for _ in range(2):
        net(x)
    assert calls == [True]
    net(x, tuple(s.double().float() for s in state))
    assert calls == [True] * 2
    net.engine = "loop"
    net(x)
    net.engine = "cuda"
    assert calls == [True] * 2
    matmul = torch.backends.cuda.matmul
    name, other = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before, setting = net._prepared._forms.copy(), getattr(matmul, name)
    setattr(matmul, name, other)
    try:
        net(x)  # by other kernels: prepared anew
    finally:
        setattr(matmul, name, setting)
    assert [*before] == [*net._prepared._forms]
    assert [*before.values()] != [*net._prepared._forms.values()]
    assert calls == [True] * 3

    monkeypatch.setattr(PreparedLayers, "_are_as_prepared", lambda *_, **__: False)
    net(x)  # by the general way
    assert calls[-1] is False
    with pytest.raises(ValueError, match="F = 3"):
        net(x[..., :2])


def test_weights_are_read_anew(calls):
    net = make()
    x, _ = draw(net, 3, 2)
    for _ in range(3):
        results(net, x)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.sub_(0.1 * parameter.grad)
    check(net, x)
    assert calls == [True] * 3
    net.to(torch.float32)
    check(net, x.float())


def test_two_calls_before_their_backward_passes(calls):
    net = make()
    (x, _), (y, _) = draw(net, 3, 2), draw(net, 3, 2)
    expected = [torch.autograd.grad(net(t)[0].square().sum(), net.layers[0].weight_hh)[0] for t in (x, y)]
    assert calls == [True]
    losses = [net(t)[0].square().sum() for t in (x, y)]
    found = [torch.autograd.grad(loss, net.layers[0].weight_hh)[0] for loss in losses]
    for gradient, other in zip(found, expected, strict=True):
        assert torch.equal(gradient, other)


def test_not_while_a_graph_is_captured_nor_for_another_stream(calls, monkeypatch):
    """What was made in a graph's memory holds nothing outside of it."""
    net = make()
    x, _ = draw(net, 3, 2)
    check(net, x)
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "capturing", lambda _: True)
        net(x)
    assert calls == []
    check(net, x)
    (first,) = net._prepared._forms.values()
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "stream_of", lambda _: 7)
        check(net, x)
    (second,) = net._prepared._forms.values()
    assert second is not first
    assert calls == [True] * 2


@pytest.mark.slow
def test_auto_prepares_what_it_has_found_to_be_fastest(calls, monkeypatch):
    class Clock:
        """By which the cuda engine's steps are fastest."""

        def now(self, device):  # noqa: ARG002
            return 0

        def done(self, event):  # noqa: ARG002
            return True

        def milliseconds(self, first, last):  # noqa: ARG002
            return 1.0

    monkeypatch.setattr(auto, "clocks", {"cpu": Clock()})
    monkeypatch.setattr(auto, "_file", lambda *_: None)
    for name in ("the torch engine", "the function engine"):
        monkeypatch.setitem(auto._ENGINES, name, refused)
    net = make(PeepholeLSTM())
    net.engine = "auto"
    x, _ = draw(net, 3, 2)
    for _ in range(7):  # each candidate is tried in its turn
        check(net, x)
    assert calls
    assert all(calls)
    (prepared,) = net._prepared._forms.values()
    torch.use_deterministic_algorithms(True)
    try:
        assert not prepared.is_current()
    finally:
        torch.use_deterministic_algorithms(False)


def refused(request):  # noqa: ARG001
    raise Unsupported("a test")


@pytest.mark.parametrize("layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_under_autocast(layers, calls):
    """Weights in float32, products in bfloat16; without autocast it is prepared anew."""
    net = make(GRU(), torch.float32, num_layers=layers)
    x, state = draw(net, 3, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for given in (x, x.bfloat16()):
            for _ in range(2):
                check(net, given, state)
                check(net, given)
        outputs, final = net(x)
    assert outputs.dtype == final.h.dtype == torch.bfloat16
    assert calls == [True] * 7
    for _ in range(3):
        check(net, x)
    assert calls == [True] * 9
