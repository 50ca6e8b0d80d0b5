"""The cuda engine step by step, emulated: for every cell and dtype the loop's results."""

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import CELLS, Problem, assert_same, relative_errors

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine import cuda, loop
from gatewise.engine.cuda.steps import StepKernels
from gatewise.engine.request import Unsupported
from gatewise.nn import Recurrent

pytestmark = needs_cpp


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    with emulated_gpu():
        yield


LENGTHS = [6, 5, 3, 3, 1, 0]
QUICK = [LayerNormLSTM(), ProjectedLSTM(7)]


def all_but(quick):
    """Every cell as a parameter, those of other classes than ``quick`` in slow tests."""
    kinds = [type(cell) for cell in quick]
    return [
        pytest.param(cell, id=repr(cell), marks=[] if type(cell) in kinds else [pytest.mark.slow])
        for cell in CELLS
        if "MatrixOfZeros" not in repr(cell)  # its matrix is no number per feature: another engine runs it
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", all_but(QUICK))
def test_every_cell_equals_the_loop(cell, reverse):
    problem = Problem.draw(cell, LENGTHS, H=5, masked=True, reverse=reverse, bias=not reverse)
    assert_same(problem.results("cuda"), problem.results("loop"), 1e-12)


# What the dtype's digits allow (2^-8, 2^-11), with their sums over the steps.
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.mark.parametrize(
    "dtype",
    [torch.bfloat16, *(pytest.param(d, marks=pytest.mark.slow) for d in (torch.float32, torch.float16))],
    ids=str,
)
@pytest.mark.parametrize("cell", all_but([GRU()]))
def test_every_dtype_is_as_exact_as_its_digits(cell, dtype):
    problem = Problem.draw(cell, LENGTHS, H=34, masked=True)
    errors = relative_errors("cuda", problem, dtype)
    if "relu" in repr(cell):  # a sum near zero may be on either side of it, with another gradient
        errors = {name: error for name, error in errors.items() if "grad" not in name}
    assert max(errors.values()) <= LIMITS[dtype], errors


@pytest.mark.parametrize(
    "hidden", [33, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 31, 32, 300))]
)
def test_sizes_around_a_block(hidden):
    problem = Problem.draw(LayerNormLSTM(), [3, 2], H=hidden)
    assert_same(problem.results("cuda"), problem.results("loop"), 1e-11)


@pytest.mark.parametrize("cell", [LSTM(), ProjectedLSTM(7)], ids=repr)
def test_gates_and_states_are_the_loops(cell):
    problem = Problem.draw(cell, LENGTHS, H=5, reverse=True)
    request = problem.request(problem.tensors, return_gates=True)
    with torch.no_grad():
        found, expected = cuda.run(request), loop.run(request)
    assert found.gates.keys() == expected.gates.keys()
    for name, values in expected.gates.items():
        torch.testing.assert_close(found.gates[name], values, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_second_derivatives_come_from_the_loop():
    problem = Problem.draw(LSTM(), [3, 2], H=5)
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    assert torch.autograd.gradgradcheck(lambda *tensors: problem.run("cuda", *tensors), inputs)


def test_under_autocast():
    problem = Problem.draw(LSTM(), LENGTHS, H=34, dtype=torch.float32)
    found, expected = problem.results("cuda", autocast=True), problem.results("loop")
    assert found["outputs"].dtype == found["final.h"].dtype == torch.bfloat16
    assert found["final.c"].dtype == torch.float32
    for name, value in expected.items():
        assert (found[name].float() - value).norm() <= 2e-2 * value.norm(), name


def test_in_a_module_with_layers_and_directions():
    torch.manual_seed(1)
    net = Recurrent(3, 5, num_layers=2, bidirectional=True, engine="cuda", state_dropout=0.3, zoneout=0.2)
    x, lengths = torch.randn(6, 4, 3), [6, 2, 5, 0]
    results = []
    for engine in ("cuda", "loop"):
        net.engine = engine
        torch.manual_seed(7)
        outputs, state = net(x, lengths=lengths)
        grads = torch.autograd.grad(outputs.square().sum() + state.c.sum(), list(net.parameters()))
        results.append([outputs, *state, *grads])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", [GRU(), ProjectedLSTM(7)], ids=repr)
def test_recomputed_gradients_are_those_that_were_kept(cell, monkeypatch):
    passes = []

    def forward(self, request, keep, forward=StepKernels.forward):
        passes.append(keep)
        return forward(self, request, keep)

    monkeypatch.setattr(StepKernels, "forward", forward)
    kept = Problem.draw(cell, LENGTHS, H=5, masked=True).results("cuda")
    assert passes == [True]
    recomputed = Problem.draw(cell, LENGTHS, H=5, masked=True, recompute=True).results("cuda")
    assert passes == [True, False, True]
    assert_same(recomputed, kept, 0)


def test_nothing_is_compiled_while_a_graph_is_captured(monkeypatch):
    problem = Problem.draw(LSTM(), [2, 1], H=6)
    monkeypatch.setattr(cuda, "capturing", lambda _: True)
    with pytest.raises(Unsupported, match="captured before the first call"):
        cuda.run(problem.request(problem.tensors))
