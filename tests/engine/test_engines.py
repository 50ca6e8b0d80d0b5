"""Every engine gives the loop's results: values, gradients, second derivatives, oddities."""

import copy
import logging
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tanh
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import layer_norm

from gatewise import engine as engines
from gatewise.cells import (
    GRU,
    LSTM,
    LSTM1997,
    RNN,
    Cell,
    CoupledLSTM,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
)
from gatewise.cells.zoneout import zoneout
from gatewise.engine import ENGINES, Weights, function
from gatewise.engine.native import kernel, library
from gatewise.engine.weights import Unsupported
from gatewise.ranges import RECURRENT


def compiles() -> bool:
    try:
        library.load("int gatewise_tests;")
    except Unsupported:
        return False
    return True


COMPILES = compiles()
needs_compiler = pytest.mark.skipif(not COMPILES, reason="no C compiler")
OTHERS = [name for name in ENGINES if name != "loop"]


class LayerNormRNN(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(a.n + layer_norm(r.n, r.n.shape[-1:]))
        return (h,), {"n": h}


class InputNormRNN(Cell):
    """Mixes features of the input alone, which no loop runs through."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(layer_norm(a.n, a.n.shape[-1:]) + r.n)
        return (h,), {"n": h}


class MatrixOfZeros(Cell):
    """Mixes features only once its matrix has been trained."""

    gates = ("n",)
    states = ("h",)

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        return {"V": torch.zeros(hidden_size, hidden_size)}

    def step(self, a, r, s, p):
        h = tanh(a.n + r.n + s.h @ p.V)
        return (h,), {"n": h}


class Memoryless(Cell):
    """Takes neither r nor the state: no gradient flows back through time."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return (tanh(a.n),), {}


class SomeProducts(Cell):
    """Of three gates the outer two have a recurrent product."""

    gates = ("f", "i", "n")
    recurrent = ("f", "n")
    states = ("h", "c")

    def step(self, a, r, s, p):  # noqa: ARG002
        f, i = torch.sigmoid(a.f + r.f), torch.sigmoid(a.i)
        c = f * s.c + i * tanh(a.n + r.n)
        return (tanh(c) + 0.3 * s.h, c), {"f": f}


ELEMENTWISE = [
    LSTM(),
    GRU(),
    RNN(),
    RNN("relu"),
    PeepholeLSTM(),
    CoupledLSTM(),
    LSTM1997(),
    MinGRU(),
    MinLSTM(),
    zoneout(LSTM(), {"h": 0.3, "c": 0.5}, training=True),
    zoneout(LSTM(), {"c": 0.5}, training=False),
    zoneout(GRU(), {"h": 0.5}, training=True),
    SomeProducts(),
    InputNormRNN(),
    Memoryless(),
]
MIXING = [LayerNormRNN(), LayerNormLSTM(), MatrixOfZeros(), zoneout(LayerNormRNN(), {"h": 0.5}, True)]
PROJECTED = [ProjectedLSTM(2), ProjectedLSTM(7), zoneout(ProjectedLSTM(3), {"c": 0.4}, True)]
CELLS = [*ELEMENTWISE, *MIXING, *PROJECTED]


@dataclass
class Problem:
    """One cell over one ragged batch; tensors in the order of ``names``."""

    cell: Cell
    batch_sizes: tuple[int, ...]
    names: list[str]
    tensors: list[Tensor]
    loss_weights: list[Tensor]
    mask: Tensor | None
    noise: Tensor | None
    reverse: bool
    recompute: bool = False

    @classmethod
    def draw(
        cls,
        cell,
        lengths,
        F=3,
        H=4,
        dtype=torch.float64,
        bias=True,
        masked=False,
        reverse=False,
        seed=0,
        recompute=False,
    ):
        lengths = sorted(lengths, reverse=True)
        batch, rows = len(lengths), sum(lengths)
        batch_sizes = tuple(sum(length > t for length in lengths) for t in range(lengths[0]))
        generator = torch.Generator().manual_seed(seed)

        def randn(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        blocks = len(cell.gates) * H
        recurrent = len(cell.recurrent) * H
        P = cell.state_sizes(H)[0]
        named = {"x": randn(rows, F), "U": randn(blocks, F) / F**0.5, "W": randn(recurrent, P) / P**0.5}
        if bias:
            named["b"] = randn(blocks)
        for name, value in cell.own_parameters(H).items():
            named[f"own.{name}"] = randn(*value.shape)
        if cell.projection_size is not None:
            named["P"] = randn(P, H) / H**0.5
        for name, size in zip(cell.states, cell.state_sizes(H), strict=True):
            named[f"initial.{name}"] = randn(batch, size)
        # As dropout makes it: 0 or 1 / (1 - p), here p = ⅓.
        mask = (randn(batch, P) > -0.43).to(dtype) * 1.5 if masked else None
        noise = (randn(rows, len(cell.noise) * H) > 0).to(dtype) if cell.noise else None
        loss_weights = [randn(rows, P), *(randn(batch, size) for size in cell.state_sizes(H))]
        tensors = list(named.values())
        return cls(cell, batch_sizes, list(named), tensors, loss_weights, mask, noise, reverse, recompute)

    def run(self, engine, *tensors):
        """(outputs, final state…) as a function of the tensors."""
        named = dict(zip(self.names, tensors, strict=True))
        own = {name[4:]: value for name, value in named.items() if name.startswith("own.")}
        weights = Weights(named["U"], named["W"], named.get("b"), own, named.get("P"))
        state = tuple(named[f"initial.{name}"] for name in self.cell.states)
        arguments = (self.cell, weights, named["x"], self.batch_sizes, state)
        settings = {"reverse": self.reverse, "state_mask": self.mask, "noise": self.noise}
        result = engines.run(engine, *arguments, **settings, recompute=self.recompute)
        return (result.outputs, *result.state)

    def results(self, engine, autocast=False, **replaced):
        """Every value and every gradient, by name."""
        tensors = [
            replaced.get(name, value).clone().requires_grad_()
            for name, value in zip(self.names, self.tensors, strict=True)
        ]
        with torch.autocast("cpu", torch.bfloat16, autocast):
            values = self.run(engine, *tensors)
        grads = torch.autograd.grad(self.loss(values), tensors, allow_unused=True)
        found = dict(zip(["outputs", *(f"final.{s}" for s in self.cell.states)], values, strict=True))
        for name, tensor, grad in zip(self.names, tensors, grads, strict=True):
            found[f"grad {name}"] = torch.zeros_like(tensor) if grad is None else grad
        return {name: value.detach() for name, value in found.items()}

    def loss(self, values):
        return sum((w * v).sum() for w, v in zip(self.loss_weights, values, strict=True))


def assert_same(found, expected, tolerance, equal_nan=False):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            equal_nan=equal_nan,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@st.composite
def problems(draw, dtype, cells):
    size = st.integers(1, 12)
    time, batch = draw(size), draw(size)
    shortest = st.just(0) if draw(st.integers(0, 9)) == 9 else st.integers(0, time)
    return Problem.draw(
        draw(st.sampled_from(cells)),
        draw(st.lists(shortest, min_size=batch, max_size=batch)),
        F=draw(size),
        H=draw(size),
        dtype=dtype,
        bias=draw(st.booleans()),
        masked=draw(st.booleans()),
        reverse=draw(st.booleans()),
        seed=draw(st.integers(0, 1000)),
    )


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_engine_equals_the_loop(engine, dtype):
    # In float32 a sum just at zero may fall on either side of the ReLU: another function, another result.
    cells = [cell for cell in CELLS if dtype == torch.float64 or "relu" not in repr(cell)]

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(problems(dtype, cells))
    def check(problem):
        # A layer norm of nearly equal features magnifies rounding, by up to ε^-½ = 300.
        magnified = 10 if dtype == torch.float32 and problem.cell in MIXING else 1
        assert_same(problem.results(engine), problem.results("loop"), magnified * TOLERANCE[dtype])

    check()


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[1], [7], [1, 1, 1], [4, 4, 4], [5, 3, 3, 1, 0]], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_every_cell_equals_the_loop(cell, lengths, reverse, engine):
    problem = Problem.draw(cell, lengths, masked=engine != "torch", reverse=reverse)
    assert_same(problem.results(engine), problem.results("loop"), 1e-12)


@pytest.mark.parametrize("engine", ["loop", "function", "native", "torch"])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_gradients_are_derivatives(cell, engine):
    problem = Problem.draw(cell, [3, 2, 0], F=2, H=2, masked=engine != "torch", reverse=True)
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    assert gradcheck(lambda *tensors: problem.run(engine, *tensors), inputs)


@pytest.mark.parametrize("engine", ["function", "native", "torch"])
@pytest.mark.parametrize("cell", [*ELEMENTWISE, ProjectedLSTM(3)], ids=repr)
def test_second_derivatives(cell, engine):
    problem = Problem.draw(cell, [2, 1], F=2, H=2, masked=engine != "torch")
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    assert gradgradcheck(lambda *tensors: problem.run(engine, *tensors), inputs)


def test_create_graph_through_a_carried_state():
    """The second call's state is a function of the same weights; each call answers for its own part."""

    def gradients(engine):
        problem = Problem.draw(LSTM(), [3, 2])
        inputs = [tensor.requires_grad_() for tensor in problem.tensors]
        _, *state = problem.run(engine, *inputs)
        values = problem.run(engine, *inputs[: -len(state)], *state)
        first = torch.autograd.grad(problem.loss(values), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        return first, second

    for engine in ("function", "native", "torch"):
        torch.testing.assert_close(gradients(engine), gradients("loop"), rtol=1e-12, atol=1e-12)


def test_create_graph_with_one_tensor_in_two_places():
    def gradient(engine):
        problem = Problem.draw(LSTM(), [3, 2])
        *others, both = (tensor.requires_grad_() for tensor in problem.tensors)
        values = problem.run(engine, *others[:-1], both, both)
        return torch.autograd.grad(problem.loss(values), both, create_graph=True)

    for engine in ("function", "native", "torch"):
        torch.testing.assert_close(gradient(engine), gradient("loop"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", [LSTM(), GRU(), RNN()], ids=repr)
def test_create_graph_in_float32(cell):
    """Where torch runs an LSTM by oneDNN, which has no second derivatives."""

    def gradients(engine):
        problem = Problem.draw(cell, [3, 2], dtype=torch.float32)
        inputs = [tensor.requires_grad_() for tensor in problem.tensors]
        values = problem.run(engine, *inputs)
        first = torch.autograd.grad(problem.loss(values), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    torch.testing.assert_close(gradients("torch"), gradients("loop"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", OTHERS)
def test_backward_twice_gives_the_same(engine):
    problem = Problem.draw(GRU(), [3, 2])
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    loss = problem.loss(problem.run(engine, *inputs))
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, inputs)))


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("trained", ["x", "U", "W", "b", "initial.h"])
def test_only_what_is_asked_for_gets_a_gradient(trained, engine):
    problem = Problem.draw(LSTM(), [3, 2])
    expected = problem.results("loop")[f"grad {trained}"]
    inputs = [
        t.requires_grad_(name == trained) for name, t in zip(problem.names, problem.tensors, strict=True)
    ]
    problem.loss(problem.run(engine, *inputs)).backward()
    for name, tensor in zip(problem.names, inputs, strict=True):
        assert (tensor.grad is not None) == (name == trained), name
    torch.testing.assert_close(inputs[problem.names.index(trained)].grad, expected, rtol=1e-12, atol=1e-12)


# NaN and infinity

NANS = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", NANS, ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_what_is_not_finite_stays_in_its_sequence(cell, value, engine):
    problem = Problem.draw(cell, [4, 3, 1])
    # Packed rows: step 0 holds sequences 0 1 2, step 1 holds 0 1, step 2 holds 0 1, step 3 holds 0.
    sequence = torch.tensor([0, 1, 2, 0, 1, 0, 1, 0])
    x = problem.tensors[0].clone()
    x[4] = value  # sequence 1, step 1
    clean, dirty, loop = problem.results(engine), problem.results(engine, x=x), problem.results("loop", x=x)

    for name in ("outputs", "grad x"):
        assert_same({name: dirty[name][sequence != 1]}, {name: clean[name][sequence != 1]}, 1e-14)
    for name in (name for name in clean if "final" in name or "initial" in name):
        assert_same({name: dirty[name][[0, 2]]}, {name: clean[name][[0, 2]]}, 1e-14)

    values = [name for name in loop if name == "outputs" or "final" in name]
    assert_same({n: dirty[n] for n in values}, {n: loop[n] for n in values}, 1e-14, equal_nan=True)
    if value != value:
        reached = dirty["outputs"][4].isnan()
        assert (
            reached.all() if problem.noise is None else reached.any()
        )  # zoneout keeps features as they were
        assert_same(dirty, loop, 1e-12, equal_nan=True)
    # Of 0 · ∞ and ∞ the engines may sum in another order; finite is finite in both.
    for name, expected in loop.items():
        assert torch.equal(dirty[name].isfinite(), expected.isfinite()), name


# Which engine runs


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_supports_cells_that_treat_each_feature_alone(cell):
    assert function.supports(cell) is (cell not in MIXING)
    assert function.supports(copy.deepcopy(cell)) is (cell not in MIXING)


BY_TORCH = ": not by the torch engine"


@pytest.mark.parametrize(
    ("engine", "cell", "reasons"),
    [
        (
            "function",
            LayerNormRNN(),
            ["LayerNormRNN with a step that mixes features: not by the function engine"],
        ),
        ("torch", CoupledLSTM(), ["CoupledLSTM with equations that torch.nn does not have" + BY_TORCH]),
        (
            "torch",
            ProjectedLSTM(4),
            ["ProjectedLSTM with a projection to as many features" + BY_TORCH],
        ),
        pytest.param("native", LayerNormRNN(), [], marks=needs_compiler),
        pytest.param(
            "auto",
            MatrixOfZeros(),
            [
                "MatrixOfZeros with the parameter V of shape (4, 4): not by the native engine",
                "MatrixOfZeros with a step that mixes features: not by the function engine",
            ],
            marks=needs_compiler,
        ),
    ],
)
def test_a_cell_that_an_engine_cannot_run_says_so_once(engine, cell, reasons, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_said", set())
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(3):
            Problem.draw(cell, [2, 1]).results(engine)
    assert [r.getMessage() for r in caplog.records] == [f"engine={engine}: {reason}" for reason in reasons]


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({"masked": True}, "dropout of its hidden state"),
        ({"autocast": True, "dtype": torch.float32}, "autocast"),
    ],
)
def test_a_sequence_that_torch_has_no_layer_for_says_so(problem, reason, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_said", set())
    autocast = problem.pop("autocast", False)
    with caplog.at_level(logging.INFO, "gatewise"):
        Problem.draw(GRU(), [2, 1], **problem).results("torch", autocast)
    assert [r.getMessage() for r in caplog.records] == [f"engine=torch: GRU with {reason}{BY_TORCH}"]


class Leaky(RNN):
    """Not torch's, though its class is."""

    def step(self, a, r, s, p):
        (h,), shown = super().step(a, r, s, p)
        return (s.h + 0.1 * (h - s.h),), shown


def test_a_cell_made_from_one_of_torchs_is_not_taken_for_it():
    problem = Problem.draw(Leaky(), [3, 2])
    assert_same(problem.results("torch"), problem.results("loop"), 1e-12)


@pytest.mark.parametrize("engine", [name for name in OTHERS if name != "auto"])
def test_a_cell_that_does_not_is_not_spoken_of(engine, caplog):
    with caplog.at_level(logging.DEBUG, "gatewise"):
        Problem.draw(LSTM(), [2, 1]).results(engine)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("cell", "compiler", "said"),
    [
        pytest.param(LSTM(), "", ["LSTM by the native engine"], marks=needs_compiler),
        (LSTM(), "/no", ["LSTM with a C compiler that cannot", "LSTM by the torch engine"]),
        (CoupledLSTM(), "/no", ["CoupledLSTM with a C compiler that", "CoupledLSTM by the function engine"]),
    ],
)
def test_auto_says_once_what_it_takes_and_why_no_faster_one(cell, compiler, said, caplog, monkeypatch):
    monkeypatch.setattr(engines, "_said", set())
    if compiler:

        def none(source):  # noqa: ARG001
            raise Unsupported("a C compiler that cannot be run")

        monkeypatch.setattr(kernel, "load", none)
        monkeypatch.setattr(kernel, "_libraries", {})
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(3):
            Problem.draw(cell, [2, 1]).results("auto")
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == len(said)
    for line, start in zip(found, said, strict=True):
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
    """Gradients of each sample alone by vmap(grad): what no autograd.Function without a rule can give."""
    problem = Problem.draw(GRU(), [3])
    _, *others = problem.tensors
    x = torch.randn(5, 3, 3, dtype=torch.float64)

    def loss(x):
        return problem.loss(problem.run(engine, x, *others))

    expected = torch.stack([torch.autograd.functional.jacobian(loss, one) for one in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_autocast(cell, engine):
    problem = Problem.draw(cell, [6, 4, 1], F=8, H=8, dtype=torch.float32, masked=True)
    exact = problem.results("loop")
    found = problem.results(engine, autocast=True)
    for name, expected in exact.items():
        if name.startswith("grad"):
            assert found[name].dtype == torch.float32, name
        # bfloat16 keeps 8 bits, an error of 0.4 % per rounding; here some ten of them in a row. A sum near
        # zero may fall on the ReLU's other side, which changes a whole gradient.
        error = (found[name].float() - expected).norm() / expected.norm().clamp(min=1e-3)
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


# No steps at all


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_no_steps_change_nothing(cell, masked, reverse, engine):
    problem = Problem.draw(cell, [0, 0], masked=masked, reverse=reverse)
    found = problem.results(engine)
    initial = dict(zip(problem.names, problem.tensors, strict=True))
    assert found["outputs"].shape == (0, cell.state_sizes(4)[0])
    for k, name in enumerate(cell.states):
        assert torch.equal(found[f"final.{name}"], initial[f"initial.{name}"])
        # d/ds of Σ w·s is w.
        assert torch.equal(found[f"grad initial.{name}"], problem.loss_weights[1 + k])
    for name in ("x", "U", "W", "b"):
        assert not found[f"grad {name}"].any(), name


# Shapes that do not fit


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("cell", "replaced", "message"),
    [
        (LSTM(), {"x": (8, 2)}, r"the input x must be \[8, 3\] for LSTM\(.*\) of 4 features, got \[8, 2\]"),
        (LSTM(), {"x": (7, 3)}, r"the input x must be \[8, 3\]"),
        (LSTM(), {"U": (15, 3)}, r"U must be \[12, 3\] for .* of 3 features, got \[15, 3\]"),
        (LSTM(), {"W": (16, 3)}, r"W must be \[16, 4\]"),
        (LSTM(), {"b": (15,)}, r"b must be \[16\]"),
        (LSTM(), {"initial.c": (2, 4)}, r"the state c must be \[3, 4\]"),
        (LSTM(), {"initial.h": (2, 4), "initial.c": (2, 4)}, "the first step has 3 sequences, and the state"),
        (ProjectedLSTM(2), {"P": (4, 2)}, r"P must be \[2, 4\]"),
        (ProjectedLSTM(2), {"initial.h": (3, 4)}, r"the state h must be \[3, 2\]"),
        (LSTM(), {"mask": (2, 4)}, r"the mask of the state must be \[3, 4\]"),
        (zoneout(GRU(), {"h": 0.5}, True), {"noise": (7, 4)}, r"the noise must be \[8, 4\]"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_shapes_that_do_not_fit_are_named(cell, replaced, message, engine):
    problem = Problem.draw(cell, [4, 3, 1])
    for name, shape in replaced.items():
        tensor = torch.zeros(shape, dtype=torch.float64)
        if name in ("mask", "noise"):
            setattr(problem, name, tensor)
        else:
            problem.tensors[problem.names.index(name)] = tensor
    with pytest.raises(ValueError, match=message):
        problem.run(engine, *problem.tensors)


# Names


@pytest.mark.parametrize("name", ENGINES)
def test_engines_that_exist(name):
    RECURRENT.check({"engine": name})


@pytest.mark.parametrize(
    ("name", "hint"),
    [("functoin", " (did you mean 'function'?)"), ("Loop", " (did you mean 'loop'?)"), ("cudnn", "")],
)
def test_engines_that_do_not(name, hint):
    with pytest.raises(ValueError, match="engine=") as error:
        RECURRENT.check({"engine": name})
    assert str(error.value).startswith(f"engine={name!r} is unknown{hint}; choose one of: auto, ")
