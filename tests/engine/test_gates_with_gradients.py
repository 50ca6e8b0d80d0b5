"""Gates and states of every step that carry gradients: the native engine has those of the loop."""

import logging
from functools import partial

import pytest
import torch
from odd_cells import EVERY_ENGINE
from problem import WITH_GATES, Problem, assert_same, needs_compiler, results_with_gates
from torch import tanh

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, Cell, LayerNormLSTM, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import loop, native
from gatewise.engine.native.emit import source
from gatewise.engine.native.kernel import loaded
from gatewise.engine.request import Unsupported
from gatewise.engine.traced.pruned import pruned
from gatewise.engine.traced.trace import trace
from gatewise.nn import Recurrent

pytestmark = needs_compiler

LENGTHS = [6, 5, 3, 3, 1, 0]
QUICK = [LSTM(), LayerNormLSTM(), zoneout(ProjectedLSTM(3), {"c": 0.4}, True)]
RETURNING = [
    pytest.param(cell, id=repr(cell), marks=[] if repr(cell) in map(repr, QUICK) else [pytest.mark.slow])
    for cell in WITH_GATES
]


@pytest.mark.parametrize("cell", RETURNING)
def test_a_loss_of_all_that_is_returned(cell):
    for form in ({"masked": True}, {"reverse": True, "recompute": True, "bias": False}):
        problem = Problem.draw(cell, LENGTHS, H=5, **form)
        assert_same(results_with_gates(native.run, problem), results_with_gates(loop.run, problem), 1e-12)


@pytest.mark.parametrize(
    "mixed",
    [
        pytest.param(("f", "c"), id="a gate and a state"),
        pytest.param({"o"}, id="a gate alone"),
        pytest.param({"h"}, id="h alone"),
        pytest.param(("outputs", "h", "final c"), id="no gate"),
    ],
)
def test_a_loss_of_some(mixed):
    problem = Problem.draw(LSTM(), LENGTHS, H=5)
    found, expected = (results_with_gates(run, problem, mixed.__contains__) for run in (native.run, loop.run))
    assert_same(found, expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("cell", RETURNING)
def test_every_kind_of_loss(cell, recompute, reverse):
    problem = Problem.draw(cell, LENGTHS, H=5, masked=True, reverse=reverse, recompute=recompute)
    with torch.no_grad():
        names = list(native.run(problem.request(problem.tensors, return_gates=True)).gates)
    for mixed in ({"outputs"}, {"final h", *names[::2]}, set(names[1::2]) or {"h"}):
        found, expected = (
            results_with_gates(run, problem, mixed.__contains__) for run in (native.run, loop.run)
        )
        assert_same(found, expected, 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("cell", "hidden"), [(LSTM(), 600), (LayerNormLSTM(), 300), (LSTM(), 67)], ids=repr)
@pytest.mark.parametrize("lengths", [[30] * 40 + [17, 3], [150, 40]], ids=len)
def test_threads_and_chunks_of_steps(cell, hidden, lengths, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        problem = Problem.draw(cell, lengths, F=20, H=hidden)
        assert_same(results_with_gates(native.run, problem), results_with_gates(loop.run, problem), 1e-10)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("autocast", "tolerance"), [(False, 1e-5), (True, 0.02)], ids=["float32", "bfloat16"]
)
def test_smaller_dtypes(autocast, tolerance):
    problem = Problem.draw(LSTM(), LENGTHS, H=40, dtype=torch.float32)
    found = results_with_gates(native.run, problem, autocast=autocast)
    expected = results_with_gates(loop.run, problem.double())
    for name, value in expected.items():
        if value.any():
            assert (found[name].double() - value).norm() <= tolerance * value.norm(), name


def test_gradcheck():
    problem = Problem.draw(LSTM(), [2, 1], F=2, H=5)

    def returned(*tensors):
        result = native.run(problem.request(tensors, return_gates=True))
        return (result.outputs, *result.state, *result.gates.values())

    tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    assert torch.autograd.gradcheck(returned, tensors, fast_mode=True)


def test_the_native_engine_runs_it(caplog):
    torch.manual_seed(0)
    settings = {"cell": GRU(), "num_layers": 2, "bidirectional": True}
    recurrent, reference = (Recurrent(3, 4, **settings, engine=engine) for engine in ("native", "loop"))
    reference.load_state_dict(recurrent.state_dict())
    x, lengths = torch.randn(5, 3, 3), [5, 2, 4]
    found = []
    with caplog.at_level(logging.INFO, "gatewise"):
        for rnn in (recurrent, reference):
            outputs, final, gates = rnn(x, lengths=lengths, return_gates=True)
            loss = outputs.sin().sum() + final.h.cos().sum() + sum(v.square().sum() for v in gates.values())
            nodes = {type(node).__name__ for node in ancestors(loss)}
            assert ("_SequenceBackward" in nodes) == (rnn is recurrent)
            assert ("SigmoidBackward0" in nodes) == (rnn is reference)
            found.append(dict(enumerate(torch.autograd.grad(loss, [*rnn.parameters()]))))
    assert "cannot run" not in caplog.text
    assert_same(*found, 1e-5)


def ancestors(tensor):
    """All nodes that a tensor was computed by."""
    pending, seen = [tensor.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending += [before for before, _ in node.next_functions]
    return seen


class Certain(Cell):
    """Returns gates that are not part of its state: one with an infinite derivative, and one without any."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(a.n + r.n)
        share = torch.relu(h)
        return (h,), {"root": torch.sqrt(share), "n": h, "detached": h.detach() * 2}


def test_a_gate_without_a_gradient_changes_no_other():
    # 0 · ∞ is NaN, but nobody asked for the gradient of the root.
    problem = Problem.draw(Certain(), LENGTHS, H=5)
    for mixed in ({"outputs"}, {"n", "h"}):
        found, expected = (
            results_with_gates(run, problem, mixed.__contains__) for run in (native.run, loop.run)
        )
        assert_same(found, expected, 1e-12)
        assert not any(value.isnan().any() for value in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("cell", EVERY_ENGINE.values(), ids=EVERY_ENGINE.keys())
def test_no_odd_cell_has_other_gradients(cell):
    problem = Problem.draw(cell, LENGTHS, H=5)
    for mixed in ({"n"}, {"outputs", "n", "h", "final h"}, {"h"}):
        found, expected = (
            results_with_gates(partial(engines.run, engine), problem, mixed.__contains__)
            for engine in ("native", "loop")
        )
        assert_same(found, expected, 1e-12)


def test_a_gate_that_no_gradient_flows_through_needs_none():
    problem = Problem.draw(Certain(), LENGTHS, H=5)
    tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    gates = native.run(problem.request(tensors, return_gates=True)).gates
    assert {name: gate.requires_grad for name, gate in gates.items()} == {
        "root": True,
        "n": True,
        "detached": False,
        "h": True,
    }


def test_one_graph_differentiated_twice_by_different_gates():
    problem = Problem.draw(LSTM(), LENGTHS, H=5)
    gradients = []
    for run in (native.run, loop.run):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        gates = run(problem.request(tensors, return_gates=True)).gates
        first = torch.autograd.grad(gates["i"].sum(), tensors[:3], retain_graph=True)
        second = torch.autograd.grad(gates["c"].sin().sum(), tensors[:3])
        gradients.append(dict(enumerate((*first, *second))))
    assert_same(*gradients, 1e-12)


def test_a_gate_may_be_changed_in_place():
    problem = Problem.draw(LSTM(), LENGTHS, H=5)
    gradients = []
    for run in (native.run, loop.run):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        gates = run(problem.request(tensors, return_gates=True)).gates
        loss = gates["f"].mul_(2).square().sum() + gates["i"].sum()
        gradients.append(dict(enumerate(torch.autograd.grad(loss, tensors[:3]))))
    assert_same(*gradients, 1e-12)


def test_second_derivatives_are_the_loops():
    problem = Problem.draw(LSTM(), [3, 1], H=5)
    seconds = []
    for run in (native.run, loop.run):
        tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
        gates = run(problem.request(tensors, return_gates=True)).gates
        loss = gates["f"].square().sum() + gates["c"].sin().sum() + gates["h"].sum()
        (first,) = torch.autograd.grad(loss, tensors[:1], create_graph=True)
        seconds.append(dict(enumerate(torch.autograd.grad(first.square().sum(), tensors[:3]))))
    assert_same(*seconds, 1e-12)


def test_the_derivative_reads_only_the_gradients_that_there_are():
    names = trace(LSTM(), 8).gate_names
    full = trace(LSTM(), 8, gate_names=names)
    assert full.carrying == tuple(range(len(names)))
    assert pruned(full, full.carrying) == full
    some = pruned(full, (1,))
    assert some.carrying == (1,)
    assert len(some.backward) < len(full.backward)
    # Without any it is the derivative of the states alone.
    assert len(pruned(full, ()).backward) == len(trace(LSTM(), 8).backward)


def test_the_code_without_gradients_of_gates_has_no_trace_of_them():
    recording = trace(LSTM(), 8)
    for text in source(LSTM(), recording, 8, torch.float32):
        assert "gates_above" not in text
        assert "@" not in text.replace("@ signs", "")
    carrying = trace(LSTM(), 8, gate_names=recording.gate_names)
    for text in source(LSTM(), carrying, 8, torch.float32, carries=True):
        assert "gates_above" in text
        assert "@" not in text.replace("@ signs", "")


def test_a_cell_that_returns_no_gates_takes_the_loop(caplog):
    class Silent(Cell):
        gates = ("n",)
        states = ("h",)

        def step(self, a, r, s, p):  # noqa: ARG002
            return (tanh(a.n + r.n),), {}

    problem = Problem.draw(Silent(), LENGTHS)
    with caplog.at_level(logging.INFO, "gatewise"):
        engines.run("native", problem.request(problem.tensors, return_gates=True))
    assert "Silent cannot run on the native engine: gates of other shapes" in caplog.text


class ShowsBefore(ProjectedLSTM):
    """Returns the projected state before the step, which has other features than a gate."""

    def step(self, a, r, s, p):
        after, gates = super().step(a, r, s, p)
        return after, {**gates, "before": s.h}


def test_a_projected_state_is_no_gate():
    with pytest.raises(Unsupported, match="a projected hidden state that its step reads"):
        trace(ShowsBefore(3), 5)


class Loads:
    """Compiles so many sources, and no more."""

    def __init__(self, most):
        self.asked, self.most = 0, most

    def __call__(self, text):
        self.asked += 1
        if self.asked > self.most:
            raise Unsupported("no C compiler")
        return loaded(text)


def test_without_a_compiler_by_then_the_backward_pass_is_the_loops(monkeypatch):
    loads = Loads(1)
    monkeypatch.setattr("gatewise.engine.native.gates.loaded", loads)
    problem = Problem.draw(LSTM(), LENGTHS, H=5)
    found, expected = (results_with_gates(run, problem) for run in (native.run, loop.run))
    assert loads.asked == 2
    assert_same(found, expected, 1e-12)
