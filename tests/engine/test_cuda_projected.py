"""Cells that project their hidden state in the whole-sequence kernels, emulated: the loop's results."""

import itertools

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import Problem, relative_errors
from reducing import ProjectedLayerNorm
from torch import sigmoid, tanh

from gatewise.cells import Cell, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import cuda, loop
from gatewise.engine.cuda import plan
from gatewise.engine.cuda.projected import ProjectedKernels
from gatewise.engine.cuda.variant import BLOCK, CLUSTER, GRID, Variant
from gatewise.engine.request import Unsupported

pytestmark = needs_cpp

RAGGED = [5, 4, 4, 2, 2, 1, 1, 1, 1, 0]
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}
EXCHANGES = {
    BLOCK: (Variant(), Variant(wsplit=2)),
    CLUSTER: (Variant(2, exchange=CLUSTER), Variant(2, 2, exchange=CLUSTER)),
    GRID: (Variant(4, 2, exchange=GRID), Variant(2, exchange=GRID)),
}


class ProjectedGRU(Cell):
    """Its W h and U x are no sum, and one gate has no W h."""

    gates = ("r", "n", "o")
    recurrent = ("r", "n")
    states = ("h", "c")
    projection_size = 12

    def step(self, a, r, s, p):  # noqa: ARG002
        c = 0.5 * s.c + tanh(a.n + sigmoid(a.r + r.r) * r.n)
        return (c * sigmoid(a.o), c), {"c": c}


class ProjectedWithoutProducts(Cell):
    gates = ("n",)
    recurrent = ()
    states = ("h", "c")
    projection_size = 12

    def step(self, a, r, s, p):  # noqa: ARG002
        c = 0.5 * s.c + a.n
        return (tanh(c), c), {"c": c}


@pytest.fixture
def run_in_one(monkeypatch, tf32):  # noqa: ARG001
    """Run a problem in one launch in an exchange's variants; returns the relative errors."""

    def run(problem, dtype, exchange):
        forth, back = EXCHANGES[exchange]
        variants = {"forward": forth, "backward": back}
        monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])
        with emulated_gpu():
            errors = relative_errors("cuda", problem, dtype)
            designs = cuda._designs[problem.cell].values()
        assert any(isinstance(design, ProjectedKernels) for design in designs)
        return errors

    return run


CELLS = [
    ProjectedLSTM(12),
    ProjectedLSTM(40),
    zoneout(ProjectedLSTM(8), {"c": 0.4}, training=True),
    ProjectedGRU(),
    ProjectedWithoutProducts(),
]
# The quick tests share their kernels, and those of test_cuda_reductions.py.
FIRST = [(ProjectedLayerNorm(), CLUSTER, torch.bfloat16, True)]
OTHERS = itertools.product(CELLS, EXCHANGES, LIMITS, (False, True))


@pytest.mark.parametrize(
    ("cell", "exchange", "dtype", "reverse"),
    [*FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=str,
)
def test_every_cell_equals_the_loop(run_in_one, cell, exchange, dtype, reverse):
    errors = run_in_one(Problem.draw(cell, RAGGED, H=34, reverse=reverse), dtype, exchange)
    assert max(errors.values()) <= LIMITS[dtype], errors


@pytest.mark.parametrize("reverse", [False, True])
def test_sequences_of_the_same_length(run_in_one, reverse):
    problem = Problem.draw(ProjectedLayerNorm(), [4, 4, 4], H=34, reverse=reverse, recompute=reverse)
    errors = run_in_one(problem, torch.bfloat16, CLUSTER)
    assert max(errors.values()) <= LIMITS[torch.bfloat16], errors


def test_the_final_state_is_the_last_output_and_gates_are_there(monkeypatch):
    monkeypatch.setattr(plan, "best", lambda *_: EXCHANGES[CLUSTER][0])
    problem = Problem.draw(ProjectedLayerNorm(), [4, 4, 4], H=34, dtype=torch.bfloat16)
    request = problem.request(problem.tensors, return_gates=True)
    with torch.no_grad(), emulated_gpu():
        found = cuda.run(request, "whole")
    assert torch.equal(found.state[0], found.outputs[-3:])
    exact = problem.request([tensor.double() for tensor in problem.tensors], return_gates=True)
    expected = loop.run(exact)
    assert found.gates.keys() == expected.gates.keys()
    for name, values in expected.gates.items():
        assert (found.gates[name].double() - values).norm() <= 1e-2 * values.norm(), name


def test_a_mask_on_the_projected_state_runs_step_by_step():
    problem = Problem.draw(ProjectedLayerNorm(), [4, 4, 4], H=34, dtype=torch.bfloat16, masked=True)
    request = problem.request(problem.tensors)
    with torch.no_grad(), emulated_gpu():
        cuda.run(request, "steps")
        with pytest.raises(Unsupported, match="no kernel for the whole sequence"):
            cuda.run(request, "whole")
