"""What ``auto`` takes on a GPU: the engine that was fastest in the first calls, by a clock for tests."""

import copy
import json
import logging
from weakref import WeakKeyDictionary

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import LayerNormRNN, Problem, assert_same

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, CoupledLSTM
from gatewise.engine import auto, choice
from gatewise.engine.choice import FAR, MEASURED, PATIENCE, WARM_UPS, Choice
from gatewise.engine.request import Unsupported
from gatewise.nn import Recurrent

CPU = torch.device("cpu")


class Clock:
    """Events hold the time, which candidates move on; a GPU that lags behind has done none."""

    def __init__(self):
        self.time, self.lags = 0.0, False

    def now(self, device):  # noqa: ARG002
        return self.time

    def done(self, event):  # noqa: ARG002
        return not self.lags

    def milliseconds(self, first, last):
        return last - first


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The cache, in memory."""
    files = {}
    monkeypatch.setattr(choice.cache, "cached", files.get)
    monkeypatch.setattr(choice.cache, "store", files.__setitem__)
    return files


def candidates(clock, weight, forward, backward=None):
    """One a name, which take so long."""

    class Takes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, name, x):
            ctx.name = name
            clock.time += forward[name]
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            clock.time += backward[ctx.name]
            return None, 2 * grad

    def run(name):
        result = Takes.apply(name, weight)
        return result, [result]

    return {name: lambda name=name: run(name) for name in forward}


def taken(own, given, count, measure=True):
    return [own.run(given, measure)[0] for _ in range(count)]


def test_calls_take_turns_and_then_the_fastest_is_taken(clock, kept, caplog):
    own = Choice(clock, CPU, "it runs", "key", False)
    given = candidates(clock, torch.ones(1), {"slow": 3.0, "fast": 1.0})
    with caplog.at_level(logging.INFO, "gatewise"):
        first = taken(own, given, 2 * (WARM_UPS + MEASURED))
        assert first == ["slow", "fast"] * (WARM_UPS + MEASURED)
        assert taken(own, given, 3) == ["fast"] * 3
    assert [r.getMessage() for r in caplog.records] == ["it runs on fast (measured: slow 3 ms, fast 1 ms)"]
    assert json.loads(kept["key"])["fastest"] == "fast"
    # The next process measures nothing; nor does it trust what it cannot read.
    assert taken(Choice(clock, CPU, "it runs", "key", False), given, 1) == ["fast"]
    kept["key"] = b"[1]"
    assert taken(Choice(clock, CPU, "it runs", "key", False), given, 1) == ["slow"]


def test_the_backward_pass_counts(clock):
    weight = torch.ones(1, requires_grad=True)
    own = Choice(clock, CPU, "it runs", None, True)
    given = candidates(clock, weight, {"one": 1.0, "two": 2.0}, {"one": 5.0, "two": 1.0})
    for _ in range(2 * (WARM_UPS + MEASURED)):
        own.run(given, True)[1].backward()
        clock.time += 100  # what others do is not measured
    assert taken(own, given, 1) == ["two"]


def test_without_a_backward_pass_the_forward_pass_decides(clock):
    own = Choice(clock, CPU, "it runs", None, True)
    given = candidates(clock, torch.ones(1, requires_grad=True), {"one": 3.0, "two": 2.0})
    taken(own, given, 2 * (WARM_UPS + MEASURED))
    assert "one" in taken(own, given, PATIENCE)
    assert taken(own, given, 2) == ["two"] * 2


def test_nothing_waits_for_the_gpu(clock):
    own = Choice(clock, CPU, "it runs", None, False)
    given = candidates(clock, torch.ones(1), {"one": 3.0, "two": 2.0})
    clock.lags = True
    assert set(taken(own, given, 2 * (WARM_UPS + MEASURED) + 2)) == {"one", "two"}
    clock.lags = False
    assert taken(own, given, 2) == ["two"] * 2


def test_who_cannot_run_it_is_not_measured(clock):
    def refuse():
        raise Unsupported("equations that it does not have")

    own = Choice(clock, CPU, "it runs", None, False)
    given = {"other": refuse, **candidates(clock, torch.ones(1), {"one": 2.0, "two": 1.0})}
    names = taken(own, given, 2 * (WARM_UPS + MEASURED) + 2)
    assert names[-1] == "two"
    assert "other" not in names
    with pytest.raises(Unsupported, match="equations that it does not have"):
        own.run({"other": refuse, "one": refuse, "two": refuse}, True)


def test_who_is_far_behind_after_its_warm_up_has_no_further_turn(clock):
    own = Choice(clock, CPU, "it runs", None, False)
    given = candidates(clock, torch.ones(1), {"one": 2.0, "behind": 2.1 * FAR, "two": 1.9})
    names = taken(own, given, 3 * WARM_UPS + 2 * MEASURED + 2)
    assert names.count("behind") == WARM_UPS
    assert names[-2:] == ["two"] * 2


def test_the_last_resort_has_no_turn(clock):
    def refuse():
        raise Unsupported("nothing of the kind")

    given = candidates(clock, torch.ones(1), {"one": 2.0, "resort": 0.1})
    own = Choice(clock, CPU, "it runs", None, False, last="resort")
    assert taken(own, given, 4) == ["one"] * 4
    own = Choice(clock, CPU, "it runs", None, False, last="resort")
    assert taken(own, given | {"one": refuse}, 3) == ["resort"] * 3
    assert own.winner == "resort"


def test_inside_a_graph_nothing_is_measured_or_learned(clock):
    own = Choice(clock, CPU, "it runs", None, False)
    given = candidates(clock, torch.ones(1), {"one": 2.0, "two": 1.0})
    assert taken(own, given, 20, measure=False) == ["one"] * 20
    assert own.winner is None
    taken(own, given, 2 * (WARM_UPS + MEASURED) + 1)
    assert taken(own, given, 2, measure=False) == ["two"] * 2


@pytest.fixture
def _measured_on_the_cpu(clock, monkeypatch):
    monkeypatch.setattr(auto, "clocks", {"cpu": clock})
    monkeypatch.setattr(auto, "_choices", WeakKeyDictionary())
    monkeypatch.setattr(engines, "_logged", set())


@needs_cpp
@pytest.mark.usefixtures("_measured_on_the_cpu")
def test_every_turn_has_the_loops_results():
    problem = Problem.draw(LSTM(), [4, 3, 1])
    expected = problem.results("loop")
    with emulated_gpu():
        for _ in range(2 * (WARM_UPS + MEASURED) + 4):
            assert_same(problem.results("auto"), expected, 1e-12)
    (own,) = auto._choices[problem.cell].values()
    assert own.winner in ("the torch engine", "the cuda engine, step by step")
    assert own.refused.keys() == {"the cuda engine"}


@pytest.mark.usefixtures("_measured_on_the_cpu")
@pytest.mark.parametrize("cell", [GRU(), CoupledLSTM(), LayerNormRNN()], ids=repr)
def test_layers_and_directions(cell, caplog):
    torch.manual_seed(1)
    net = Recurrent(3, 4, cell=cell, num_layers=2, bidirectional=True, engine="auto").double()
    loop = copy.deepcopy(net)
    loop.engine = "loop"
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(2 * (WARM_UPS + MEASURED) + 5):
            found, expected = (
                torch.autograd.grad(one(x)[0].square().sum(), list(one.parameters())) for one in (net, loop)
            )
            for value, other in zip(found, expected, strict=True):
                torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-12)
    if not isinstance(cell, LayerNormRNN):
        (own,) = auto._choices[net._run_cells[True]].values()
        assert own.winner in ("the torch engine", "the function engine")
        lines = [r.getMessage() for r in caplog.records if "engine=auto:" in r.getMessage()]
        assert len(lines) == 1
        assert f"runs on {own.winner}" in lines[0]


@pytest.mark.usefixtures("_measured_on_the_cpu")
def test_other_sizes_and_modes_are_measured_apart():
    cell = CoupledLSTM()
    for lengths in ([4, 4], [4, 3], [3, 3], [40, 40]):
        problem = Problem.draw(cell, lengths)
        problem.results("auto")
    with torch.no_grad():
        problem.run("auto", *problem.tensors)
    assert len(auto._choices[cell]) == 4  # 4 and 3 steps are within a factor of two


@pytest.mark.usefixtures("_measured_on_the_cpu")
def test_who_asks_for_the_same_bits_gets_one_engine():
    problem = Problem.draw(LSTM(), [4, 4])
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(3):
            problem.results("auto")
    finally:
        torch.use_deterministic_algorithms(False)
    (own,) = auto._choices[problem.cell].values()
    assert (own.samples, own.winner, own.refused) == ({}, None, {})
