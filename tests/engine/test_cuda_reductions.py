"""Steps that reduce along the features in the whole-sequence kernels, emulated: the loop's results."""

import itertools

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import LayerNormRNN, Problem, relative_errors
from torch import sigmoid, softmax, tanh
from torch.nn.functional import layer_norm

from gatewise.cells import Cell, LayerNormLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import cuda
from gatewise.engine.cuda import plan
from gatewise.engine.cuda.projected import ProjectedKernels
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.cuda.whole import WholeKernels

pytestmark = needs_cpp

RAGGED = [5, 4, 4, 2, 2, 1, 1, 1, 1, 0]
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}
EXCHANGES = {
    "block": (Variant(), Variant(wsplit=2)),
    "cluster": (Variant(2, exchange=CLUSTER), Variant(2, 2, exchange=CLUSTER)),
    "grid": (Variant(4, 2, exchange=GRID), Variant(2, exchange=GRID)),
    "unsplit": (Variant(2, exchange=CLUSTER), Variant(4, exchange=CLUSTER, wsplit=2)),
    "staged": (
        Variant(5, exchange=GRID, wsplit=2, tiles=2, at_once=1, staged=True),
        Variant(5, exchange=GRID, wsplit=4, tiles=2, at_once=1, staged=True, eights=1),
    ),
}


@pytest.fixture
def run_in_one(monkeypatch, tf32):  # noqa: ARG001
    """Run a problem in one launch in an exchange's variants; returns the relative errors."""

    def run(problem, dtype, forth, back):
        variants = {"forward": forth, "backward": back}
        monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])
        with emulated_gpu():
            errors = relative_errors("cuda", problem, dtype)
            designs = cuda._designs[problem.cell].values()
        assert any(isinstance(design, WholeKernels | ProjectedKernels) for design in designs)
        return errors

    return run


class SoftmaxRNN(Cell):
    """Two reductions after each other, of a largest value and of a sum; the state is reduced as well."""

    gates = ("n", "o")
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        attention = softmax(a.n + r.n, -1)
        h = tanh(4 * attention * s.h.sum(-1, keepdim=True) + sigmoid(a.o + r.o) * s.h)
        return (h,), {"n": attention}


class Ranges(Cell):
    """The least and the largest value, and what differs from the mean, of several things at once."""

    gates = ("n", "o")
    recurrent = ("n",)
    states = ("h", "c")

    def step(self, a, r, s, p):  # noqa: ARG002
        n = a.n + r.n
        low, high = n.amin(-1, keepdim=True), n.amax(-1, keepdim=True)
        c = 0.5 * s.c + (n - low) / (high - low) + a.o.mean(-1, keepdim=True)
        return (tanh(c - c.mean(-1, keepdim=True)) / (1 + n.std(-1, keepdim=True)), c), {"c": c}


class NormedMinGRU(Cell):
    """Without a recurrent product, so that the blocks have nothing else to hand on."""

    gates = ("z", "n")
    recurrent = ()
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        z = sigmoid(a.z)
        h = layer_norm((1 - z) * s.h + z * a.n, a.n.shape[-1:])
        return (h,), {"z": z}


class ProjectedLayerNorm(Cell):
    gates = ("n", "o")
    states = ("h", "c")
    projection_size = 12

    def step(self, a, r, s, p):  # noqa: ARG002
        c = 0.5 * s.c + layer_norm(a.n + r.n, a.n.shape[-1:])
        return (tanh(c) * sigmoid(a.o + r.o), c), {"c": c}


CELLS = [
    LayerNormLSTM(),
    zoneout(LayerNormLSTM(), {"h": 0.3, "c": 0.5}, training=True),
    LayerNormRNN(),
    SoftmaxRNN(),
    Ranges(),
    NormedMinGRU(),
    ProjectedLayerNorm(),
]
FIRST = [(LayerNormLSTM(), "cluster", torch.bfloat16)]
OTHERS = [*itertools.product(CELLS, EXCHANGES, LIMITS), (LayerNormLSTM(), "staged", torch.bfloat16)]


@pytest.mark.parametrize(
    ("cell", "exchange", "dtype"),
    [*FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=str,
)
def test_every_cell_equals_the_loop(run_in_one, cell, exchange, dtype):
    if not cell.recurrent:
        exchange = "unsplit"
    masked = cell.projection_size is None
    problem = Problem.draw(cell, RAGGED, H=34, masked=masked, reverse=exchange == "grid")
    errors = run_in_one(problem, dtype, *EXCHANGES[exchange])
    assert max(errors.values()) <= LIMITS[dtype], errors
