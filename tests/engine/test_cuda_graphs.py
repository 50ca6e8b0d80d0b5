"""CUDA graphs of the cuda engine, with a recorder that computes again what it recorded."""

import logging

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import Problem, assert_same, results_with_gates

from gatewise.cells import LSTM, ProjectedLSTM
from gatewise.engine import cuda, loop
from gatewise.engine.cuda import graphs
from gatewise.engine.cuda.graphs import Graphs

CPU = torch.device("cpu")


class Again:
    """Records a function; a replay computes it again, from what its arguments hold then."""

    def __init__(self, memory=1 << 30):
        self.bytes, self.recorded, self.replays = memory, 0, 0

    def memory(self, device):  # noqa: ARG002
        return self.bytes

    def record(self, device, function):  # noqa: ARG002
        self.recorded += 1
        results = tuple(None if t is None else torch.full_like(t, torch.nan) for t in function())

        def replay():
            self.replays += 1
            for static, new in zip(results, function(), strict=True):
                if static is not None:
                    static.copy_(new)

        return results, replay


def double(tensors):
    return tuple(None if t is None else 2 * t for t in tensors)


def test_a_second_call_is_recorded_and_others_are_replayed():
    recorder = Again()
    own = Graphs(CPU, recorder)
    results = [own.call("double", double, (torch.full((2,), float(k)), None)) for k in range(4)]
    # Each result is memory of its own: a backward pass may come late.
    assert [(r.tolist(), none) for r, none in results] == [([2.0 * k] * 2, None) for k in range(4)]
    assert (recorder.recorded, recorder.replays) == (1, 3)


def test_other_keys_shapes_and_strides_are_other_graphs():
    recorder = Again()
    own = Graphs(CPU, recorder)
    for _ in range(3):
        for key, tensor in (
            ("one", torch.ones(2, 3)),
            ("two", torch.ones(2, 3)),
            ("one", torch.ones(3, 2)),
            ("one", torch.ones(3, 2).t()),
            ("one", torch.ones(2, 3, dtype=torch.float64)),
        ):
            (result,) = own.call(key, double, (tensor,))
            assert result.equal(2 * tensor)
    assert recorder.recorded == 5


def test_few_graphs_are_kept_and_those_used_last():
    recorder = Again()
    own = Graphs(CPU, recorder)
    one = (torch.ones(1),)
    for key in range(graphs.MOST):
        own.call(key, double, one)
        own.call(key, double, one)
    own.call(0, double, one)
    for _ in range(2):
        own.call("new", double, one)  # in the place of 1
    recorded = recorder.recorded
    own.call(0, double, one)
    assert recorder.recorded == recorded
    for _ in range(2):
        own.call(1, double, one)
    assert recorder.recorded == recorded + 1


def test_what_takes_too_much_memory_is_not_recorded():
    recorder = Again(memory=graphs.SHARE * 100)
    own = Graphs(CPU, recorder)
    for _ in range(3):
        own.call("large", double, (torch.ones(20),))
        own.call("small", double, (torch.ones(10),))
        own.call("another", double, (torch.ones(5),))
    assert recorder.recorded >= 2
    assert own._size() <= 100
    assert all(key[0] != "large" for key in own._kept)


def test_where_recording_fails_steps_are_launched_one_by_one(caplog):
    class Fails(Again):
        def record(self, device, function):  # noqa: ARG002
            self.recorded += 1
            raise RuntimeError("operation not permitted\nand more")

    recorder = Fails()
    own = Graphs(CPU, recorder)
    with caplog.at_level(logging.INFO, "gatewise"):
        for key in "aabb":
            assert own.call(key, double, (torch.ones(1),))[0] == 2
    assert recorder.recorded == 1
    line = "engine=cuda: steps are launched one by one, not as a CUDA graph: operation not permitted"
    assert [record.getMessage() for record in caplog.records] == [line]


def test_nothing_is_recorded_inside_another_graph(monkeypatch):
    recorder = Again()
    own = Graphs(CPU, recorder)
    monkeypatch.setattr(graphs, "capturing", lambda _: True)
    for _ in range(3):
        assert own.call("double", double, (torch.ones(1),))[0] == 2
    assert recorder.recorded == 0


@needs_cpp
@pytest.mark.parametrize("cell", [LSTM(), ProjectedLSTM(7)], ids=repr)
def test_replayed_steps_have_the_loops_results(cell, monkeypatch):
    recorder = Again()
    monkeypatch.setattr(graphs, "recorders", {"cpu": recorder})
    monkeypatch.setattr(graphs, "_graphs", {})
    problems = [
        Problem.draw(cell, [9, 8, 8, 3, 0], H=5, masked=True, seed=seed, reverse=True) for seed in range(3)
    ]
    with emulated_gpu():
        for problem in problems:
            assert_same(problem.results("cuda"), problem.results("loop"), 1e-12)
        assert (recorder.recorded, recorder.replays) == (2, 4)
        # Two forward passes before the backward pass of the first.
        tensors = [[t.clone().requires_grad_() for t in problem.tensors] for problem in problems]
        losses = [p.loss(p.run("cuda", *given)) for p, given in zip(problems, tensors, strict=True)]
        for problem, loss, given in zip(problems, losses, tensors, strict=True):
            expected = problem.results("loop")
            for name, grad in zip(problem.names, torch.autograd.grad(loss, given), strict=True):
                torch.testing.assert_close(grad, expected[f"grad {name}"], rtol=1e-11, atol=1e-11)


@needs_cpp
def test_replayed_steps_carry_the_gradients_of_other_gates(monkeypatch):
    recorder = Again()
    monkeypatch.setattr(graphs, "recorders", {"cpu": recorder})
    monkeypatch.setattr(graphs, "_graphs", {})
    cell = LSTM()
    with emulated_gpu():
        for seed in range(3):
            problem = Problem.draw(cell, [9, 8, 8, 3, 0], H=5, seed=seed)
            for mixed in ({"f", "c"}, {"outputs", "f"}, {"o"}):
                found = results_with_gates(cuda.run, problem, mixed.__contains__)
                assert_same(found, results_with_gates(loop.run, problem, mixed.__contains__), 1e-12)
    # One of the forward pass, and one for each set of gradients.
    assert recorder.recorded == 4
