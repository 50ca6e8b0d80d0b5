"""Every function of torch that the native engine expresses: its values and derivatives are torch's."""

from __future__ import annotations

import math

import pytest
import torch
from problem import COMPILES, Problem
from torch.nn import functional as F

from gatewise import engine as engines
from gatewise.cells import Cell
from gatewise.engine.native import library
from gatewise.engine.request import Unsupported
from gatewise.engine.traced.trace import trace

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


def norm(x, order):
    return torch.linalg.vector_norm(x, order, dim=-1, keepdim=True)


# Functions of two gates u and v; where one is not defined everywhere, of values that it is defined for.
FUNCTIONS = {
    # Activations
    "silu": lambda u, _: F.silu(u),
    "mish": lambda u, _: F.mish(u),
    "gelu": lambda u, _: F.gelu(u),
    "gelu_tanh": lambda u, _: F.gelu(u, approximate="tanh"),
    "elu": lambda u, _: F.elu(u, 1.5),
    "selu": lambda u, _: F.selu(u),
    "celu": lambda u, _: F.celu(u, 1.5),
    "softplus": lambda u, _: F.softplus(u),
    "softplus_sharp": lambda u, _: F.softplus(u, beta=2.0, threshold=3.0),
    "softsign": lambda u, _: F.softsign(u),
    "logsigmoid": lambda u, _: F.logsigmoid(u),
    "hardsigmoid": lambda u, _: F.hardsigmoid(u),
    "hardswish": lambda u, _: F.hardswish(u),
    "hardtanh": lambda u, _: F.hardtanh(u),
    "relu6": lambda u, _: F.relu6(u),
    "leaky_relu": lambda u, _: F.leaky_relu(u, 0.1),
    "threshold": lambda u, _: F.threshold(u, 0.1, 20.0),
    "tanhshrink": lambda u, _: F.tanhshrink(u),
    "softshrink": lambda u, _: F.softshrink(u),
    "hardshrink": lambda u, _: F.hardshrink(u),
    # Elementary functions
    "exp2": lambda u, _: torch.exp2(u),
    "log2": lambda u, _: torch.log2(u * u + 1),
    "log10": lambda u, _: torch.log10(u * u + 1),
    "tan": lambda u, _: torch.tan(u / 9),
    "asin": lambda u, _: torch.asin(u / 9),
    "acos": lambda u, _: torch.acos(u / 9),
    "atan": lambda u, _: torch.atan(u),
    "atan2": lambda u, v: torch.atan2(u, v),
    "sinh": lambda u, _: torch.sinh(u),
    "cosh": lambda u, _: torch.cosh(u),
    "asinh": lambda u, _: torch.asinh(u),
    "acosh": lambda u, _: torch.acosh(u * u + 1.5),
    "atanh": lambda u, _: torch.atanh(u / 9),
    "erfc": lambda u, _: torch.erfc(u),
    "sinc": lambda u, _: torch.sinc(u),
    "logit": lambda u, _: torch.logit(torch.sigmoid(u)),
    "logit_eps": lambda u, _: torch.logit(torch.sigmoid(u), 0.3),
    "xlogy": lambda u, v: torch.xlogy(u, v * v + 1),
    "hypot": lambda u, v: torch.hypot(u, v),
    "logaddexp": lambda u, v: torch.logaddexp(u, v),
    # Powers
    "square": lambda u, _: torch.square(u),
    "pow_0": lambda u, v: u**0 * v,
    "pow_1": lambda u, _: u**1,
    "pow_2": lambda u, _: u**2,
    "pow_3": lambda u, _: u**3,
    "pow_4": lambda u, _: u**4,
    "pow_-1": lambda u, _: (u + 9) ** -1,
    "pow_-2": lambda u, _: (u + 9) ** -2,
    "pow_half": lambda u, _: (u * u + 1) ** 0.5,
    "pow_-half": lambda u, _: (u * u + 1) ** -0.5,
    "pow_2.5": lambda u, _: (u * u + 1) ** 2.5,
    "pow_of_number": lambda u, _: 2.5**u,
    "pow_of_both": lambda u, v: (u * u + 1) ** v,
    # Sums and products
    "lerp": lambda u, v: torch.lerp(u, v, 0.3),
    "lerp_far": lambda u, v: torch.lerp(u, v, 0.8),
    "lerp_gate": lambda u, v: torch.lerp(u, v, torch.sigmoid(u)),
    "addcmul": lambda u, v: torch.addcmul(u, u, v, value=0.5),
    "addcdiv": lambda u, v: torch.addcdiv(u, u, v * v + 1, value=0.5),
    "rsub": lambda u, _: torch.rsub(u, 1),
    "rsub_alpha": lambda u, v: torch.rsub(u, v, alpha=2),
    "sub_from_number": lambda u, _: 1 - u,
    # Limits and choices
    "clamp": lambda u, _: torch.clamp(u, -0.5, 0.5),
    "clamp_low": lambda u, _: torch.clamp(u, min=-0.5),
    "clamp_high": lambda u, _: torch.clamp(u, max=0.5),
    "clamp_tensors": lambda u, v: torch.clamp(u, min=v - 0.3, max=v + 0.3),
    "fmax": lambda u, v: torch.fmax(u, v),
    "fmin": lambda u, v: torch.fmin(u, v),
    "copysign": lambda u, v: torch.copysign(u, v),
    "sgn": lambda u, v: torch.sgn(u) * v,
    "isnan": lambda u, _: torch.where(torch.isnan(u), 0.5, u),
    "isfinite": lambda u, _: torch.where(torch.isfinite(u), u, 0.5),
    "nan_to_num": lambda u, _: torch.nan_to_num(u, 0.1, 2.0, -2.0),
    "xor": lambda u, v: torch.where((u > 0) ^ (v > 0), u, 2 * v),
    "masked_fill": lambda u, v: u.masked_fill(v > 0, 0.5),
    # Step functions, whose derivative is 0: multiplied with v
    "floor": lambda u, v: torch.floor(u) * v,
    "ceil": lambda u, v: torch.ceil(u) * v,
    "trunc": lambda u, v: torch.trunc(u) * v,
    "round": lambda u, v: torch.round(u) * v,
    "frac": lambda u, _: torch.frac(u),
    "fmod": lambda u, _: torch.fmod(u, 0.7),
    "remainder": lambda u, _: torch.remainder(u, 0.7),
    "remainder_negative": lambda u, _: torch.remainder(u, -0.7),
    # Over the features
    "norm_1": lambda u, _: u / norm(u, 1),
    "norm_2": lambda u, _: u / norm(u, 2),
    "norm_3": lambda u, _: u / norm(u, 3),
    "norm_inf": lambda u, _: u / norm(u, math.inf),
    "norm_-inf": lambda u, _: u + norm(u, -math.inf),
    "norm_0": lambda u, _: u / norm(u, 0),
    "normalize": lambda u, _: F.normalize(u, dim=-1),
    "rms_norm": lambda u, _: F.rms_norm(u, u.shape[-1:], eps=1e-6),
    "softmax": lambda u, _: torch.softmax(u, -1),
    "log_softmax": lambda u, _: torch.log_softmax(u, -1),
    "logsumexp": lambda u, _: u - torch.logsumexp(u, -1, keepdim=True),
    "std": lambda u, _: u / u.std(-1, keepdim=True),
    "var_mean": lambda u, v: sum(torch.var_mean(u, -1, keepdim=True)) * v,
}


def cell_of(names):
    """A cell with a state for each of these functions, besides the hidden state."""

    class Functions(Cell):
        gates = ("u", "v")
        states = ("h", *(f"state{k}" for k in range(len(names))))

        def step(self, a, r, s, p):  # noqa: ARG002
            u, v = a.u + r.u, a.v + r.v
            return (torch.tanh(u - v), *(FUNCTIONS[name](u, v) for name in names)), {}

    return Functions()


# Four cells: the time of the compiler grows faster than the length of its functions.
CELLS = [(names, cell_of(names)) for names in (tuple(FUNCTIONS)[k::4] for k in range(4))]


def derivatives(names, problem, engine):
    """By function: its value after the last step, and its gradients with respect to all inputs."""
    inputs = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    _, _, *finals = problem.run(engine, *inputs)
    by_name = {}
    for name, final, weight in zip(names, finals, problem.loss_weights[2:], strict=True):
        grads = torch.autograd.grad((final * weight).sum(), inputs[:4], retain_graph=True)
        by_name[name] = (final.detach(), *grads)
    return by_name


@pytest.fixture(scope="module")
def both():
    """For both dtypes: the results of the native engine and of the loop."""
    results = {}
    for dtype in (torch.float64, torch.float32):
        results[dtype] = ({}, {})
        with pytest.MonkeyPatch.context() as monkeypatch:
            if dtype == torch.float64:  # half the time; single precision is compiled as for users
                flags = ("-O1" if flag == "-O3" else flag for flag in library.FLAGS)
                monkeypatch.setattr(library, "FLAGS", tuple(flags))
            for names, cell in CELLS:
                trace(cell, 6)  # raises where it is not supported: the loop would be compared with itself
                problem = Problem.draw(cell, [2, 2, 1, 1], H=6, dtype=dtype)
                for by_name, engine in zip(results[dtype], ("native", "loop"), strict=True):
                    by_name.update(derivatives(names, problem, engine))
    return results


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives(name, dtype, both):
    native, loop = (derivatives_by_name[name] for derivatives_by_name in both[dtype])
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5}[dtype]
    if name == "hardsigmoid":
        tolerance = 2e-5  # torch's derivative has ⅙ in single precision
    torch.testing.assert_close(native, loop, rtol=tolerance, atol=tolerance)
    assert any(grad.any() for grad in loop[1:])


# Values that are not compared: `std` of equal numbers is all rounding; torch's gelu of ∞ is NaN in single
# precision and ∞ in double; the engine's sigmoid ends at the smallest normal number, torch's at 0.
NOT_COMPARED = {
    "std": lambda _: True,
    "gelu": lambda x: x == math.inf,
    "silu": lambda x: x == -math.inf,
    "logit": lambda x: x < -87,
}
EXTREMES = [0.0, 1e-8, 0.5, 1.0, 1.5, 2.5, 3.0, 20.0, 100.0, math.inf]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_values_at_the_limits(dtype, both):  # noqa: ARG001 - which compiles the cells
    x = torch.tensor([*EXTREMES, *(-value for value in EXTREMES), math.nan], dtype=dtype)[:, None]
    ones = torch.ones(12, 1, dtype=dtype)
    bias = torch.tensor([0.0] * 6 + [0.7] * 6, dtype=dtype)
    weights = engines.Weights(ones, torch.zeros(12, 6, dtype=dtype), bias, {})
    results = []
    for names, cell in CELLS:
        state = tuple(torch.zeros(len(x), 6, dtype=dtype) for _ in cell.states)
        request = engines.Request(cell, weights, x, (len(x),), state)
        with torch.no_grad():
            native, loop = (engines.run(engine, request).state for engine in ("native", "loop"))
        results += zip(names, native[1:], loop[1:], strict=True)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5}[dtype]
    assert len(results) == len(FUNCTIONS)
    for name, value, expected in results:
        excluded = NOT_COMPARED.get(name, lambda _: False)
        there = [k for k, number in enumerate(x[:, 0].tolist()) if not excluded(number)]
        torch.testing.assert_close(
            value[there],
            expected[there],
            rtol=tolerance,
            atol=tolerance,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_what_a_function_takes_from_the_dtype(dtype):
    class Normed(Cell):
        gates = ("n",)
        states = ("h",)

        def step(self, a, r, s, p):  # noqa: ARG002
            return (F.rms_norm(a.n + r.n, a.n.shape[-1:]),), {}

    # Without an `eps`, rms_norm adds that of the dtype.
    numbers = [arg for op in trace(Normed(), 6, dtype).forward for arg in op.args if isinstance(arg, float)]
    assert torch.finfo(dtype).eps in numbers


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda u, _: torch.cumsum(u, -1), "the operation cumsum.default"),
        (lambda u, _: torch.cumprod(u, -1), "the operation cumprod.default"),
        (lambda u, _: F.dropout(u, 0.5), "the operation bernoulli.p"),
        (lambda u, _: torch.erfinv(u), "the operation erfinv.default"),
        (lambda u, _: u.flip(-1), "the operation flip.default"),
        (lambda u, v: u.mean(0, keepdim=True) + v, "the operation mean.dim over the rows"),
        (lambda u, _: u / torch.linalg.vector_norm(u), "the operation sum.dim_IntList over the rows"),
        (lambda u, v: torch.cat([u, v], -1).chunk(2, -1)[0], "the operation cat.default"),
    ],
)
def test_what_mixes_features_or_rows_is_left_to_others(function, reason):
    class One(Cell):
        gates = ("u", "v")
        states = ("h",)

        def step(self, a, r, s, p):  # noqa: ARG002
            return (function(a.u + r.u, a.v + r.v),), {}

    with pytest.raises(Unsupported, match=reason):
        trace(One(), 5)
