"""On a CUDA device, by cuDNN: the results of the loop in float64 on the CPU. Run by ``make test-gpu``.

What needs no GPU (where weights lie, how a ragged batch is passed) is in test_torch_stack.py.
"""

import copy
import logging
import re

import pytest
import torch
from torch import nn

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN, CoupledLSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine import auto, torch_nn
from gatewise.nn import Recurrent

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

DEVICE = "cuda"
CELLS = [LSTM(), ProjectedLSTM(24), GRU(), RNN()]
T, B, F, H = 20, 8, 32, 64
LENGTHS = {"full": None, "ragged": [20, 3, 11, 0, 7, 20, 1, 16]}


@pytest.fixture(autouse=True)
def tf32():
    """A function that switches TF32 on or off in cuDNN and cuBLAS; off before, and as it was after."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    # Since torch 2.9 each kind of operation has a setting of its own; read all at once, they must agree.
    new = hasattr(cudnn, "rnn")
    owners = (cudnn.rnn, cudnn.conv, matmul) if new else (cudnn, matmul)
    name, on, off = ("fp32_precision", "tf32", "ieee") if new else ("allow_tf32", True, False)
    before = [getattr(owner, name) for owner in owners]

    def switch(wanted):
        for owner in owners:
            setattr(owner, name, on if wanted else off)

    switch(False)
    yield switch
    for owner, value in zip(owners, before, strict=True):
        setattr(owner, name, value)


@pytest.fixture
def calls(monkeypatch):
    """Number of layers, times directions, of every run of aten's."""
    seen = []

    def run(stack, weights, train, run=torch_nn._run):
        seen.append(len(stack.weights))
        return run(stack, weights, train)

    monkeypatch.setattr(torch_nn, "_run", run)
    return seen


def draw(dtype=torch.float32, **settings):
    """A model on the device, in this dtype, with engine=torch."""
    torch.manual_seed(0)
    recurrent = Recurrent(F, H, recurrent_init="uniform", engine="torch", **settings).to(dtype)
    with torch.no_grad():
        for parameter in recurrent.parameters():
            if parameter.requires_grad:
                parameter.uniform_(-(H**-0.5), H**-0.5)
    return recurrent.to(DEVICE)


def results(recurrent, lengths=None, **call):
    """Values and gradients, by name, of inputs and states that every dtype rounds alike."""
    weight = recurrent.layers[0].weight_ih
    generator = torch.Generator().manual_seed(1)

    def randn(*shape):
        return torch.randn(shape, generator=generator).bfloat16().to(weight.device, weight.dtype)

    recurrent.zero_grad()
    x = randn(T, B, F).requires_grad_()
    initial = [randn(len(recurrent.layers), B, size).requires_grad_() for size in recurrent.state_sizes]
    outputs, final, *gates = recurrent(x, initial, lengths, **call)
    assert outputs.device.type == weight.device.type
    sum((randn(*v.shape) * v).sum() for v in (outputs, *final)).backward()
    named = {"outputs": outputs, **{f"final.{n}": getattr(final, n) for n in recurrent.cell.states}}
    named |= {f"gate {name}": value for each in gates for name, value in each.items()}
    named |= {"grad x": x.grad, **{f"grad state {i}": s.grad for i, s in enumerate(initial)}}
    named |= {f"grad {n}": p.grad for n, p in recurrent.named_parameters() if p.requires_grad}
    return {name: value.detach() for name, value in named.items()}


def reference(recurrent, **call):
    """The loop's results in float64 on the CPU, from the same weights."""
    exact = copy.deepcopy(recurrent).to("cpu", torch.float64)
    exact.engine = "loop"
    return results(exact, **call)


def assert_close(found, expected, tolerance):
    """Each within this relative norm."""
    assert found.keys() == expected.keys()
    errors = {}
    for name, value in expected.items():
        assert found[name].isfinite().all(), name
        error = (found[name].detach().cpu().double() - value).norm() / value.norm()
        errors[name] = error.item()
    assert max(errors.values()) <= tolerance, errors


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", [*CELLS, RNN("relu")], ids=repr)
def test_float32(cell, layers, bidirectional, training, form, calls):
    """In one call, with gradients in evaluation as well."""
    recurrent = draw(cell=cell, num_layers=layers, bidirectional=bidirectional).train(training)
    found = results(recurrent, lengths=LENGTHS[form])
    assert calls == [layers * (1 + bidirectional)]
    assert_close(found, reference(recurrent, lengths=LENGTHS[form]), 1e-5)


def at_once(cell, dtype):
    """Directions of each call: of a plain RNN in float16, cuDNN has wrong gradients for both in one."""
    return [1, 1] if dtype == torch.float16 and isinstance(cell, RNN) else [2]


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_other_dtypes(cell, dtype, form, calls):
    recurrent = draw(dtype, cell=cell, bidirectional=True)
    found = results(recurrent, lengths=LENGTHS[form])
    assert calls == at_once(cell, dtype)
    assert {value.dtype for value in found.values()} == {dtype}
    expected = reference(recurrent, lengths=LENGTHS[form])
    assert_close(found, expected, 1e-12 if dtype == torch.float64 else 1e-2)


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_tf32_where_torch_says_so(cell, form, tf32):
    recurrent = draw(cell=cell, bidirectional=True)
    tf32(True)
    found = results(recurrent, lengths=LENGTHS[form])
    assert_close(found, reference(recurrent, lengths=LENGTHS[form]), 1e-3)


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_autocast(cell, dtype, form, calls):
    """Values in autocast's dtype, as torch.nn's, gradients in the weights' dtype."""
    recurrent = draw(cell=cell, bidirectional=True)
    with torch.autocast(DEVICE, dtype):
        found = results(recurrent, lengths=LENGTHS[form])
    assert calls == at_once(cell, dtype)
    for name, value in found.items():
        assert value.dtype == (torch.float32 if name.startswith("grad") else dtype), name
    assert_close(found, reference(recurrent, lengths=LENGTHS[form]), 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
@pytest.mark.filterwarnings("error")
def test_cudnn_finds_the_weights_where_it_looks_for_them(cell, bias, dtype):
    """It warns of "RNN module weights" that it has to compact."""
    recurrent = draw(dtype, cell=cell, num_layers=2, bidirectional=True, bias=bias)
    results(recurrent)
    results(recurrent, lengths=LENGTHS["ragged"])
    with torch.no_grad():
        recurrent(torch.randn(T, B, F, device=DEVICE, dtype=dtype))


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_equals_torch_nn(kind, form):
    """The same calls of the same library, so the same but for the order of sums."""
    module = kind(F, H, 2, bidirectional=True).to(DEVICE)
    recurrent = Recurrent.from_torch(module)
    x = torch.randn(T, B, F, device=DEVICE)
    lengths = torch.tensor(LENGTHS[form] or [T] * B).clamp(min=1)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    outputs, _ = module(packed)
    torch.testing.assert_close(recurrent(packed)[0].data, outputs.data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_one_direction_at_a_time(cell, form):
    """The reverse direction alone has to be turned around, which cuDNN does only beside a forward one."""
    recurrent = draw(cell=cell, bidirectional=True)
    expected = reference(recurrent, lengths=LENGTHS[form])

    def alone(engine, stack):  # noqa: ARG001
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "run_stack", alone)
        found = results(recurrent, lengths=LENGTHS[form])
    assert_close(found, expected, 1e-5)


def test_auto_tries_cudnn_and_takes_what_is_fastest(calls, caplog):
    """Every try has the same results, and what is taken is said once, with what was measured."""
    recurrent = draw(num_layers=2)
    recurrent.engine = "auto"
    expected = reference(recurrent)
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(40):
            assert_close(results(recurrent), expected, 1e-5)
            torch.cuda.synchronize()
    assert 2 in calls
    assert auto.settled("cuda")
    (line,) = [record.getMessage() for record in caplog.records if "runs on" in record.getMessage()]
    assert re.match(
        r"engine=auto: LSTM \(64 features, float32, training\) runs on the \w+ engine.* \(measured: ", line
    )


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize(
    ("settings", "call"),
    [
        ({}, {"return_gates": True}),
        ({"zoneout": 0.3}, {}),
        ({"state_dropout": 0.3}, {}),
        ({"input_dropout": 0.3, "dropout": 0.3}, {}),
        ({"weight_dropout": 0.3}, {}),
        ({"cell": CoupledLSTM()}, {}),
        ({"cell": LayerNormLSTM()}, {}),
        ({"cell": ProjectedLSTM(H + 8)}, {}),
        ({"cell": ProjectedLSTM(H)}, {}),
    ],
    ids=str,
)
def test_what_cudnn_does_not_have(settings, call, engine):
    """Another engine runs it; dropouts in evaluation, where they have the same results everywhere."""
    recurrent = draw(num_layers=2, bidirectional=True, **settings).eval()
    recurrent.engine = engine
    assert_close(results(recurrent, **call), reference(recurrent, **call), 1e-5)
    recurrent.train()
    assert all(value.isfinite().all() for value in results(recurrent, **call).values())


def test_dropout_draws_from_torchs_generator(calls):
    """A checkpoint holds the generator's state, and a resumed training draws the same numbers."""
    recurrent = draw(num_layers=2, dropout=0.5)
    x = torch.randn(T, B, F, device=DEVICE)
    state = torch.cuda.get_rng_state()
    first, second = recurrent(x)[0], recurrent(x)[0]
    torch.cuda.set_rng_state(state)
    assert calls == [1, 1, 1, 1]
    assert torch.equal(recurrent(x)[0], first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_second_derivatives(cell):
    recurrent = draw(torch.float64, cell=cell, num_layers=2)

    def second(recurrent, device):
        x = torch.linspace(-1, 1, 4 * 2 * F, dtype=torch.float64).view(4, 2, F).to(device)
        outputs, _ = recurrent(x)
        parameters = [p for p in recurrent.parameters() if p.requires_grad]
        first = torch.autograd.grad(outputs.square().sum(), parameters, create_graph=True)
        return [g.cpu() for g in torch.autograd.grad(sum(g.square().sum() for g in first), parameters)]

    exact = copy.deepcopy(recurrent).cpu()
    exact.engine = "loop"
    torch.testing.assert_close(second(recurrent, DEVICE), second(exact, "cpu"), rtol=1e-9, atol=1e-9)


def test_backward_twice_gives_the_same():
    """cuDNN's backward pass writes into what the forward pass kept."""
    recurrent = draw(num_layers=2)
    loss = recurrent(torch.randn(T, B, F, device=DEVICE))[0].square().sum()
    parameters = list(recurrent.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), first, rtol=1e-6, atol=1e-6)


def test_without_cudnn(monkeypatch):
    """aten's own layers run where it is switched off."""
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    recurrent = draw(num_layers=2, bidirectional=True)
    for lengths in LENGTHS.values():
        assert_close(results(recurrent, lengths=lengths), reference(recurrent, lengths=lengths), 1e-5)


def test_weights_trained_moved_and_copied():
    """No parameter is tied to a buffer that a step of an optimizer, ``to`` or ``deepcopy`` would leave."""
    recurrent = draw(num_layers=2)
    optimizer = torch.optim.SGD(recurrent.parameters(), 0.1)
    results(recurrent)
    optimizer.step()
    copied = copy.deepcopy(recurrent).cpu().to(DEVICE)
    for model in (recurrent, copied):
        assert_close(results(model), reference(recurrent), 1e-5)
