"""Gates and states that carry gradients on the cuda engine, emulated: those of the loop."""

import logging
from functools import partial

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import ELEMENTWISE, WITH_GATES, Problem, SomeProducts, assert_same, results_with_gates

from gatewise.cells import GRU, LSTM, LayerNormLSTM, MinLSTM, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import cuda, loop
from gatewise.engine.cuda import plan
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.request import Unsupported
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
        ("f", "c"),
        ("outputs", "h", "final c"),
        *(pytest.param(some, marks=pytest.mark.slow) for some in (("o",), ("h",), ("final h", "i"))),
    ],
    ids=" ".join,
)
def test_a_loss_of_some(mixed):
    problem = Problem.draw(LSTM(), LENGTHS, H=5, recompute="o" in mixed)
    found, expected = (results_with_gates(run, problem, mixed.__contains__) for run in (cuda.run, loop.run))
    assert_same(found, expected, 1e-12)


def errors_of(problem, mixed=lambda _: True):
    """‖found - exact‖ / ‖exact‖ of all, found in one launch for the whole sequence."""

    found = results_with_gates(partial(cuda.run, design="whole"), problem, mixed)
    exact = results_with_gates(loop.run, problem.double(), mixed)
    return {
        name: (found[name] - value).norm() / value.norm().clamp(min=1e-6) for name, value in exact.items()
    }


VARIANTS = {
    "block": (Variant(), Variant(wsplit=2)),
    "cluster": (Variant(2, exchange=CLUSTER), Variant(2, 2, exchange=CLUSTER)),
    "grid": (Variant(4, 2, exchange=GRID), Variant(2, exchange=GRID)),
    "staged": (
        Variant(5, exchange=GRID, wsplit=2, tiles=2, at_once=1, staged=True),
        Variant(5, exchange=GRID, wsplit=4, tiles=2, at_once=1, staged=True, eights=1),
    ),
}
RAGGED = [5, 4, 4, 2, 2, 1, 1, 1, 1, 0]
# What the dtype's digits allow, TF32 having 10 of them after the point.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}
FIRST = [
    (LSTM(), "cluster", torch.bfloat16),
    (GRU(), "grid", torch.float32),
    (MinLSTM(), "grid", torch.bfloat16),  # which hands nothing on
]
OTHERS = [
    (cell, name, list(LIMITS)[(place + turn) % 3])
    for place, cell in enumerate([*ELEMENTWISE[:4], SomeProducts(), ELEMENTWISE[9]])
    for turn, name in enumerate(VARIANTS)
]


@pytest.mark.parametrize(
    ("cell", "name", "dtype"),
    [*FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=str,
)
def test_in_one_launch(cell, name, dtype, monkeypatch, tf32):  # noqa: ARG001
    ways = dict(zip(("forward", "backward"), VARIANTS[name], strict=True))
    monkeypatch.setattr(plan, "best", lambda shape, *_: ways[shape.way])
    for form in ({"masked": True}, {"reverse": True, "recompute": True}):
        problem = Problem.draw(cell, RAGGED, H=34, dtype=dtype, **form)
        errors = errors_of(problem)
        if "relu" in repr(cell):  # a sum near zero may be on either side of it, with another gradient
            errors = {name: error for name, error in errors.items() if "grad" not in name}
        assert max(errors.values()) <= LIMITS[dtype], errors


@pytest.mark.slow
@pytest.mark.parametrize(
    "mixed", [("f", "c"), ("outputs", "h", "final c"), ("o",), ("i", "final h")], ids=" ".join
)
def test_a_loss_of_some_in_one_launch(mixed):
    problem = Problem.draw(LSTM(), RAGGED, H=34, dtype=torch.float16)
    errors = errors_of(problem, mixed.__contains__)
    assert max(errors.values()) <= LIMITS[torch.float16], errors


def test_what_the_gates_leave_no_room_for_runs_step_by_step(monkeypatch):
    cell = LSTM()
    problem = Problem.draw(cell, RAGGED, H=34, dtype=torch.bfloat16)
    request = problem.request([tensor.requires_grad_() for tensor in problem.tensors], return_gates=True)
    monkeypatch.setattr(plan, "best", lambda shape, *_: None if shape.carried else Variant())
    with pytest.raises(Unsupported, match="no kernel for the whole sequence"):
        cuda.run(request, design="whole")
    cuda.run(request)
    assert not any(isinstance(design, WholeKernels) for design in cuda._designs[cell].values())


@pytest.mark.slow
@pytest.mark.parametrize("cell", [LSTM(), GRU(), LayerNormLSTM(), ProjectedLSTM(7)], ids=repr)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
def test_smaller_dtypes(cell, dtype, tolerance):
    problem = Problem.draw(cell, LENGTHS, H=34, dtype=dtype)
    found = results_with_gates(partial(cuda.run, design="steps"), problem)
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
