"""Every engine gives the loop's results: values, gradients, second derivatives, edge cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem import CELLS, ELEMENTWISE, FEW_CELLS, MIXING, OTHERS, Problem, assert_same
from torch.autograd import gradcheck, gradgradcheck

from gatewise.cells import (
    GRU,
    LSTM,
    RNN,
    ProjectedLSTM,
)
from gatewise.cells.zoneout import zoneout
from gatewise.engine import ENGINES
from gatewise.nn import Recurrent


@st.composite
def problems(draw, dtype, cells, hidden):
    size = st.integers(1, 12)
    time, batch = draw(size), draw(size)
    shortest = st.just(0) if draw(st.integers(0, 9)) == 9 else st.integers(0, time)
    return Problem.draw(
        draw(st.sampled_from(cells)),
        draw(st.lists(shortest, min_size=batch, max_size=batch)),
        F=draw(size),
        H=draw(hidden),
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
    # In float32 a sum near zero may be on either side of the ReLU, with another gradient.
    cells = [cell for cell in CELLS if dtype == torch.float64 or "relu" not in repr(cell)]
    hidden = st.integers(1, 12)
    if engine in ("auto", "native"):
        # Each size of each cell takes two seconds to compile: few cells in sizes that other tests use too.
        cells, hidden = FEW_CELLS, st.sampled_from([1, 4] if dtype == torch.float64 else [4])

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(problems(dtype, cells, hidden))
    def check(problem):
        # A layer norm of nearly equal features magnifies rounding, by up to ε^-½ = 300.
        magnified = 10 if dtype == torch.float32 and problem.cell in MIXING else 1
        results, tolerance = problem.results(engine), magnified * TOLERANCE[dtype]
        try:
            assert_same(results, problem.results("loop"), tolerance)
        except AssertionError:
            if magnified == 1:
                raise
            # Then the loop's own rounding may be the larger one: it is the result in float64 that is right.
            exact = problem.double().results("loop")
            assert_same({name: value.double() for name, value in results.items()}, exact, tolerance)

    check()


# Which engine `auto` takes is the matter of test_choice.py.
@pytest.mark.parametrize("engine", [name for name in OTHERS if name != "auto"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[1], [7], [1, 1, 1], [4, 4, 4], [5, 3, 3, 1, 0]], ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_every_cell_equals_the_loop(cell, lengths, reverse, engine):
    problem = Problem.draw(cell, lengths, masked=engine != "torch", reverse=reverse)
    assert_same(problem.results(engine), problem.results("loop"), 1e-12)


# Hidden sizes for numerical derivatives: small, but for the native engine one that is compiled anyway.
SMALL = {"loop": 2, "function": 2, "torch": 2, "native": 4}


@pytest.mark.parametrize("engine", SMALL)
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_gradients_are_derivatives(cell, engine):
    problem = Problem.draw(cell, [3, 2, 0], F=2, H=SMALL[engine], masked=engine != "torch", reverse=True)
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    assert gradcheck(lambda *tensors: problem.run(engine, *tensors), inputs)


@pytest.mark.parametrize("engine", ["function", "native", "torch"])
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=repr(cell), marks=[] if isinstance(cell, GRU) else [pytest.mark.slow])
        for cell in [*ELEMENTWISE, ProjectedLSTM(3)]
    ],
)
def test_second_derivatives(cell, engine):
    problem = Problem.draw(cell, [2, 1], F=2, H=SMALL[engine], masked=engine != "torch")
    inputs = [tensor.requires_grad_() for tensor in problem.tensors]
    assert gradgradcheck(lambda *tensors: problem.run(engine, *tensors), inputs)


def test_create_graph_through_a_carried_state():
    """The state of the second call depends on the same weights; each call differentiates its own part."""

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
    """In float32 torch runs an LSTM with oneDNN, which has no second derivatives."""

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
    # The engines may add 0 · ∞ and ∞ in another order, but agree on what is finite.
    for name, expected in loop.items():
        assert torch.equal(dirty[name].isfinite(), expected.isfinite()), name


# No steps at all


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_no_steps_change_nothing(cell, masked, reverse, engine):
    problem = Problem.draw(cell, [0, 0], masked=masked, reverse=reverse)
    results = problem.results(engine)
    initial = dict(zip(problem.names, problem.tensors, strict=True))
    assert results["outputs"].shape == (0, cell.state_sizes(4)[0])
    for k, name in enumerate(cell.states):
        assert torch.equal(results[f"final.{name}"], initial[f"initial.{name}"])
        # d/ds of Σ w·s is w.
        assert torch.equal(results[f"grad initial.{name}"], problem.loss_weights[1 + k])
    for name in ("x", "U", "W", "b"):
        assert not results[f"grad {name}"].any(), name


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
        (LSTM(), {"initial.h": (2, 4), "initial.c": (2, 4)}, "the first step has 3 sequences, but"),
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
    assert Recurrent(2, 3, engine=name).engine == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("functoin", " (did you mean 'function'?)"),
        ("Loop", " (did you mean 'loop'?)"),
        ("cudnn", " (did you mean 'cuda'?)"),
        ("mkl", ""),
    ],
)
def test_engines_that_do_not_exist(name, hint):
    with pytest.raises(ValueError, match="engine=") as error:
        Recurrent(2, 3, engine=name)
    assert str(error.value).startswith(f"engine={name!r} is unknown{hint}; choose one of: auto, ")
