"""Gates and states that carry gradients on the cuda engine, emulated: those of the loop."""

import logging

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import WITH_GATES, Problem, assert_same, results_with_gates

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import cuda, loop
from gatewise.nn import Recurrent

pytestmark = needs_cpp

LENGTHS = [6, 5, 3, 3, 1, 0]
QUICK = [LSTM(), zoneout(ProjectedLSTM(3), {"c": 0.4}, True)]


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    with emulated_gpu():
        yield


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=repr(cell), marks=[] if repr(cell) in map(repr, QUICK) else [pytest.mark.slow])
        for cell in WITH_GATES
    ],
)
def test_a_loss_of_all_that_is_returned(cell):
    for form in ({"masked": True}, {"reverse": True, "recompute": True, "bias": False}):
        problem = Problem.draw(cell, LENGTHS, H=5, **form)
        found, expected = (results_with_gates(run, problem) for run in (cuda.run, loop.run))
        assert_same(found, expected, 1e-12)


@pytest.mark.parametrize(
    "mixed",
    [
        {"f", "c"},
        {"outputs", "h", "final c"},
        *(pytest.param(some, marks=pytest.mark.slow) for some in ({"o"}, {"h"}, {"final h", "i"})),
    ],
    ids=" ".join,
)
def test_a_loss_of_some(mixed):
    problem = Problem.draw(LSTM(), LENGTHS, H=5, recompute="o" in mixed)
    found, expected = (results_with_gates(run, problem, mixed.__contains__) for run in (cuda.run, loop.run))
    assert_same(found, expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [LSTM(), GRU(), LayerNormLSTM(), ProjectedLSTM(7)], ids=repr)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
def test_smaller_dtypes(cell, dtype, tolerance):
    problem = Problem.draw(cell, LENGTHS, H=34, dtype=dtype)
    found = results_with_gates(cuda.run, problem)
    assert found["f" if "f" in found else "r"].dtype == dtype
    for name, value in results_with_gates(loop.run, problem.double()).items():
        assert (found[name].double() - value).norm() <= tolerance * value.norm(), name


def test_it_runs_on_the_cuda_engine(caplog):
    torch.manual_seed(0)
    settings = {"cell": LSTM(), "num_layers": 2, "bidirectional": True}
    recurrent, reference = (
        Recurrent(3, 5, **settings, engine=engine).double() for engine in ("cuda", "loop")
    )
    reference.load_state_dict(recurrent.state_dict())
    x, lengths = torch.randn(5, 3, 3, dtype=torch.float64), [5, 2, 4]
    found = []
    with caplog.at_level(logging.INFO, "gatewise"):
        for rnn in (recurrent, reference):
            outputs, final, gates = rnn(x, lengths=lengths, return_gates=True)
            loss = outputs.sin().sum() + final.h.cos().sum() + sum(v.square().sum() for v in gates.values())
            found.append(dict(enumerate(torch.autograd.grad(loss, [*rnn.parameters()]))))
    assert "cannot run" not in caplog.text
    assert_same(*found, 1e-12)


def test_second_derivatives_are_the_loops():
    problem = Problem.draw(LSTM(), [3, 1], H=5)
    seconds = []
    for run in (cuda.run, loop.run):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        gates = run(problem.request(tensors, return_gates=True)).gates
        loss = gates["f"].square().sum() + gates["c"].sin().sum() + gates["h"].sum()
        (first,) = torch.autograd.grad(loss, tensors[:1], create_graph=True)
        seconds.append(dict(enumerate(torch.autograd.grad(first.square().sum(), tensors[:3]))))
    assert_same(*seconds, 1e-12)


def test_a_backward_pass_inside_a_captured_graph_may_come_too_early(monkeypatch):
    # Nothing may be compiled there: the loop's operations are captured instead.
    problem = Problem.draw(LSTM(), LENGTHS, H=5)
    gradients = []
    for run in (cuda.run, loop.run):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        gates = run(problem.request(tensors, return_gates=True)).gates
        with monkeypatch.context() as patch:
            patch.setattr("gatewise.engine.cuda.gates.capturing", lambda _: True)
            gradients.append(
                dict(enumerate(torch.autograd.grad(gates["n"].sum() + gates["f"].sum(), tensors[:3])))
            )
    assert not gradients[0][0].requires_grad
    assert_same(*gradients, 1e-12)
