"""The cuda engine on a GPU: the results of the loop in float64 on the CPU. Run by ``make test-gpu``.

What needs no GPU is in test_cuda_steps.py and test_cuda_sequences.py, which emulate one.
"""

from dataclasses import replace

import pytest
import torch
from problem import CELLS, WITH_GATES, Problem, relative_errors, results_with_gates
from reducing import REDUCING
from torch.func import grad, vmap

from gatewise.cells import GRU, LSTM, LayerNormLSTM, PeepholeLSTM, ProjectedLSTM
from gatewise.engine import cuda, loop
from gatewise.engine.cuda import plan
from gatewise.engine.cuda.projected import ProjectedKernels
from gatewise.engine.cuda.variant import CLUSTER, GRID, Variant
from gatewise.engine.cuda.whole import WholeKernels
from gatewise.nn import Recurrent

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

RAGGED = [9, 8, 8, 5, 2, 2, 1, 1, 1, 1, 0]
LIMITS = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    "tf32": 1e-3,
    torch.bfloat16: 1e-2,
    torch.float16: 2e-3,
}


@pytest.fixture(autouse=True)
def tf32():
    """A function that allows TF32 in products, or not; before and afterwards as it was."""
    matmul = torch.backends.cuda.matmul
    new = hasattr(matmul, "fp32_precision")
    name, allowed, exact = ("fp32_precision", "tf32", "ieee") if new else ("allow_tf32", True, False)
    before = getattr(matmul, name)
    setattr(matmul, name, exact)
    yield lambda: setattr(matmul, name, allowed)
    setattr(matmul, name, before)


def check(problem, kind, tf32):
    if kind == "tf32":
        tf32()
    dtype = torch.float32 if kind == "tf32" else kind
    errors = relative_errors("cuda", problem, dtype, "cuda")
    torch.cuda.synchronize()
    if "relu" in repr(problem.cell) and dtype.itemsize == 2:
        # A sum near zero may be on either side of it, with another gradient.
        errors = {name: error for name, error in errors.items() if "grad" not in name}
    assert max(errors.values()) <= LIMITS[kind], errors


@pytest.mark.parametrize("kind", LIMITS, ids=str)
@pytest.mark.parametrize(
    "cell", [cell for cell in (*CELLS, *REDUCING) if "MatrixOfZeros" not in repr(cell)], ids=repr
)
def test_every_cell(cell, kind, tf32):
    problem = Problem.draw(cell, RAGGED, F=16, H=64, masked=True, reverse=True)
    check(problem, kind, tf32)
    assert not isinstance(cuda._designs[cell].get((64, kind, torch.device("cuda", 0))), Exception)


SIZES = [
    (32, 64, 128),
    (64, 64, 64),
    (40, 16, 768),
    (35, 20, 650),
    (20, 256, 256),
    (12, 64, 1024),
    (64, 1, 256),
]


@pytest.mark.parametrize("kind", ["tf32", torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_sizes_of_the_benchmark(cell, size, kind, tf32):
    steps, batch, hidden = size
    check(Problem.draw(cell, [steps] * batch, F=32, H=hidden), kind, tf32)


WAYS = [
    (Variant(wsplit=2), Variant(wsplit=2)),
    (Variant(4, exchange=CLUSTER), Variant(4, 4, exchange=CLUSTER)),
    (Variant(8, exchange=GRID), Variant(8, exchange=GRID)),
    (Variant(8, 4, exchange=GRID), Variant(8, 4, exchange=GRID)),
]


@pytest.mark.parametrize("kind", ["tf32", torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("cell", [LSTM(), LayerNormLSTM(), ProjectedLSTM(16)], ids=repr)
def test_every_exchange(cell, way, kind, tf32, monkeypatch):
    if torch.cuda.get_device_capability() < (9, 0) and (way[0].cluster > 1):
        pytest.skip("this GPU has no clusters")
    chosen = dict(zip(("forward", "backward"), way, strict=True))
    monkeypatch.setattr(plan, "best", lambda shape, *_: chosen[shape.way])
    masked = cell.projection_size is None  # a masked projection runs step by step
    check(Problem.draw(cell, RAGGED * 3, F=16, H=64, masked=masked), kind, tf32)
    designs = cuda._designs[cell].values()
    assert any(isinstance(design, WholeKernels | ProjectedKernels) for design in designs)


@pytest.mark.parametrize("kind", LIMITS, ids=str)
@pytest.mark.parametrize("cell", [LSTM(), LayerNormLSTM(), PeepholeLSTM(), ProjectedLSTM(16)], ids=repr)
def test_many_models(cell, kind, tf32):
    """Values and gradients of vmap are those of each model; the input is shared."""
    if kind == "tf32":
        tf32()
    dtype = torch.float32 if kind == "tf32" else kind
    problem = Problem.draw(cell, RAGGED, F=16, H=64)
    problem.loss_weights = [weights.to("cuda", dtype) for weights in problem.loss_weights]
    x, *others = [tensor.to("cuda", dtype) for tensor in problem.tensors]
    stacked = [torch.stack([(1 - 0.1 * model) * tensor for model in range(5)]) for tensor in others]

    def one(*tensors):
        values = problem.run("cuda", *tensors)
        return problem.loss(values), values

    wanted = tuple(range(len(problem.tensors)))
    gradients, values = vmap(grad(one, wanted, has_aux=True), in_dims=(None, *(0 for _ in others)))(
        x, *stacked
    )
    problem.loss_weights = [weights.cpu().double() for weights in problem.loss_weights]
    for model in range(5):
        exact = [x.cpu().double(), *(tensor[model].cpu().double() for tensor in stacked)]
        expected = problem.results("loop", **dict(zip(problem.names, exact, strict=True)))
        for (name, value), found in zip(expected.items(), (*values, *gradients), strict=True):
            error = (found[model].cpu().double() - value).norm() / value.norm().clamp(min=1e-6)
            assert error <= LIMITS[kind], name


@pytest.mark.parametrize("kind", LIMITS, ids=str)
@pytest.mark.parametrize("cell", WITH_GATES, ids=repr)
def test_gates_that_carry_gradients(cell, kind, tf32):
    if kind == "tf32":
        tf32()
    dtype = torch.float32 if kind == "tf32" else kind
    problem = Problem.draw(cell, RAGGED, F=16, H=64, dtype=dtype, masked=True)
    there = replace(
        problem,
        tensors=[tensor.cuda() for tensor in problem.tensors],
        mask=problem.mask.cuda(),
        noise=None if problem.noise is None else problem.noise.cuda(),
    )
    found, exact = results_with_gates(cuda.run, there), results_with_gates(loop.run, problem.double())
    for name, value in exact.items():
        error = (found[name].cpu().double() - value).norm() / value.norm().clamp(min=1e-6)
        assert error <= LIMITS[kind], name


def test_another_stream():
    problem, stream = Problem.draw(LSTM(), RAGGED, F=16, H=64), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        errors = relative_errors("cuda", problem, torch.bfloat16, "cuda")
    torch.cuda.synchronize()
    assert max(errors.values()) <= LIMITS[torch.bfloat16], errors


def test_in_a_cuda_graph():
    """What is captured computes from what its tensors hold when it runs."""
    problem = Problem.draw(LSTM(), [12] * 16, F=16, H=64)
    tensors = [tensor.to("cuda", torch.bfloat16) for tensor in problem.tensors]
    with torch.no_grad():
        problem.run("cuda", *tensors)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            problem.run("cuda", *tensors)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = problem.run("cuda", *tensors)
        for tensor in tensors:
            tensor.mul_(0.5)
        graph.replay()
        expected = problem.run("cuda", *tensors)
    for found, value in zip(captured, expected, strict=True):
        torch.testing.assert_close(found, value)


def test_a_ragged_batch_in_a_cuda_graph():
    """The numbers of its lengths stay where the graph copies them from, whatever is allocated later."""
    recurrent = Recurrent(16, 64, cell=LSTM(), engine="cuda").cuda()
    x, lengths = torch.randn(9, len(RAGGED), 16, device="cuda"), torch.tensor(RAGGED)
    with torch.no_grad():
        expected = recurrent(x, lengths=lengths)[0]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = recurrent(x, lengths=lengths)[0]
        others = [torch.full((99,), 7).pin_memory() for _ in range(64)]
        graph.replay()
    torch.testing.assert_close(captured, expected)
    assert all(bool((other == 7).all()) for other in others)
