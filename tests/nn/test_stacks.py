"""``Recurrent`` with engine=torch: all layers and directions in one call, with the results of the loop."""

import copy

import pytest
import torch

from gatewise.cells import GRU, LSTM, RNN, ProjectedLSTM
from gatewise.engine import torch_nn
from gatewise.nn import Recurrent

CELLS = [LSTM(), ProjectedLSTM(2), GRU(), RNN(), RNN("relu")]
T, B, F, H = 5, 4, 3, 4
LENGTHS = {"full": None, "ragged": [2, 5, 0, 3]}


@pytest.fixture
def calls(monkeypatch):
    """The number of layers, times directions, of every call of aten's."""
    seen = []

    def run(stack, weights, train, run=torch_nn._run):
        seen.append(len(stack.weights))
        return run(stack, weights, train)

    monkeypatch.setattr(torch_nn, "_run", run)
    return seen


def draw(seed=0, dtype=torch.float64, **settings):
    torch.manual_seed(seed)
    recurrent = Recurrent(F, H, engine="torch", **settings).to(dtype)
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.uniform_(-0.7, 0.7)
    return recurrent


def results(recurrent, engine, lengths=None, state=True, **call):
    """Values and gradients, by name; random numbers from the same seed."""
    recurrent = copy.deepcopy(recurrent)
    recurrent.engine = engine
    dtype = next(recurrent.parameters()).dtype
    generator = torch.Generator().manual_seed(1)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    x = randn(T, B, F)
    initial = [randn(len(recurrent.layers), B, size) for size in recurrent.state_sizes] if state else None
    torch.manual_seed(2)
    outputs, final, *gates = recurrent(x, initial, lengths, **call)
    loss = sum((randn(*v.shape).detach() * v).sum() for v in (outputs, *final))
    loss.backward()
    named = {
        "outputs": outputs,
        **{f"final.{n}": v for n, v in zip(recurrent.cell.states, final, strict=True)},
    }
    named |= {f"gate {name}": value for each in gates for name, value in each.items()}
    named |= {"grad x": x.grad, **{f"grad state {i}": s.grad for i, s in enumerate(initial or ())}}
    named |= {f"grad {n}": p.grad for n, p in recurrent.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in named.items()}


def assert_equals_loop(recurrent, **call):
    expected = results(recurrent, "loop", **call)
    torch.testing.assert_close(results(recurrent, "torch", **call), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", ["cpu", "cudnn"])
@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize(
    "bias",
    [pytest.param(True, id="bias"), pytest.param(False, id="nobias", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_equals_the_loop(cell, layers, bidirectional, bias, form, way, calls, monkeypatch):
    """In evaluation, too: pytorch#15788."""
    if way == "cudnn":
        monkeypatch.setattr(torch_nn, "_CUDNN", ("cpu",))
    count = layers * (1 + bidirectional)
    for settings in ({}, {"learn_initial_state": True}):
        recurrent = draw(cell=cell, num_layers=layers, bidirectional=bidirectional, bias=bias, **settings)
        for training in (True, False):
            recurrent.train(training)
            calls.clear()
            assert_equals_loop(recurrent, lengths=LENGTHS[form], state=not settings)
            assert calls == ([1] * count if (form, way) == ("ragged", "cpu") else [count])


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_what_runs_as_training_is_what_needs_gradients(cell, monkeypatch):
    """cuDNN keeps for the backward pass only what it is told to."""
    told = []

    def run(stack, weights, train, run=torch_nn._run):
        told.append(train)
        return run(stack, weights, train)

    monkeypatch.setattr(torch_nn, "_run", run)
    recurrent, x = draw(cell=cell).eval(), torch.randn(T, B, F, dtype=torch.float64)
    recurrent(x)
    with torch.no_grad():
        recurrent(x)
    recurrent.requires_grad_(False)(x)
    recurrent(x.requires_grad_())
    assert told == [True, False, False, True]


@pytest.mark.parametrize("way", ["cpu", "cudnn"])
@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weight_dropout": 0.3}, [4]),
        ({"dropout": 0.3}, [2, 2]),
        ({"input_dropout": 0.3}, [2, 2]),
        ({"dropout": 0.3, "input_dropout": 0.3, "weight_dropout": 0.3}, [2, 2]),
        ({"state_dropout": 0.3}, []),
        ({"zoneout": 0.3}, []),
        ({"weight_dropout": 0.3, "state_dropout": 0.3, "dropout": 0.3}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_dropouts(cell, settings, expected, form, way, calls, monkeypatch):
    """The same random numbers in the same order, whichever engine runs; one call where the law allows it."""
    if way == "cudnn":
        monkeypatch.setattr(torch_nn, "_CUDNN", ("cpu",))
    recurrent = draw(cell=cell, num_layers=2, bidirectional=True, **settings)
    assert_equals_loop(recurrent, lengths=LENGTHS[form])
    in_pieces = (form, way) == ("ragged", "cpu") and expected
    assert calls == ([1, 1, 1, 1] if in_pieces else expected)
    calls.clear()
    assert_equals_loop(recurrent.eval(), lengths=LENGTHS[form])
    if "zoneout" not in settings and way == "cudnn":
        assert calls == [4]


def test_gates_are_still_to_be_had(calls):
    assert_equals_loop(draw(num_layers=2, bidirectional=True), return_gates=True)
    assert calls == []


@pytest.mark.parametrize("cell", [LSTM(), ProjectedLSTM(2), GRU(), RNN()], ids=repr)
def test_autocast(cell, calls):
    """In bfloat16, with gradients in float32."""
    recurrent = draw(dtype=torch.float32, cell=cell, num_layers=2, bidirectional=True)
    exact = results(recurrent, "loop")
    with torch.autocast("cpu", torch.bfloat16):
        rounded = results(recurrent, "torch")
    assert calls == [4]
    for name, expected in exact.items():
        assert rounded[name].dtype == (torch.float32 if name.startswith("grad") else torch.bfloat16), name
        assert (rounded[name].float() - expected).norm() / expected.norm() < 0.05, name


def test_no_steps():
    recurrent = draw(num_layers=2, bidirectional=True)
    assert_equals_loop(recurrent, lengths=[0, 0, 0, 0])


def test_only_what_is_trained_gets_a_gradient(calls):
    recurrent = draw(num_layers=2, cell=GRU())
    recurrent.layers[0].requires_grad_(False)
    recurrent(torch.randn(T, B, F, dtype=torch.float64))[0].sum().backward()
    assert calls == [2]
    for name, parameter in recurrent.named_parameters():
        assert (parameter.grad is not None) == name.startswith("layers.1."), name


def test_torch_func_looks_inside():
    recurrent = draw(num_layers=2)
    parameters = {name: parameter.detach() for name, parameter in recurrent.named_parameters()}
    x = torch.randn(T, B, F, dtype=torch.float64)

    def loss(parameters):
        return torch.func.functional_call(recurrent, parameters, (x,))[0].square().sum()

    loss(dict(recurrent.named_parameters())).backward()
    expected = {name: parameter.grad for name, parameter in recurrent.named_parameters()}
    torch.testing.assert_close(torch.func.grad(loss)(parameters), expected, rtol=1e-12, atol=1e-12)


# Dynamo reads every attribute of a tensor.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compiled_code_calls_it(calls):
    recurrent = draw(num_layers=2)
    x = torch.randn(T, B, F, dtype=torch.float64)
    expected = recurrent(x)[0]
    torch.testing.assert_close(torch.compile(recurrent, backend="eager")(x)[0], expected)
    assert calls == [2, 2]
