"""What the tests of engines run: cells of every kind, and a ragged batch for each."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, tanh
from torch.nn.functional import layer_norm

from gatewise import engine as engines
from gatewise.cells import (
    GRU,
    LSTM,
    LSTM1997,
    RNN,
    CappedLSTM,
    Cell,
    CoupledLSTM,
    LayerNormLSTM,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
)
from gatewise.cells.zoneout import zoneout
from gatewise.engine import ENGINES, Request, Weights
from gatewise.engine.native import library
from gatewise.engine.request import Unsupported


def compiles() -> bool:
    try:
        library.load("int gatewise_tests;")
    except Unsupported:
        return False
    return True


COMPILES = compiles()
needs_compiler = pytest.mark.skipif(not COMPILES, reason="no C compiler")
# test_cuda_*.py are for the cuda engine, which leaves tensors of the CPU to others.
OTHERS = [name for name in ENGINES if name not in ("loop", "cuda")]


class LayerNormRNN(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        h = tanh(a.n + layer_norm(r.n, r.n.shape[-1:]))
        return (h,), {"n": h}


class InputNormRNN(Cell):
    """Mixes only features of the input, which is outside the loop over steps."""

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
    """Uses neither r nor the state: no gradient flows back through time."""

    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return (tanh(a.n),), {}


class SomeProducts(Cell):
    """The first and the last of three gates have a recurrent product."""

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
    CappedLSTM(),
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
# Those that return gates, but for that which no compiled engine runs.
WITH_GATES = [cell for cell in CELLS if repr(cell) not in ("Memoryless()", "MatrixOfZeros()")]
# At least one for each path through the code around the step.
FEW_CELLS = [
    ELEMENTWISE[0],
    ELEMENTWISE[1],
    ELEMENTWISE[9],
    SomeProducts(),
    Memoryless(),
    MIXING[1],
    PROJECTED[1],
]


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

    def double(self):
        """The same in float64."""
        tensors, loss_weights = ([t.double() for t in some] for some in (self.tensors, self.loss_weights))
        mask, noise = (None if t is None else t.double() for t in (self.mask, self.noise))
        return replace(self, tensors=tensors, loss_weights=loss_weights, mask=mask, noise=noise)

    def run(self, engine, *tensors):
        """(outputs, final state…) as a function of the tensors."""
        result = engines.run(engine, self.request(tensors))
        return (result.outputs, *result.state)

    def request(self, tensors, **settings):
        named = dict(zip(self.names, tensors, strict=True))
        own = {name[4:]: value for name, value in named.items() if name.startswith("own.")}
        weights = Weights(named["U"], named["W"], named.get("b"), own, named.get("P"))
        state = tuple(named[f"initial.{name}"] for name in self.cell.states)
        settings = {"reverse": self.reverse, "recompute": self.recompute, **settings}
        masks = {"state_mask": self.mask, "noise": self.noise}
        return Request(self.cell, weights, named["x"], self.batch_sizes, state, **masks, **settings)

    def results(self, engine, autocast=False, **replaced):
        """Every value and every gradient, by name."""
        tensors = [
            replaced.get(name, value).clone().requires_grad_()
            for name, value in zip(self.names, self.tensors, strict=True)
        ]
        with torch.autocast("cpu", torch.bfloat16, autocast):
            values = self.run(engine, *tensors)
        grads = torch.autograd.grad(self.loss(values), tensors, allow_unused=True)
        results = dict(zip(["outputs", *(f"final.{s}" for s in self.cell.states)], values, strict=True))
        for name, tensor, grad in zip(self.names, tensors, grads, strict=True):
            results[f"grad {name}"] = torch.zeros_like(tensor) if grad is None else grad
        return {name: value.detach() for name, value in results.items()}

    def loss(self, values):
        return sum((w * v).sum() for w, v in zip(self.loss_weights, values, strict=True))


def results_with_gates(run, problem, mixed=lambda _: True, autocast=False):
    """All that a run returns, gates included, and gradients of a loss of those whose name ``mixed`` takes."""
    tensors = [tensor.clone().requires_grad_() for tensor in problem.tensors]
    with torch.autocast("cpu", torch.bfloat16, autocast):
        result = run(problem.request(tensors, return_gates=True))
    final = {f"final {name}": value for name, value in zip(problem.cell.states, result.state, strict=True)}
    values = {"outputs": result.outputs, **final, **result.gates}
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(value.shape, generator=generator) for name, value in values.items()}
    loss = sum((weights[name].to(v.device) * v).sum() for name, v in values.items() if mixed(name))
    grads = torch.autograd.grad(loss, tensors, allow_unused=True)
    for name, tensor, grad in zip(problem.names, tensors, grads, strict=True):
        values[f"grad {name}"] = torch.zeros_like(tensor) if grad is None else grad
    return {name: value.detach() for name, value in values.items()}


def assert_same(results, expected, tolerance, equal_nan=False):
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            results[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            equal_nan=equal_nan,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_equals_loop(cell: Cell, **settings) -> None:
    """The native engine has the loop's results for this cell over one ragged batch."""
    problem = Problem.draw(cell, [4, 3, 1], **settings)
    assert_same(problem.results("native"), problem.results("loop"), 1e-12)


def relative_errors(engine, problem, dtype, device="cpu"):
    """‖found - exact‖ / ‖exact‖ of all; exact is the loop in float64, of numbers that ``dtype`` has."""

    def every(tensor):
        return None if tensor is None else tensor.to(device, dtype)

    tensors = [every(tensor) for tensor in problem.tensors]
    masks = {"mask": every(problem.mask), "noise": every(problem.noise)}
    loss = [every(weights) for weights in problem.loss_weights]
    rounded = replace(problem, tensors=tensors, loss_weights=loss, **masks)
    exactly = {name: None if value is None else value.cpu().double() for name, value in masks.items()}
    exact = replace(
        problem,
        tensors=[t.cpu().double() for t in tensors],
        loss_weights=[w.cpu().double() for w in loss],
        **exactly,
    )
    found, expected = rounded.results(engine), exact.results("loop")
    return {name: relative_error(found[name], value) for name, value in expected.items()}


def relative_error(found, expected):
    """‖found - expected‖ / ‖expected‖; infinite where a number is NaN, which no comparison would see."""
    error = float((found.cpu().double() - expected).norm() / expected.norm().clamp(min=1e-6))
    return math.inf if math.isnan(error) else error
