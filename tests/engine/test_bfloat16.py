"""bfloat16 on the CPU: the products, and what the native engine makes of them."""

import copy
import ctypes
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem import Problem, assert_same

from gatewise.cells import GRU, LSTM, RNN, CoupledLSTM, LayerNormLSTM, MinGRU, PeepholeLSTM, ProjectedLSTM
from gatewise.engine.native.emit import rounded_products_source
from gatewise.engine.native.library import load
from gatewise.nn import Recurrent

ROUNDING = 2**-8
"""The largest relative error of a number that is rounded to bfloat16's 8 bits is half of this."""


@pytest.fixture(scope="module")
def products():
    return load(rounded_products_source())


def call(function, *arguments):
    """Call a C function with addresses of tensors, 64-bit numbers, and null for None."""
    words = [a.data_ptr() if isinstance(a, torch.Tensor) else a or 0 for a in arguments]
    function(*map(ctypes.c_int64, words))


# Around the sizes of tiles (16, 32), of what is rounded at once (128 rows, 1024 along k), and of few numbers.
SIZES = [1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 100, 129]
LONG = [*SIZES, 513, 1023, 1025]


def assert_product(found, *pairs, plus):
    """``found`` is the sum of the products: of rounded factors, or plain ones where those are slower."""
    errors = []
    for rounded in (True, False):
        exact = plus.double()
        for x, w in pairs:
            x, w = ((t.bfloat16() if rounded else t).double() for t in (x, w))
            exact = exact + x @ w
        errors.append(float((found.double() - exact).norm() / exact.norm().clamp(min=1e-6)))
    assert min(errors) < 1e-5, errors


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from([*SIZES, 300]), st.sampled_from(LONG), st.sampled_from(LONG),
    st.sampled_from([0, *SIZES]), st.sampled_from(["zero", "row", "matrix"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_product(products, M, N, K, K2, init, by_columns, turned):
    draw = torch.Generator().manual_seed(M + 1000 * N + K)
    x, w, x2, w2 = (torch.randn(shape, generator=draw) for shape in ((M, K), (N, K), (M, K2), (N, K2)))
    packed = [torch.full(((N + 15) // 16 * 16 * k,), torch.nan) for k in (K, K2)]
    for weights, target in zip((w, w2), packed, strict=True):
        k = weights.shape[1]
        source, wn, wk = (weights.t().contiguous(), 1, N) if by_columns else (weights, k, 1)
        call(products.gw_pack_bfloat16, source, wn, wk, N, k, target)
    start = {
        "zero": None,
        "row": torch.randn(1, N, generator=draw),
        "matrix": torch.randn(M, N, generator=draw),
    }
    begun = start[init]
    out = torch.full((M, N + 3), 7.0)
    call(
        products.gw_multiply_bfloat16, x, K, packed[0], K, x2, K2, packed[1], K2, M, N,
        begun, 0 if init == "row" else N, out, N + 3, int(turned),
    )  # fmt: skip
    assert_product(out[:, :N], (x, w.t()), (x2, w2.t()), plus=torch.zeros(M, N) if begun is None else begun)
    assert (out[:, N:] == 7).all()  # nothing is written past the last column


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([*SIZES, 1030]), st.sampled_from(LONG), st.sampled_from([*SIZES, 513, 600]))
def test_a_sum_of_outer_products(products, M, N, K):
    draw = torch.Generator().manual_seed(M + 1000 * N + K)
    x, sums = torch.randn(K, M, generator=draw), torch.randn(M, N, generator=draw)
    padded = (N + 31) // 32 * 32
    w = torch.zeros(K, padded)
    w[:, :N] = torch.randn(K, N, generator=draw)
    found = sums.clone()
    call(products.gw_outer_bfloat16, x, M, M, w, padded, N, K, found, N, 0)
    assert_product(found, (x.t(), w[:, :N]), plus=sums)
    call(products.gw_outer_bfloat16, x, M, M, w, padded, N, K, found, N, 1)
    assert_product(found, (x.t(), w[:, :N]), plus=torch.zeros(M, N))


def test_numbers_that_are_none(products):
    def times_one(value):
        """(what the processor multiplies, the product)"""
        x = torch.zeros(1, 16)
        x[0, 3] = value
        packed, out = torch.zeros(16 * 16), torch.zeros(1, 1)
        call(products.gw_pack_bfloat16, torch.ones(1, 16), 16, 1, 1, 16, packed)
        call(products.gw_multiply_bfloat16, x, 16, packed, 16, x, 0, packed, 0, 1, 1, None, 0, out, 1, 0)
        return x.sum(), out[0, 0]

    # A processor that has no products of bfloat16 multiplies in float32, whose largest number is larger.
    given, found = times_one(1 + 2**-12)
    rounds = found != given
    assert found == (given.bfloat16() if rounds else given)
    for value in (torch.nan, torch.inf, -torch.inf, 3.4e38, 1e-40):
        given, found = times_one(value)
        expected = given.bfloat16().float() if rounds else given
        # Numbers below 1e-38 may count as 0.
        torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-37, rtol=0.005)


VARIATIONS = [
    *(GRU(), LayerNormLSTM(), ProjectedLSTM(17)),
    *(RNN(), PeepholeLSTM(), CoupledLSTM(), MinGRU()),
]


def ragged(engine, cell, dtype):
    net = Recurrent(33, 24, cell=cell, bidirectional=True, engine=engine)
    torch.manual_seed(5)
    for weight in net.parameters():
        torch.nn.init.uniform_(weight, -0.3, 0.3)
    return net.bfloat16().to(dtype)


def values_and_gradients(net, x, lengths):
    x = x.clone().requires_grad_()
    outputs, state = net(x, lengths=lengths)
    weights = torch.linspace(-1, 1, outputs.numel()).bfloat16().to(outputs.dtype).view_as(outputs)
    loss = (outputs * weights).sum() + sum(s.sum() for s in state)
    used = [x, *(weight for weight in net.parameters() if weight.numel())]
    gradients = torch.autograd.grad(loss, used)
    return [value.detach() for value in (outputs, *state, *gradients)]


@pytest.mark.parametrize(
    "cell", [LSTM(), *(pytest.param(cell, marks=pytest.mark.slow) for cell in VARIATIONS)], ids=repr
)
def test_weights_in_bfloat16(cell):
    x = torch.randn(9, 37, 33, generator=torch.Generator().manual_seed(2)).bfloat16()
    lengths = torch.arange(37) % 9 + 1
    found = values_and_gradients(ragged("native", copy.deepcopy(cell), torch.bfloat16), x, lengths)
    exact = values_and_gradients(ragged("loop", cell, torch.float64), x.double(), lengths)
    for value, expected in zip(found, exact, strict=True):
        assert value.dtype == torch.bfloat16
        # The value itself is rounded, and so were many factors, whose errors partly cancel each other.
        assert float((value.double() - expected).norm() / expected.norm()) < ROUNDING


def test_what_comes_back_under_autocast():
    net, x = Recurrent(5, 8), torch.randn(3, 2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = net(x)
    assert (outputs.dtype, state.h.dtype, state.c.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)


def test_it_runs_on_the_native_engine(caplog):
    with caplog.at_level(logging.INFO, "gatewise"), torch.autocast("cpu", torch.bfloat16):
        Recurrent(5, 8, engine="native")(torch.randn(3, 2, 5))
    assert "cannot run" not in caplog.text


def test_float16_runs_on_another_engine():
    problem = Problem.draw(LSTM(), [3, 1], dtype=torch.float32)
    with torch.autocast("cpu", torch.float16):
        outputs = problem.run("native", *problem.tensors)[0]
    assert_same({"outputs": outputs.float()}, {"outputs": problem.results("loop")["outputs"]}, 0.01)


@pytest.mark.parametrize("recompute", [False, True])
def test_recomputed_is_kept(recompute):
    """What is computed again in the backward pass has the same roundings."""
    problem = Problem.draw(LSTM(), [6, 4, 1], F=8, H=8, dtype=torch.float32)
    kept = problem.results("native", autocast=True)
    problem.recompute = recompute
    assert_same(problem.results("native", autocast=True), kept, 1e-6)
