"""A step that is more than a function of its arguments runs in the loop, and one that is less is one line."""
# ruff: noqa: ARG001, ARG002, ARG005 - steps are called as a cell is

from __future__ import annotations

import copy
import logging
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_cells import (
    EVERY_ENGINE,
    HOLDING,
    LOOP_ONLY,
    WRONG,
    Counter,
    Factor,
    One,
    Two,
    cell_of,
    step_of,
)
from problem import CELLS
from torch import tanh
from torch.nn import functional as F

from gatewise import engine as engines
from gatewise.cells import LSTM, RNN, Cell
from gatewise.cells.zoneout import zoneout
from gatewise.engine import ENGINES, Request, Weights, function
from gatewise.engine.examine import examine
from gatewise.engine.native import kernel
from gatewise.engine.request import Unsupported
from gatewise.nn import Recurrent

T, B, N, H = 4, 3, 2, 4
DRAWS = LOOP_ONLY["draws random numbers"][0]
ODD = [(cell, what) for what, cells in LOOP_ONLY.items() for cell in cells]


@pytest.fixture(autouse=True)
def _nothing_said_before(monkeypatch):
    monkeypatch.setattr(engines, "_logged", set())
    monkeypatch.setattr(engines, "_warned", set())


def gradients(cell: Cell, engine: str):
    """Outputs and gradients of a layer of this cell, which starts from the same generators each time."""
    torch.manual_seed(0)
    recurrent = Recurrent(N, H, cell=copy.deepcopy(cell), engine=engine).double()
    x = torch.randn(T, B, N, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    outputs, final = recurrent(x, lengths=torch.tensor([4, 3, 4]))
    loss = outputs.square().sum() * 30 + sum(state.sin().sum() for state in final)
    tensors = [x, *(weight for weight in recurrent.parameters() if weight.requires_grad)]
    return outputs.detach(), *torch.autograd.grad(loss, tensors, allow_unused=True)


@pytest.mark.parametrize(("cell", "what"), ODD, ids=[f"{what}-{i}" for i, (_, what) in enumerate(ODD)])
def test_a_step_that_is_no_function_of_its_arguments_runs_in_the_loop(cell, what, caplog):
    with caplog.at_level(logging.WARNING, "gatewise"):
        results = gradients(cell, "auto")
        gradients(cell, "auto")
    (line,) = [record.getMessage() for record in caplog.records]  # once for a class
    name = type(cell).__name__
    assert line.startswith(f"engine=auto: {name}.step (")
    assert "odd_cells.py:" in line
    assert what in line
    if "draws" in line:
        assert "Cell.noise" in line
    if "changes" in line:
        assert "Cell.states" in line
    if what != "gives another result":
        for result, expected in zip(results, gradients(cell, "loop"), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ["function", "native", "torch"])
@pytest.mark.parametrize("cell", [DRAWS, Counter()], ids=["draws", "state"])
def test_another_engine_by_name_is_an_error_for_such_a_cell(cell, engine):
    with pytest.raises(ValueError, match=rf"^engine={engine}: .*only the loop.*engine=auto or loop") as error:
        Recurrent(N, H, cell=cell, engine=engine)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=f"^engine={engine}: "):
        engines.run(engine, request_of(cell))


def test_the_loop_by_name_says_nothing(caplog):
    Recurrent(N, H, cell=Counter(), engine="loop")(torch.zeros(T, B, N))
    assert caplog.records == []


def request_of(cell: Cell) -> Request:
    generator = torch.Generator().manual_seed(3)

    def randn(*shape):
        return torch.randn(shape, generator=generator)

    gates, recurrent = len(cell.gates) * H, len(cell.recurrent) * H
    weights = Weights(randn(gates, N), randn(recurrent, H), randn(gates), {})
    return Request(cell, weights, randn(5, N), (3, 2), tuple(randn(3, H) for _ in cell.states))


QUICK = ("noise", "cut to whole numbers", "half", "a gradient that is clipped")  # to compile, or not compiled
CASES = [
    pytest.param(cell, engine, id=f"{name}-{engine}", marks=[pytest.mark.slow] * (name not in QUICK))
    if engine == "native"
    else pytest.param(cell, engine, id=f"{name}-{engine}")
    for name, cell in EVERY_ENGINE.items()
    for engine in ("function", "native")
]


@pytest.mark.parametrize(("cell", "engine"), CASES)
def test_no_engine_runs_a_function_of_its_arguments_wrongly(cell, engine, caplog):
    with caplog.at_level(logging.WARNING, "gatewise"):
        results = gradients(cell, engine)
    assert caplog.records == []
    for result, expected in zip(results, gradients(cell, "loop"), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_shipped_cells_would_pass(cell):
    assert examine(cell.innermost, H, torch.float32) is None


# Finite differences of a layer that draws the same numbers each time: the source that no engine shares.
@pytest.mark.parametrize("engine", ["auto", "loop"])
@pytest.mark.parametrize("cell", [LOOP_ONLY["draws random numbers"][k] for k in (0, 1, 3)], ids=str)
def test_gradients_of_a_step_that_draws_are_finite_differences(cell, engine):
    recurrent = Recurrent(1, 3, cell=cell, engine=engine).double()

    def run(x, *weights):
        torch.manual_seed(5)
        names = [name for name, _ in recurrent.named_parameters()]
        outputs, (h,) = torch.func.functional_call(recurrent, dict(zip(names, weights, strict=True)), (x,))
        return outputs, h

    x = torch.randn(3, 2, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *recurrent.parameters()))


@pytest.mark.parametrize("engine", ["native", "function", "loop"])
@pytest.mark.parametrize(
    "cell", [Factor(), zoneout(Factor(), {"h": 0.4}, True)], ids=["noise", "and zoneout"]
)
def test_gradients_of_a_cell_with_noise_are_finite_differences(cell, engine):
    generator = torch.Generator().manual_seed(3)
    shape = (8, len(cell.noise) * H)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    request = request_of(cell)

    def run(x, input_weight, hidden_weight, bias, h):
        weights = Weights(input_weight, hidden_weight, bias, {})
        result = engines.run(engine, Request(cell, weights, x, (3, 3, 2), (h,), noise=noise))
        return result.outputs, *result.state

    tensors = [torch.randn(8, N), request.weights.input, request.weights.hidden, request.weights.bias]
    tensors = [tensor.double().requires_grad_() for tensor in (*tensors, request.state[0])]
    assert torch.autograd.gradcheck(run, tensors)


INGREDIENTS = {
    "draws": lambda self, h, x: h * (1 + torch.rand_like(x)),
    "drops": lambda self, h, x: F.dropout(h, 0.4),
    "reads": lambda self, h, x: h * (2.0 if x.sum() > 0 else 1.0),
    "rows": lambda self, h, x: h - 0.3 * x.mean(0),
    "other rows": lambda self, h, x: h + x.flip(0).detach(),
    "features": lambda self, h, x: h - h.mean(1, keepdim=True),
    "cuts": lambda self, h, x: h + (4 * x).int() / 4,
    "half": lambda self, h, x: h + x.half().to(x.dtype),
    "squares": lambda self, h, x: h - 0.1 * h * h,
    "detaches": lambda self, h, x: h * x.detach().sigmoid(),
    "chooses": lambda self, h, x: torch.where(h > x, h, 0.5 * x),
    "sorts": lambda self, h, x: h + 0.1 * x.sort(1).values,
    "adds up": lambda self, h, x: 0.1 * h.cumsum(0),
}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(names=st.lists(st.sampled_from(sorted(INGREDIENTS)), min_size=1, max_size=4))
def test_auto_has_the_loops_results_whatever_a_step_does(names):
    def after(self, h, x):
        for name in names:
            h = INGREDIENTS[name](self, h, x)
        return h

    def no_compiler(source):
        raise Unsupported("no compiler, which would take a second for each example")

    cell = cell_of(after, "Mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "load", no_compiler)
        results = gradients(cell, "auto")
    for result, expected in zip(results, gradients(cell, "loop"), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("function", "line"), WRONG.values(), ids=WRONG)
def test_a_wrong_step_is_one_line_with_class_and_place(function, line, engine):
    cell = step_of(function, "Mine")
    made = [lambda: Recurrent(N, H, cell=cell, engine=engine)]
    # The loop itself does not look for what is written into its arguments.
    if engine != "loop" or "changes" not in line:
        made.append(lambda: engines.run(engine, request_of(cell)))
    for make in made:
        with pytest.raises(ValueError, match=line) as error:
            make()
        said = str(error.value)
        assert said.startswith("Mine.step (")
        assert f"odd_cells.py:{function.__code__.co_firstlineno})" in said
        assert "\n" not in said


def test_a_step_that_fails_late_is_one_line_too():
    """The trial has a few rows, this batch a hundred."""

    def step(self, a, r, s, p):
        if len(a.n) > 100:
            raise RuntimeError("too many\nrows")
        return (tanh(a.n), a.o), {}

    for engine in ("loop", "function"):
        recurrent = Recurrent(N, H, cell=step_of(step, "Mine"), engine=engine)
        with pytest.raises(ValueError, match=r"^Mine\.step \(.*\) failed: RuntimeError: too many rows$"):
            recurrent(torch.zeros(1, 101, N))


def test_an_exception_of_the_users_own_stays_what_it_is():
    class Mine(Exception):  # noqa: N818
        pass

    def step(self, a, r, s, p):
        raise Mine("for somebody who catches it")

    with pytest.raises(Mine, match="for somebody"):
        Recurrent(N, H, cell=step_of(step, "Fails"))


@pytest.mark.parametrize(("cell", "line"), HOLDING.values(), ids=HOLDING)
def test_a_cell_that_holds_tensors_or_modules_is_refused(cell, line):
    for make in (lambda: Recurrent(N, H, cell=cell), lambda: engines.run("auto", request_of(cell))):
        with pytest.raises(ValueError, match=line) as error:
            make()
        assert "use own_parameters" in str(error.value)
        assert "\n" not in str(error.value)


def test_a_cell_that_holds_another_cell_is_not():
    class Twice(Two):
        def __init__(self) -> None:
            self.inside = LSTM()
            self.sizes = {"a": [1, 2.0, "x"]}

        def step(self, a, r, s, p):
            return (tanh(a.n + r.n), a.o), {}

    Recurrent(N, H, cell=Twice())


DECLARED = {
    "number": ({"own_parameters": lambda self, size: {"w": 0.5}}, "w must be a tensor of floating-point"),
    "whole": ({"own_parameters": lambda self, size: {"w": torch.ones(size).int()}}, "got torch.int32"),
    "name": ({"own_parameters": lambda self, size: {"w.b": torch.ones(size)}}, r"'w\.b' is no name"),
    "list": ({"own_parameters": lambda self, size: [torch.ones(size)]}, "must return a dict of tensors"),
    "fails": ({"own_parameters": lambda self, size: 1 / 0}, "own_parameters failed: ZeroDivisionError"),
    "bias": ({"initial_bias": lambda self: {"f": 1.0}}, "there is no gate 'f'; the gates are n"),
    "biases": ({"initial_bias": lambda self: 1.0}, "initial_bias must return a dict of numbers"),
    "super": (
        {"__init__": lambda self: None, "initial_bias": lambda self: {"n": self.start}},
        r"initial_bias failed: AttributeError: .*super\(\)\.__init__\(\)",
    ),
}


@pytest.mark.parametrize(("methods", "line"), DECLARED.values(), ids=DECLARED)
def test_what_else_a_cell_declares_is_checked(methods, line):
    cell = type("Mine", (One,), {"__module__": __name__, **methods})()
    with pytest.raises(ValueError, match=rf"^Mine.*{line}") as error:
        Recurrent(N, H, cell=cell)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["gates", "states", "recurrent", "noise"])
def test_a_lone_name_is_no_tuple_of_names(kind):
    with pytest.raises(TypeError, match=rf"^Wrong: {kind} = 'no' must be a tuple of names"):
        type("Wrong", (One,), {kind: "no"})


def test_trying_a_cell_out_leaves_it_and_the_generators_alone():
    cell = Counter()
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    Recurrent(N, 2 * H, cell=cell, engine="loop", recurrent_init="uniform")
    assert cell.t == 0
    torch.manual_seed(4)
    examine(DRAWS, H, torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_cell_is_tried_out_once(monkeypatch):
    from gatewise.engine import examine as module

    calls = []
    monkeypatch.setattr(module, "aside", lambda *arguments: calls.append(arguments))
    cell = One()
    for _ in range(3):
        Recurrent(N, H, cell=cell)(torch.zeros(T, B, N))
    assert len(calls) == 1


def test_trying_out_imports_no_compiler():
    code = """
import sys
sys.path.insert(0, "tests/engine")
import torch
from odd_cells import One, LOOP_ONLY
from gatewise.engine.examine import examine
assert examine(One(), 4, torch.float32) is None
assert examine(LOOP_ONLY["draws random numbers"][1], 4, torch.float32) is not None
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_cell_is_tried_out_where_no_mode_of_the_caller_reaches():
    with torch.device("meta"), torch.inference_mode(), torch.autocast("cpu"):
        assert engines.loop_only(copy.deepcopy(EVERY_ENGINE["where"]), H) is None


def test_function_finds_features_that_mix_at_any_size():
    for size in (1, 2, 3, 5, 8, 33):
        alone = cell_of(lambda self, h, x: h * x, "Alone")
        far = cell_of(lambda self, h, x: h + 0.1 * h.roll(size - 1, 1), "Far")  # noqa: B023
        assert function.supports(alone, size)
        assert function.supports(far, size) is (size == 1)


def test_a_cell_without_a_gate_is_refused():
    cell = type("Mine", (RNN,), {"gates": (), "__module__": __name__})()
    with pytest.raises(ValueError, match=r"^Mine\.gates names none"):
        Recurrent(N, H, cell=cell)
