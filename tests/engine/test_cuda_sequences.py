"""The cuda engine's whole-sequence kernels, emulated: each cell, exchange, dtype has the loop's results."""

import itertools

import pytest
import torch
from emulator import Emulator, emulated_gpu, needs_cpp
from problem import ELEMENTWISE, Problem, SomeProducts, relative_errors

from gatewise.cells import GRU, LSTM, CappedLSTM, PeepholeLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import cuda, loop
from gatewise.engine.cuda import plan, whole
from gatewise.engine.cuda.plan import Gpu
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.engine.traced.trace import trace

pytestmark = needs_cpp

RAGGED = [5, 4, 4, 2, 2, 1, 1, 1, 1, 0]
"""Two tiles of sequences, the second of one step."""

# What the dtype's digits allow, TF32 having 10 of them after the point.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.fixture
def run_in_one(monkeypatch, tf32):  # noqa: ARG001
    """Run a problem in one launch, each way in the variant that is given; returns the relative errors."""

    def run(problem, dtype, forth, back):
        variants = {"forward": forth, "backward": back}
        monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])
        with emulated_gpu():
            errors = relative_errors("cuda", problem, dtype)
            designs = cuda._designs[problem.cell].values()
        assert any(isinstance(design, WholeKernels) for design in designs)
        return errors

    return run


EXCHANGES = {
    "block": (Variant(), Variant(wsplit=2)),
    "cluster": (Variant(2, exchange=CLUSTER), Variant(2, 2, exchange=CLUSTER)),
    "grid": (Variant(4, 2, exchange=GRID), Variant(2, exchange=GRID)),
    "staged": (
        Variant(5, exchange=GRID, wsplit=2, tiles=2, at_once=1, staged=True),
        Variant(5, exchange=GRID, wsplit=4, tiles=2, at_once=1, staged=True, eights=1),
    ),
}
FIRST = [
    (LSTM(), "cluster", torch.bfloat16),
    (SomeProducts(), "block", torch.float16),
    (GRU(), "grid", torch.float32),
    (LSTM(), "staged", torch.float32),
]
OTHERS = itertools.product(ELEMENTWISE, EXCHANGES, LIMITS)


@pytest.mark.parametrize(
    ("cell", "exchange", "dtype"),
    [*FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=str,
)
def test_every_cell_equals_the_loop(run_in_one, cell, exchange, dtype):
    if not cell.recurrent and exchange == "block":
        exchange = "cluster"
    problem = Problem.draw(cell, RAGGED, H=34, masked=True, reverse=exchange in ("grid", "staged"))
    errors = run_in_one(problem, dtype, *EXCHANGES[exchange])
    if "relu" in repr(cell) or (dtype == torch.bfloat16 and isinstance(cell, CappedLSTM)):
        # A sum near zero, or two gates nearly as large, may be either way around, with another gradient.
        errors = {name: error for name, error in errors.items() if "grad" not in name}
    assert max(errors.values()) <= LIMITS[dtype], errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "forth", "back"),
    [
        (8, Variant(), Variant()),
        (20, Variant(groups=3), Variant(groups=2)),
        (64, Variant(wsplit=4, tiles=2), Variant(wsplit=4, groups=2, tiles=2)),
        (64, Variant(4, exchange=CLUSTER, wsplit=2), Variant(4, exchange=CLUSTER, wsplit=2)),
        (64, Variant(4, 4, exchange=CLUSTER), Variant(4, 4, exchange=CLUSTER, tiles=2)),
        (50, Variant(4, 2, exchange=GRID, tiles=2), Variant(4, 4, exchange=GRID, depth=2)),
        (72, Variant(12, 4, exchange=GRID), Variant(5, exchange=GRID, wsplit=3)),
        (
            40,
            Variant(5, exchange=GRID, tiles=3, at_once=2, staged=True, wsplit=4),
            Variant(5, exchange=GRID, tiles=3, at_once=2, staged=True, wsplit=4, eights=1),
        ),
        (
            40,
            Variant(5, exchange=GRID, tiles=3, at_once=1, staged=True),
            Variant(3, exchange=GRID, tiles=3, at_once=1, staged=True, depth=2),
        ),
        (64, Variant(4, exchange=GRID, wsplit=8), Variant(4, exchange=GRID, groups=2, eights=1)),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "cell", [zoneout(LSTM(), {"h": 0.3, "c": 0.5}, training=True), PeepholeLSTM()], ids=repr
)
def test_ways_to_share(run_in_one, cell, hidden, forth, back):
    problem = Problem.draw(cell, [6] * 19, H=hidden, reverse=True)
    errors = run_in_one(problem, torch.bfloat16, forth, back)
    assert max(errors.values()) <= LIMITS[torch.bfloat16], errors


def test_gates_and_states():
    problem = Problem.draw(GRU(), RAGGED, H=34, dtype=torch.bfloat16)
    request = problem.request(problem.tensors, return_gates=True)
    with torch.no_grad():
        with emulated_gpu():
            found = cuda.run(request)
            assert any(isinstance(design, WholeKernels) for design in cuda._designs[problem.cell].values())
        exact = problem.request([tensor.double() for tensor in problem.tensors], return_gates=True)
        expected = loop.run(exact)
    assert found.gates.keys() == expected.gates.keys()
    for name, values in expected.gates.items():
        assert (found.gates[name].double() - values).norm() <= 1e-2 * values.norm(), name


def test_a_poll_that_never_ends_is_an_error():
    whole._check_nobody_waited_in_vain(torch.device("cpu"))
    whole._error(torch.device("cpu")).fill_(1)
    whole._check_nobody_waited_in_vain(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="waited in vain for another of its blocks"):
        whole._check_nobody_waited_in_vain(torch.device("cpu"))
    whole._check_nobody_waited_in_vain(torch.device("cpu"))  # it is said once


def test_within_a_captured_graph_nothing_is_copied_to_the_cpu(monkeypatch):
    device = torch.device("cpu")
    whole._error(device).fill_(1)
    monkeypatch.setattr(whole, "capturing", lambda _: True)
    for _ in range(2):
        whole._check_nobody_waited_in_vain(device)
    assert whole._seen(device) == 0
    whole._error(device).zero_()
    # What is kept for other batches may be freed while the graph still reads it.
    starts, lengths = whole.packed((3, 2), 3, device)
    assert (starts.tolist(), lengths.tolist()) == ([0, 3, 5], [2, 2, 1])
    assert whole.packed((3, 2), 3, device)[0] is not starts


def test_recomputed_gradients_are_those_that_were_kept(run_in_one):
    errors = [
        run_in_one(
            Problem.draw(LSTM(), RAGGED, H=34, recompute=recompute), torch.bfloat16, *EXCHANGES["cluster"]
        )
        for recompute in (False, True)
    ]
    assert errors[0] == errors[1]


H100 = Emulator().gpu
A100 = Gpu(108, 163 * 1024, (8, 0))
T4 = Gpu(40, 64 * 1024, (7, 5))


@pytest.mark.parametrize("batch", [1, 256])
@pytest.mark.parametrize("hidden", [8, 128, 650])
def test_a_plan_fits_its_gpu(hidden, batch):
    cell = LSTM()
    for dtype, way in itertools.product(LIMITS, ("forward", "backward")):
        shape = whole.shape_of(cell, trace(cell, hidden), hidden, dtype, way)
        assert plan.best(shape, batch, T4) is None
        for gpu in (H100, A100):
            variant = plan.best(shape, batch, gpu)
            if variant is None:
                assert hidden >= 256, "the weights of a small layer fit into the registers"
                continue
            assert variant.shared(shape) <= gpu.shared_memory
            assert variant.cluster <= gpu.largest_cluster
            blocks = -(-batch // (8 * variant.tiles)) * variant.blocks
            assert variant.exchange != GRID or blocks <= gpu.multiprocessors


@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
@pytest.mark.parametrize(("batch", "hidden"), [(64, 1024), (16, 768), (20, 650)])
def test_a_large_layer_fits_an_h100(cell, batch, hidden):
    traced = trace(cell, hidden)
    for dtype, way in itertools.product((torch.bfloat16, torch.float32), ("forward", "backward")):
        variant = plan.best(whole.shape_of(cell, traced, hidden, dtype, way), batch, H100)
        assert variant is not None, (dtype, way)


def test_what_another_design_has_to_run():
    assert not whole.suits(8, torch.float64)
    assert not whole.suits(7, torch.bfloat16)  # an odd number of 16-bit numbers
