"""Float32 in all of its digits by the whole-sequence kernels, where torch may not take TF32; emulated."""

import pytest
import torch
from emulator import emulated_gpu, needs_cpp
from problem import ELEMENTWISE, Problem, relative_errors
from reducing import REDUCING, NormedMinGRU
from test_cuda_models import errors_of
from test_cuda_sequences import EXCHANGES, RAGGED

from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.engine import cuda
from gatewise.engine.cuda import plan, whole
from gatewise.engine.cuda.emit import sequence_source
from gatewise.engine.cuda.projected import ProjectedKernels
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.traced.trace import trace

pytestmark = needs_cpp

LIMIT = 1e-5


@pytest.fixture
def errors_in(monkeypatch):
    """Relative errors of a problem in float32, each way in the variant that is given."""

    def run(problem, forth, back):
        variants = {"forward": forth, "backward": back}
        monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])
        errors = relative_errors("cuda", problem, torch.float32)
        assert any(
            isinstance(design, (WholeKernels, ProjectedKernels))
            for design in cuda._designs[problem.cell].values()
        )
        return errors

    with emulated_gpu():
        yield run


@pytest.mark.parametrize(
    ("cell", "exchange"),
    [
        (LayerNormLSTM(), "cluster"),
        *(
            pytest.param(cell, exchange, marks=pytest.mark.slow)
            for cell in (*ELEMENTWISE, *REDUCING, ProjectedLSTM(7))
            for exchange in EXCHANGES
        ),
    ],
    ids=str,
)
def test_every_cell_equals_the_loop(errors_in, cell, exchange):
    if not cell.recurrent and exchange == "block":
        exchange = "cluster"
    masked = cell.projection_size is None
    problem = Problem.draw(cell, RAGGED, H=34, masked=masked, reverse=exchange in ("grid", "staged"))
    variants = EXCHANGES[exchange]
    if isinstance(cell, NormedMinGRU):  # blocks that reduce alone are kept in step by their cluster's barrier
        variants = (Variant(2, exchange=CLUSTER), Variant(4, exchange=CLUSTER, wsplit=2))
    errors = errors_in(problem, *variants)
    if "relu" in repr(cell):  # a sum near zero may be on either side of it, with another gradient
        errors = {name: error for name, error in errors.items() if "grad" not in name}
    assert max(errors.values()) <= LIMIT, errors


@pytest.mark.slow
@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_long_sequences(errors_in, cell):
    errors = errors_in(Problem.draw(cell, [400, 300], H=32), Variant(wsplit=2), Variant(wsplit=2))
    assert max(errors.values()) <= LIMIT, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forth", "back"),
    [
        (Variant(8, 8, exchange=CLUSTER, groups=2), Variant(8, 8, exchange=CLUSTER, groups=2)),
        (Variant(16, exchange=GRID, tiles=2), Variant(16, exchange=GRID, tiles=2, wsplit=4)),
    ],
    ids=str,
)
def test_sums_of_many_features(errors_in, forth, back):
    """The tensor cores, which cut digits off where others round, add up no more than a few numbers each."""
    errors = errors_in(Problem.draw(LSTM(), [4] * 9, H=256), forth, back)
    assert max(errors.values()) <= LIMIT, errors


def test_the_setting_may_change_between_calls(errors_in, tf32):  # noqa: ARG001
    problem = Problem.draw(LSTM(), [6, 5], H=34)
    variants = EXCHANGES["cluster"]
    rounded = errors_in(problem, *variants)
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        matmul.fp32_precision = "ieee"
    else:
        matmul.allow_tf32 = False
    exact = errors_in(problem, *variants)
    assert max(rounded.values()) > 1e-4
    assert max(exact.values()) <= LIMIT, exact


@pytest.mark.parametrize("exact", [False, True])
def test_functions_are_as_exact_as_the_products(exact):
    cell = LSTM()
    traced = trace(cell, 16)
    for way in ("forward", "backward"):
        shape = whole.shape_of(cell, traced, 16, torch.float32, way, exact)
        source = sequence_source(cell, traced, shape, Variant())
        assert f"#define EXACT {int(exact)}" in source
        assert f"#define FAST {int(not exact)}" in source


@pytest.mark.slow
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_many_models(exchange, monkeypatch):
    variants = dict(zip(("forward", "backward"), EXCHANGES[exchange], strict=True))
    monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])
    with emulated_gpu():
        errors = errors_of(Problem.draw(LSTM(), RAGGED, H=34, masked=True), 2, torch.float32, ("x",))
    assert max(errors.values()) <= LIMIT, errors
