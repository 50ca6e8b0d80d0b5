"""The native engine: what it makes of a cell, and that its results are the loop's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem import CELLS, COMPILES, MatrixOfZeros, Problem, assert_equals_loop, assert_same

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN, Cell, LayerNormLSTM, ProjectedLSTM
from gatewise.engine import Request, native
from gatewise.engine.native.emit import source
from gatewise.engine.request import Unsupported
from gatewise.engine.traced.trace import trace

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


# What it makes of a cell


def test_an_lstm_keeps_four_gates_and_the_squashed_cell_state():
    recording = trace(LSTM(), 8)
    # Backpropagation needs i, f, n, o and tanh(c'); c is kept as a state anyway.
    assert len(recording.saved) == 5
    assert recording.grad["a"] == recording.grad["r"]
    assert recording.grad["s"][0] is None  # h enters through W h alone


def test_a_gru_keeps_what_its_reset_gate_multiplies():
    # r, z, n and W h + d; h - n is computed again, which is cheaper than reading it.
    recording = trace(GRU(), 8)
    assert len(recording.saved) == 4
    assert recording.grad["a"] != recording.grad["r"]


def test_nothing_in_the_code_knows_a_cell_by_name():
    for text in source(RNN(), trace(RNN(), 8), 8, torch.float32):
        assert "@" not in text.replace("@ signs", "")
        assert "RNN" not in text


class Cumulative(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return (torch.cumsum(a.n + r.n, -1),), {}


class Branching(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return ((a.n + r.n) if bool(a.n.sum() > 0) else a.n,), {}


@pytest.mark.parametrize(
    ("cell", "size", "reason"),
    [
        (Cumulative(), 4, "the operation cumsum.default"),
        (Branching(), 4, "a step that cannot be traced"),
        (MatrixOfZeros(), 4, r"the parameter V of shape \(4, 4\)"),
        (RNN(), 1, "a hidden size of 1"),
    ],
)
def test_the_reason_names_what_it_cannot_express(cell, size, reason):
    with pytest.raises(Unsupported, match=reason):
        trace(cell, size)


class Everything(Cell):
    """Every operation that the engine has C code for, where it has a derivative."""

    gates = ("u", "v")
    states = ("h", "m")

    def own_parameters(self, hidden_size):
        return {"scale": torch.ones(hidden_size)}

    def step(self, a, r, s, p):
        u, v = a.u + r.u, a.v - 0.5 * r.v
        positive = torch.exp(u / 4) + torch.reciprocal(1 + v * v) + torch.sqrt(1 + u * u)
        waves = torch.sin(u) * torch.cos(v) + torch.erf(u - v) + torch.expm1(v / 8) + torch.log1p(u * u)
        chosen = torch.where((u > v) & ~(u > 3), torch.maximum(u, v), torch.minimum(u, 2 * v))
        spread = (
            u.var(-1, keepdim=True) + torch.abs(v).mean(-1, keepdim=True) + torch.amax(u, -1, keepdim=True)
        )
        m = torch.tanh(0.5 * s.m + p.scale * torch.rsqrt(positive) - torch.log(positive) / spread.exp())
        h = torch.tanh(chosen / 4 + waves / 8 - torch.neg(m) + positive.pow(1.5) / 50 + torch.relu(v) / 9)
        return (h, m), {}


@pytest.mark.parametrize("reverse", [False, True])
def test_every_operation_has_torchs_values_and_derivatives(reverse):
    trace(Everything(), 5)  # raises where it is not supported: the loop would be compared with itself
    assert_equals_loop(Everything(), H=5, masked=True, reverse=reverse)


# Of single precision a vector has 4, 8 or 16 numbers, of double precision half of them.
@pytest.mark.parametrize(
    ("cell", "size"),
    [
        (LSTM(), 7),
        (GRU(), 29),
        *(pytest.param(LSTM(), size, marks=pytest.mark.slow) for size in (3, 16, 40)),
        pytest.param(GRU(), 7, marks=pytest.mark.slow),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else value,
)
def test_sizes_that_are_no_multiple_of_a_vector(cell, size):
    assert_equals_loop(cell, H=size)
    drawn = Problem.draw(cell, [4, 3, 1], H=size, dtype=torch.float32)
    assert_same(drawn.results("native"), drawn.results("loop"), 1e-5)


def test_extreme_values_are_those_of_torch():
    class Squash(Cell):
        gates = ("n",)
        states = ("h", "e", "t")

        def step(self, a, r, s, p):  # noqa: ARG002
            return (torch.sigmoid(a.n), torch.exp(a.n), torch.tanh(a.n)), {}

    values = [0.0, -0.0, 1e-8, -1e-5, 0.3, -0.35, 1.0, 20.0, -20.0, 88.0, -87.0, 89.0, -1000.0, 1000.0]
    x = torch.tensor([[*values, float("inf"), float("-inf"), float("nan"), 700.0]])
    for dtype, tolerance in ((torch.float32, 3e-7), (torch.float64, 1e-15)):
        size = x.shape[1]
        weights = engines.Weights(
            torch.eye(size, dtype=dtype), torch.zeros(size, size, dtype=dtype), None, {}
        )
        # One row each: in a product with the identity, 0 · ∞ would be NaN.
        for k, value in enumerate(x[0].to(dtype)):
            one = torch.full((1, size), 0.5, dtype=dtype)
            one[0, k] = value
            a = engines.Weights(torch.full((size, 1), 1.0, dtype=dtype), weights.hidden, None, {})
            state = tuple(torch.zeros(1, size, dtype=dtype) for _ in range(3))
            result = native.run(Request(Squash(), a, value.view(1, 1), (1,), state))
            expected = [torch.sigmoid(value), torch.exp(value), torch.tanh(value)]
            for new, wanted in zip(result.state, expected, strict=True):
                # Below the smallest normal number the engine's exp is 0.
                torch.testing.assert_close(
                    new, wanted.expand(1, size), rtol=tolerance, atol=2e-38, equal_nan=True
                )


# More rows than a chunk of steps has, more than a tile of the products has, and too few to pack weights for.
LENGTHS = {"chunks": [40] * 11 + [33, 17, 1, 0], "tiles": [5] * 29, "few": [2, 1], "one": [150]}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [LSTM(), GRU(), LayerNormLSTM(), ProjectedLSTM(3)], ids=repr)
def test_sequences_of_every_form(cell, lengths, reverse):
    for form in ({"masked": True}, {"bias": False, "recompute": True}):
        problem = Problem.draw(cell, lengths, H=4, F=5, reverse=reverse, **form)
        assert_same(problem.results("native"), problem.results("loop"), 1e-11)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(1, 40),
    batch=st.integers(1, 40),
    inputs=st.integers(1, 40),
    hidden=st.sampled_from([1, 2, 3, 7, 16, 40]),
    seed=st.integers(0, 99),
    recompute=st.booleans(),
)
def test_any_size(steps, batch, inputs, hidden, seed, recompute):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator).tolist()
    lengths[0] = max(lengths[0], 1)
    problem = Problem.draw(LSTM(), lengths, F=inputs, H=hidden, seed=seed, recompute=recompute)
    assert_same(problem.results("native"), problem.results("loop"), 1e-11)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_recomputing_gives_the_same_results(cell):
    assert_equals_loop(cell, H=4, masked=True, recompute=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_gates_are_those_of_the_loop(cell, reverse):
    problem = Problem.draw(cell, [5, 5, 3, 1, 0], reverse=reverse)
    request = problem.request(problem.tensors, return_gates=True)
    with torch.no_grad():
        gates, expected = (engines.run(engine, request).gates for engine in ("native", "loop"))
    assert list(gates) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(gates[name], values, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_inference_gives_the_values_of_training(cell, reverse):
    problem = Problem.draw(cell, [5, 5, 3, 1, 0], masked=True, reverse=reverse)
    trained = problem.run("native", *(t.requires_grad_() for t in problem.tensors))
    with torch.no_grad():
        inferred = problem.run("native", *problem.tensors)
    # Not equal: the compiler may round a product and a sum once, but what is kept of a step is rounded.
    for without, with_gradients in zip(inferred, trained, strict=True):
        torch.testing.assert_close(without, with_gradients, rtol=1e-14, atol=1e-15)
