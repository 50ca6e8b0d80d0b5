"""Which engine runs a request, what the log says about it, and the modes it is called in."""

import copy
import logging

import pytest
import torch
from problem import (
    CELLS,
    MIXING,
    OTHERS,
    LayerNormRNN,
    MatrixOfZeros,
    Problem,
    assert_same,
    needs_compiler,
)

from gatewise import engine as engines
from gatewise.cells import (
    GRU,
    LSTM,
    RNN,
    CoupledLSTM,
    ProjectedLSTM,
)
from gatewise.engine import ENGINES, function
from gatewise.engine.native import kernel
from gatewise.engine.request import Unsupported


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_supports_cells_that_treat_each_feature_alone(cell):
    assert function.supports(cell) is (cell not in MIXING)
    assert function.supports(copy.deepcopy(cell)) is (cell not in MIXING)


ON_TORCH = "cannot run on the torch engine:"


@pytest.mark.parametrize(
    ("engine", "cell", "reasons"),
    [
        (
            "function",
            LayerNormRNN(),
            ["LayerNormRNN cannot run on the function engine: a step that mixes features"],
        ),
        ("torch", CoupledLSTM(), [f"CoupledLSTM {ON_TORCH} equations that torch.nn does not have"]),
        (
            "torch",
            ProjectedLSTM(4),
            [f"ProjectedLSTM {ON_TORCH} a projection to as many features"],
        ),
        pytest.param("native", LayerNormRNN(), [], marks=needs_compiler),
        pytest.param(
            "auto",
            MatrixOfZeros(),
            [
                "MatrixOfZeros cannot run on the native engine: the parameter V of shape (4, 4)",
                "MatrixOfZeros cannot run on the function engine: a step that mixes features",
            ],
            marks=needs_compiler,
        ),
    ],
)
def test_a_cell_that_an_engine_cannot_run_is_logged_once(engine, cell, reasons, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_logged", set())
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(3):
            Problem.draw(cell, [2, 1]).results(engine)
    assert [r.getMessage() for r in caplog.records] == [f"engine={engine}: {reason}" for reason in reasons]


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({"masked": True}, "dropout of its hidden state"),
        ({"dtype": torch.float16}, "float16 on cpu"),
    ],
)
def test_a_request_that_torch_has_no_layer_for_is_logged(problem, reason, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_logged", set())
    with caplog.at_level(logging.INFO, "gatewise"):
        Problem.draw(LSTM(), [2, 1], **problem).results("torch")
    assert [r.getMessage() for r in caplog.records] == [f"engine=torch: LSTM {ON_TORCH} {reason}"]


class Leaky(RNN):
    """A subclass of a cell that torch has, with other equations."""

    def step(self, a, r, s, p):
        (h,), gates = super().step(a, r, s, p)
        return (s.h + 0.1 * (h - s.h),), gates


def test_a_subclass_of_a_cell_of_torchs_is_not_run_by_torch():
    problem = Problem.draw(Leaky(), [3, 2])
    assert_same(problem.results("torch"), problem.results("loop"), 1e-12)


@pytest.mark.parametrize("engine", [name for name in OTHERS if name != "auto"])
def test_a_cell_that_an_engine_can_run_is_not_logged(engine, caplog):
    with caplog.at_level(logging.DEBUG, "gatewise"):
        Problem.draw(LSTM(), [2, 1]).results(engine)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("cell", "compiler", "starts"),
    [
        pytest.param(LSTM(), "", ["LSTM runs on the native engine"], marks=needs_compiler),
        (LSTM(), "/no", ["LSTM cannot run on the native", "LSTM runs on the torch engine"]),
        (CoupledLSTM(), "/no", ["CoupledLSTM cannot run on the", "CoupledLSTM runs on the function engine"]),
    ],
)
def test_auto_logs_once_what_it_takes_and_why_no_faster_one(cell, compiler, starts, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_logged", set())
    if compiler:

        def none(source):  # noqa: ARG001
            raise Unsupported("a C compiler that cannot be run")

        monkeypatch.setattr(kernel, "load", none)
        monkeypatch.setattr(kernel, "_libraries", {})
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(3):
            Problem.draw(cell, [2, 1]).results("auto")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"engine=auto: {start}")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_values_without_gradients(cell, engine, context):
    problem = Problem.draw(cell, [4, 2, 0], masked=engine != "torch")
    expected = problem.results("loop")
    with context():
        values = problem.run(engine, *problem.tensors)
    assert all(not value.requires_grad for value in values)
    names = ["outputs", *(f"final.{name}" for name in cell.states)]
    assert_same(dict(zip(names, values, strict=True)), {n: expected[n] for n in names}, 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_torch_func_looks_inside(engine):
    """Per-sample gradients by vmap(grad), which need a rule that an autograd.Function here does not have."""
    problem = Problem.draw(GRU(), [3])
    _, *others = problem.tensors
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def loss(x):
        return problem.loss(problem.run(engine, x, *others))

    expected = torch.stack([torch.autograd.functional.jacobian(loss, one) for one in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), expected, rtol=1e-12, atol=1e-12)


# Each cell is compiled for this alone: the others are variations.
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, marks=[] if type(cell) in (LSTM, LayerNormRNN) else [pytest.mark.slow])
        for cell in CELLS
    ],
    ids=repr,
)
def test_autocast(cell, engine):
    problem = Problem.draw(cell, [6, 4, 1], F=8, H=8, dtype=torch.float32, masked=True)
    exact = problem.results("loop")
    results = problem.results(engine, autocast=True)
    for name, expected in exact.items():
        if name.startswith("grad"):
            assert results[name].dtype == torch.float32, name
        # bfloat16 has 8 bits, so that each of some ten roundings in a row has an error of 0.4 %. A sum near
        # zero may be on the other side of the ReLU, which changes a whole gradient.
        error = (results[name].float() - expected).norm() / expected.norm().clamp(min=1e-3)
        assert error < (0.2 if "relu" in repr(cell) else 0.05), name


@pytest.mark.parametrize("engine", ENGINES)
def test_shapes_without_data(engine):
    """On the meta device, where model summaries are made."""
    problem = Problem.draw(LSTM(), [3, 1])
    for tensors in (problem.tensors, problem.loss_weights):
        tensors[:] = [tensor.to("meta") for tensor in tensors]
    shapes = {name: value.shape for name, value in problem.results(engine).items()}
    assert shapes["outputs"] == (4, 4)
    assert shapes["grad W"] == (16, 4)
