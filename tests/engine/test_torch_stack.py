"""The torch engine's stacks: where cuDNN looks for weights, packed batches, what falls to other engines.

cuDNN's way through the engine runs on the CPU as well, where aten's own layers take the same arguments.
"""

import logging

import pytest
import torch
from problem import Problem, assert_same

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN, CoupledLSTM, ProjectedLSTM
from gatewise.engine import Stack, loop, torch_nn
from gatewise.engine.request import Unsupported, Weights
from gatewise.engine.torch_weights import in_one_buffer

CELLS = [LSTM(), ProjectedLSTM(2), GRU(), RNN(), RNN("relu")]
F, H = 3, 4


@pytest.fixture
def as_cudnn(monkeypatch):
    """The CPU is treated as a device of cuDNN's."""
    monkeypatch.setattr(torch_nn, "_CUDNN", ("cpu",))


def draw_weights(cell, layers, directions, bias=True, dtype=torch.float32):
    rows, P = len(cell.gates) * H, cell.state_sizes(H)[0]
    weights = []
    for index in range(layers * directions):
        inputs = F if index < directions else directions * P
        weights.append(
            Weights(
                torch.randn(rows, inputs, dtype=dtype),
                torch.randn(rows, P, dtype=dtype),
                torch.randn(rows, dtype=dtype) if bias else None,
                {name: torch.randn(H, dtype=dtype) for name in cell.own_parameters(H)},
                None if cell.projection_size is None else torch.randn(P, H, dtype=dtype),
            )
        )
    return weights


def draw_stack(cell, batch_sizes=(3, 3, 2, 1), layers=2, directions=2, batch=4, dtype=torch.float64):
    torch.manual_seed(0)
    sizes, count = cell.state_sizes(H), layers * directions
    states = [tuple(torch.randn(batch, size, dtype=dtype) for size in sizes) for _ in range(count)]
    x = torch.randn(sum(batch_sizes), F, dtype=dtype)
    weights = draw_weights(cell, layers, directions, dtype=dtype)
    return Stack(cell, tuple(weights), x, batch_sizes, tuple(states), directions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_weights_lie_where_cudnn_looks_for_them(cell, layers, directions, bias, dtype):
    """All matrices, then all biases, in one storage from its start, without a gap."""
    weights = draw_weights(cell, layers, directions, bias)
    listed = in_one_buffer(weights, dtype)
    projects = cell.projection_size is not None
    groups = [listed[i : i + 4 + projects] for i in range(0, len(listed), 4 + projects)]
    assert len(groups) == layers * directions
    expected = []
    for (U, W, b_ih, b_hh, *P), own in zip(groups, weights, strict=True):
        assert torch.equal(U, own.input.to(dtype))
        assert torch.equal(W, own.hidden.to(dtype))
        assert torch.equal(b_ih, own.bias.to(dtype) if bias else torch.zeros(len(U), dtype=dtype))
        second = torch.zeros(len(U), dtype=dtype)
        if own.own:
            second[2 * H :] = own.own["bias_n"]
        assert torch.equal(b_hh, second)
        assert not projects or torch.equal(P[0], own.projection.to(dtype))
        expected += [U, W, *P]
    for group in groups:
        expected += group[2:4]
    storage = listed[0].untyped_storage()
    offset = 0
    for tensor in expected:
        assert tensor.untyped_storage().data_ptr() == storage.data_ptr()
        assert tensor.storage_offset() == offset
        assert tensor.is_contiguous()
        assert tensor.dtype == dtype
        offset += tensor.numel()
    assert storage.nbytes() == offset * dtype.itemsize


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lengths", [[4, 4, 4], [5, 3, 3, 1, 0], [3, 3, 0], [1]], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
@pytest.mark.usefixtures("as_cudnn")
def test_one_direction_in_cudnns_way(cell, lengths, bias, reverse):
    problem = Problem.draw(cell, lengths, bias=bias, reverse=reverse)
    assert_same(problem.results("torch"), problem.results("loop"), 1e-12)


@pytest.mark.usefixtures("as_cudnn")
def test_a_default_device_is_not_that_of_batch_sizes():
    problem = Problem.draw(LSTM(), [3, 1], reverse=True)
    with torch.device("meta"):
        results = problem.results("torch")
    assert_same(results, problem.results("loop"), 1e-12)


@pytest.mark.parametrize("batch_sizes", [(5, 5, 2, 1, 1), (3, 3), (1,)], ids=str)
def test_reversed_rows(batch_sizes):
    rows = torch_nn.reversed_rows(batch_sizes)
    steps = torch.cat([torch.full((size,), t) for t, size in enumerate(batch_sizes)])
    sequences = torch.cat([torch.arange(size) for size in batch_sizes])
    lengths = (torch.tensor(batch_sizes)[:, None] > torch.arange(batch_sizes[0])).sum(0)
    assert torch.equal(sequences[rows], sequences)
    assert torch.equal(steps[rows], lengths[sequences] - 1 - steps)


@pytest.mark.parametrize("cell", [LSTM(), GRU(), ProjectedLSTM(2)], ids=repr)
@pytest.mark.usefixtures("as_cudnn")
def test_second_derivatives_of_a_stack(cell):
    stack = draw_stack(cell)

    def derivatives(run):
        tensors = [None if t is None else t.clone().requires_grad_() for t in stack.tensors()]
        outputs, *state = run(stack.settings.stack(tensors))
        loss = outputs.square().sum() + sum(s.sin().sum() for s in state)
        first = torch.autograd.grad(loss, tensors, create_graph=True)
        return first, torch.autograd.grad(sum(g.square().sum() for g in first), tensors)

    def by_torch(stack):
        outputs, state = engines.run_stack("torch", stack)
        return (outputs, *state)

    expected = derivatives(lambda stack: stack.layer_by_layer(loop.run))
    torch.testing.assert_close(derivatives(by_torch), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("as_cudnn")
def test_backward_twice_through_a_stack():
    stack = draw_stack(GRU())
    weights = [w._replace(hidden=w.hidden.requires_grad_()) for w in stack.weights]
    outputs, _ = engines.run_stack("torch", stack)
    needed = [w.hidden for w in weights]
    first = torch.autograd.grad(outputs.sum(), needed, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(outputs.sum(), needed)))


def test_a_ragged_batch_on_the_cpu_runs_layer_by_layer():
    assert engines.run_stack("torch", draw_stack(LSTM())) is None
    assert engines.run_stack("torch", draw_stack(LSTM(), (4, 4))) is not None


def test_which_engine_runs_stacks():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    assert engines.runs_stacks("auto", cuda)
    assert not engines.runs_stacks("auto", cpu)
    assert engines.runs_stacks("torch", cpu)
    assert not engines.runs_stacks("native", cuda)
    assert not engines.runs_stacks("loop", cuda)
    assert engines.run_stack("auto", draw_stack(LSTM(), (4, 4))) is None
    assert engines.run_stack("torch", draw_stack(CoupledLSTM(), (4, 4))) is None


@pytest.mark.parametrize(
    ("what", "index", "shape", "message"),
    [
        ("hidden", 0, (16, 3), r"W must be \[16, 4\]"),
        ("input", 1, (16, 2), r"the input x must be \[8, 2\]"),
        ("input", 3, (16, 9), r"the input x must be \[8, 9\] .* got \[8, 8\]"),
        ("bias", 2, (15,), r"b must be \[16\]"),
    ],
)
def test_shapes_of_a_stack_that_do_not_fit_are_named(what, index, shape, message):
    stack = draw_stack(LSTM(), (4, 4))
    weights = list(stack.weights)
    weights[index] = weights[index]._replace(**{what: torch.zeros(shape, dtype=torch.float64)})
    with pytest.raises(ValueError, match=message):
        engines.run_stack("torch", Stack(stack.cell, tuple(weights), stack.x, (4, 4), stack.states, 2))


def test_tensors_on_two_devices_or_of_two_dtypes():
    problem = Problem.draw(LSTM(), [2, 2])
    x, *others = problem.tensors
    with pytest.raises(Unsupported, match="tensors on cpu and meta"):
        torch_nn.run(problem.request([x, *(tensor.to("meta") for tensor in others)]))
    with pytest.raises(Unsupported, match=r"tensors of torch.float32 and torch.float64"):
        torch_nn.run(problem.request([x.float(), *others]))


@pytest.mark.usefixtures("as_cudnn")
def test_a_projection_that_cudnn_does_not_have():
    problem = Problem.draw(ProjectedLSTM(7), [2, 1])
    with pytest.raises(Unsupported, match="a projection to more features"):
        torch_nn.run(problem.request(problem.tensors))
    assert_same(problem.results("torch"), problem.results("loop"), 1e-12)


@pytest.mark.parametrize("status", ["NOT_SUPPORTED", "BAD_PARAM", "ARCH_MISMATCH"])
def test_what_cudnn_refuses_runs_on_another_engine(status, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_logged", set())
    message = f"cuDNN error: CUDNN_STATUS_{status}"

    def refuse(*_):
        raise RuntimeError(f"{message}\nwith a trace")

    monkeypatch.setattr(torch_nn, "_layer", lambda cell: refuse)  # noqa: ARG005
    problem = Problem.draw(LSTM(), [2, 1])
    with caplog.at_level(logging.INFO, "gatewise"):
        assert_same(problem.results("torch"), problem.results("loop"), 1e-12)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"engine=torch: LSTM cannot run on the torch engine: {message}"]


def test_other_errors_are_errors(monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch_nn, "_layer", lambda cell: fail)  # noqa: ARG005
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Problem.draw(LSTM(), [2, 1]).results("torch")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN(), ProjectedLSTM(5)], ids=repr)
def test_autocast_has_the_dtypes_of_torch_nn_on_cuda(cell, dtype):
    problem = Problem.draw(cell, [6, 6, 6], F=8, H=8, dtype=torch.float32)
    exact = problem.results("loop")
    tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    with torch.autocast("cpu", dtype):
        values = problem.run("torch", *tensors)
    if not (type(cell) is LSTM and dtype == torch.float16):  # which runs on another engine
        assert {value.dtype for value in values} == {dtype}
    grads = torch.autograd.grad(problem.loss(values), tensors)
    assert {grad.dtype for grad in grads} == {torch.float32}
    names = ["outputs", *(f"final.{s}" for s in cell.states), *(f"grad {name}" for name in problem.names)]
    for name, value in zip(names, (*values, *grads), strict=True):
        error = (value.detach().float() - exact[name]).norm() / exact[name].norm()
        assert error < 0.05, name


def test_second_derivatives_under_autocast():
    """They come from the loop, under the autocast of the forward pass."""
    problem = Problem.draw(GRU(), [4, 4], dtype=torch.float32)

    def second(engine, autocast):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        with torch.autocast("cpu", torch.bfloat16, autocast):
            values = problem.run(engine, *tensors)
        first = torch.autograd.grad(problem.loss(values), tensors, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), tensors)

    for value, expected in zip(second("torch", True), second("loop", False), strict=True):
        assert value.dtype == torch.float32
        assert (value - expected).norm() / expected.norm() < 0.1


def test_float64_stays_under_autocast():
    problem = Problem.draw(LSTM(), [3, 3])
    assert_same(problem.results("torch", autocast=True), problem.results("torch"), 0)
