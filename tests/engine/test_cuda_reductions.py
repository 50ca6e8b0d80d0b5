"""Steps that reduce along the features in the whole-sequence kernels, emulated: the loop's results."""

import itertools

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import Problem, relative_errors
from reducing import REDUCING, ProjectedLayerNorm

from gatewise.cells import LayerNormLSTM
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


FIRST = [(ProjectedLayerNorm(), "cluster", torch.bfloat16)]
OTHERS = [*itertools.product(REDUCING, EXCHANGES, LIMITS), (LayerNormLSTM(), "staged", torch.bfloat16)]


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
