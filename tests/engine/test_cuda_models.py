"""Many models in one launch of the cuda engine, emulated: values and gradients of each model alone."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from emulator import H100, Emulator, emulated_gpu, needs_cpp
from problem import CELLS, ELEMENTWISE, Problem, SomeProducts, relative_error
from torch.func import functional_call, grad, grad_and_value, stack_module_state, vmap

from gatewise import engine as engines
from gatewise.bench import timing
from gatewise.bench.case import Case, Size
from gatewise.bench.models import timings
from gatewise.cells import GRU, LSTM, LayerNormLSTM, PeepholeLSTM, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine.cuda import plan, whole
from gatewise.engine.cuda.variant import BLOCK, CLUSTER, GRID, Variant
from gatewise.engine.traced.trace import trace
from gatewise.nn import Recurrent

pytestmark = needs_cpp

LENGTHS = [4, 3, 3, 1, 0]
RAGGED = [4, 3, 3, 2, 2, 1, 1, 1, 1, 0]
"""Two tiles of sequences, the second of one step."""
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.fixture
def launches(monkeypatch):
    """Number of models of each launch, on an emulated GPU whose engine may not leave a model to the loop."""
    counts = []
    launch = Emulator.launch

    def counted(self, *arguments, models=1, **others):
        counts.append(models)
        return launch(self, *arguments, models=models, **others)

    monkeypatch.setattr(Emulator, "launch", counted)
    with emulated_gpu():
        yield counts


def models(problem, count):
    """The problem's tensors for some models, [K, …] each."""
    generator = torch.Generator().manual_seed(3)
    factors = [1 + 0.3 * torch.rand((), generator=generator) for _ in problem.tensors for _ in range(count)]
    each = iter(factors)
    return tuple(torch.stack([(t * next(each)).to(t.dtype) for _ in range(count)]) for t in problem.tensors)


def of_all(problem, given, dims, wanted, order="vmap of grad"):
    """Values of vmap, and the gradients of the wanted tensors."""

    def one(*tensors):
        values = problem.run("cuda", *tensors)
        return problem.loss(values), values

    if order == "vmap of grad":
        gradients, values = vmap(grad(one, wanted, has_aux=True), in_dims=dims)(*given)
    else:

        def total(*tensors):
            losses, values = vmap(one, in_dims=dims)(*tensors)
            return losses.sum(), values

        gradients, values = grad(total, wanted, has_aux=True)(*given)
    return values, gradients


def errors_of(problem, count, dtype, shared=(), order="vmap of grad"):
    """Relative errors by name, beside the loop in float64 for each model."""

    def every(tensor):
        return None if tensor is None else tensor.to(dtype)

    rounded = replace(
        problem,
        tensors=[every(tensor) for tensor in problem.tensors],
        loss_weights=[every(weights) for weights in problem.loss_weights],
        mask=every(problem.mask),
        noise=every(problem.noise),
    )
    stacked = models(rounded, count)
    dims = tuple(None if name in shared else 0 for name in problem.names)
    given = tuple(t[0] if dim is None else t for t, dim in zip(stacked, dims, strict=True))
    values, gradients = of_all(rounded, given, dims, tuple(range(len(given))), order)
    exact = replace(
        rounded,
        loss_weights=[w.double() for w in rounded.loss_weights],
        mask=None if problem.mask is None else rounded.mask.double(),
        noise=None if problem.noise is None else rounded.noise.double(),
    )
    errors, sums = {}, {}
    for model in range(count):
        tensors = [(t if dim is None else t[model]).double() for t, dim in zip(given, dims, strict=True)]
        expected = exact.results("loop", **dict(zip(problem.names, tensors, strict=True)))
        found = dict(zip(expected, (*values, *gradients), strict=True))
        for name, value in expected.items():
            if order == "grad of vmap" and name.removeprefix("grad ") in shared:
                sums[name] = sums.get(name, 0) + value
                continue
            errors[f"{model} {name}"] = relative_error(found[name][model], value)
    return errors | {name: relative_error(found[name], value) for name, value in sums.items()}


QUICK = [LayerNormLSTM()]
STEP_BY_STEP = [cell for cell in CELLS if "MatrixOfZeros" not in repr(cell)]


@pytest.mark.parametrize("order", ["vmap of grad", pytest.param("grad of vmap", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("count", "shared"),
    [(3, ("x",)), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, ()), (3, ()), (2, ("W",))])],
)
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=repr(cell), marks=[] if repr(cell) in map(repr, QUICK) else pytest.mark.slow)
        for cell in STEP_BY_STEP
    ],
)
def test_step_by_step_every_cell_is_as_one_by_one(cell, count, shared, order, launches):
    problem = Problem.draw(cell, LENGTHS, H=5, masked=True, reverse=count == 1)
    errors = errors_of(problem, count, torch.float64, shared, order)
    assert launches[-8:] == [count] * 8
    assert max(errors.values()) <= 1e-12, errors


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LIMITS, ids=str)
@pytest.mark.parametrize("cell", [LayerNormLSTM(), ProjectedLSTM(7)], ids=repr)
def test_step_by_step_in_every_dtype(cell, dtype, launches, monkeypatch):
    monkeypatch.setattr(plan, "best", lambda *_: None)
    problem = Problem.draw(cell, LENGTHS, H=34, masked=True)
    errors = errors_of(problem, 3, dtype, ("x",))
    assert launches[-8:] == [3] * 8
    assert max(errors.values()) <= (1e-5 if dtype == torch.float32 else LIMITS[dtype]), errors


EXCHANGES = {
    BLOCK: (Variant(), Variant(wsplit=2)),
    CLUSTER: (Variant(2, exchange=CLUSTER), Variant(2, 2, exchange=CLUSTER)),
    GRID: (Variant(4, 2, exchange=GRID), Variant(2, exchange=GRID)),
}
FIRST = (PeepholeLSTM(), CLUSTER, torch.float16, 2, ("x",))
OTHERS = [
    (SomeProducts(), GRID, torch.float16, 2, ()),
    (PeepholeLSTM(), BLOCK, torch.float32, 2, ("W",)),
    *((ProjectedLSTM(7), exchange, torch.bfloat16, 2, ("W",)) for exchange in EXCHANGES),
    (ProjectedLSTM(7), CLUSTER, torch.float32, 3, ("x", "P")),
    *((LayerNormLSTM(), exchange, torch.bfloat16, 2, ("W",)) for exchange in EXCHANGES),
    *(
        (cell, exchange, dtype, *case)
        for cell, exchange, dtype in itertools.product(ELEMENTWISE, EXCHANGES, LIMITS)
        for case in ((1, ()), (3, ("x",)))
    ),
]


@pytest.fixture
def in_variants(monkeypatch, tf32):  # noqa: ARG001
    """Make every plan take these variants."""

    def set_to(forth, back):
        variants = {"forward": forth, "backward": back}
        monkeypatch.setattr(plan, "best", lambda shape, *_: variants[shape.way])

    return set_to


@pytest.mark.parametrize(
    ("cell", "exchange", "dtype", "count", "shared"),
    [FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=str,
)
def test_in_one_launch_every_cell_is_as_one_by_one(
    cell, exchange, dtype, count, shared, launches, in_variants
):
    if not cell.recurrent and exchange == BLOCK:
        exchange = CLUSTER
    in_variants(*EXCHANGES[exchange])
    masked = cell.projection_size is None  # a masked projection runs step by step
    problem = Problem.draw(cell, RAGGED, H=18, masked=masked, reverse=exchange == GRID)
    errors = errors_of(problem, count, dtype, shared)
    assert launches[-2:] == [count] * 2  # before, a user's cell is tried
    if "relu" in repr(cell):  # a sum near zero may be on either side of it, with another gradient
        errors = {name: error for name, error in errors.items() if "grad" not in name}
    assert max(errors.values()) <= LIMITS[dtype], errors


@pytest.mark.slow
@pytest.mark.parametrize("order", ["vmap of grad", "grad of vmap"])
def test_blocks_that_poll_run_all_at_once(order, launches, in_variants, monkeypatch):
    """Where a GPU cannot hold all models' blocks, further launches follow."""
    in_variants(*EXCHANGES[GRID])
    monkeypatch.setattr(whole, "models_at_once", lambda *_: 2)
    errors = errors_of(Problem.draw(GRU(), RAGGED, H=18), 3, torch.bfloat16, ("x", "U"), order)
    assert launches == [2, 1, 2, 1]
    assert max(errors.values()) <= LIMITS[torch.bfloat16], errors


@pytest.mark.slow
def test_masks_and_noise_of_each_model(launches):
    cell = zoneout(LSTM(), {"h": 0.3, "c": 0.5}, training=True)
    problem = Problem.draw(cell, LENGTHS, masked=True)
    masks = torch.stack([problem.mask, problem.mask.flip(0), torch.ones_like(problem.mask)])
    noises = torch.stack([problem.noise, 1 - problem.noise, torch.zeros_like(problem.noise)])

    def loss(W, mask, noise):
        own = replace(problem, mask=mask, noise=noise)
        return own.loss(own.run("cuda", *problem.tensors[:2], W, *problem.tensors[3:]))

    W = models(problem, 3)[2]
    found = vmap(grad(loss))(W, masks, noises)
    assert launches == [3] * 8
    for model in range(3):
        one = replace(problem, mask=masks[model], noise=noises[model]).results("loop", W=W[model])
        torch.testing.assert_close(found[model], one["grad W"], rtol=1e-12, atol=1e-12)


def test_models_of_models_and_what_is_pulled_back(launches):
    problem = Problem.draw(GRU(), [3, 2], masked=True)
    x, U, W, *others = problem.tensors
    inputs, weights = torch.stack([x, 2 * x]), torch.stack([W, 0.5 * W, -W])

    def loss(engine):
        return lambda x, W: problem.loss(problem.run(engine, x, U, W, *others))

    def twice(engine):
        return vmap(vmap(grad(loss(engine), (0, 1)), in_dims=(None, 0)), in_dims=(0, None))(inputs, weights)

    def pulled(engine):
        values, pull_back = torch.func.vjp(lambda *t: problem.run(engine, *t, *others), x, U, W)
        return vmap(pull_back)(tuple(torch.stack([value, value.cos()]) for value in values))

    for way, counts in ((twice, [6] * 6), (pulled, [1] * 3 + [2] * 3)):
        del launches[:]
        found = way("cuda")
        assert launches == counts
        torch.testing.assert_close(found, way("loop"), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("of_each", [False, True])
def test_modules_are_as_one_by_one(of_each, launches):
    torch.manual_seed(0)
    settings = {"num_layers": 2, "bidirectional": True, "learn_initial_state": True, "engine": "cuda"}
    modules = [Recurrent(3, 4, cell=LSTM(), **settings).double() for _ in range(2)]
    base, stacked = copy.deepcopy(modules[0]), stack_module_state(modules)[0]
    x, lengths = torch.randn(2, 5, 3, 3, dtype=torch.float64), [5, 2, 0]

    def loss_of(outputs, state):
        return outputs.square().sum() + sum(s.sin().sum() for s in state)

    def loss(parameters, x):
        return loss_of(*functional_call(base, parameters, (x,), {"lengths": lengths}))

    inputs = x if of_each else x[0]
    gradients, values = vmap(grad_and_value(loss), in_dims=(0, 0 if of_each else None))(stacked, inputs)
    assert launches == [2] * 40
    for model, module in enumerate(modules):
        module.engine = "loop"
        value = loss_of(*module(inputs[model] if of_each else inputs, lengths=lengths))
        value.backward()
        torch.testing.assert_close(values[model], value)
        for key, parameter in module.named_parameters():
            torch.testing.assert_close(gradients[key][model], parameter.grad, msg=key)


@pytest.mark.slow
def test_second_derivatives_come_from_the_loop(launches):
    problem = Problem.draw(LSTM(), [3, 2])
    found = []
    for engine in ("cuda", "loop"):
        leaves = [tensor.clone().requires_grad_() for tensor in models(problem, 2)]
        gradients = vmap(grad(lambda *t, e=engine: problem.loss(problem.run(e, *t)), (0, 1, 2)))(*leaves)
        total = sum(gradient.sin().sum() for gradient in gradients)
        found.append([total, *torch.autograd.grad(total, leaves, allow_unused=True)])
    assert set(launches) == {2}
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_under_autocast(launches):
    problem = Problem.draw(LSTM(), LENGTHS, H=18, dtype=torch.float32)
    given = models(problem, 2)
    with torch.autocast("cpu", torch.bfloat16):
        values, gradients = of_all(problem, given, 0, tuple(range(len(given))))
    assert launches == [2, 2]
    assert (values[0].dtype, values[2].dtype) == (torch.bfloat16, torch.float32)
    for model in range(2):
        expected = problem.results("loop", **dict(zip(problem.names, (t[model] for t in given), strict=True)))
        for (name, value), found in zip(expected.items(), (*values, *gradients), strict=True):
            assert (found[model].float() - value).norm() <= 2e-2 * value.norm(), name


def test_gates_come_from_the_loop(launches):
    problem = Problem.draw(LSTM(), LENGTHS)

    def gates(engine):
        return vmap(lambda *t: engines.run(engine, problem.request(t, return_gates=True)).gates)(
            *models(problem, 2)
        )

    torch.testing.assert_close(gates("cuda"), gates("loop"))
    assert launches == []


@pytest.mark.parametrize("count", [1, 8, 32])
def test_a_plan_for_many_models_fits_its_gpu(count):
    cell = LSTM()
    for hidden, way in itertools.product((64, 128, 256), ("forward", "backward")):
        shape = whole.shape_of(cell, trace(cell, hidden), hidden, torch.bfloat16, way)
        variant = plan.best(shape, 16, H100, count)
        assert variant is not None
        assert variant.shared(shape) <= H100.shared_memory
        if count == 1:
            assert variant == plan.best(shape, 16, H100)
        if variant.exchange == GRID:
            assert plan.models_at_once(variant, 16, H100) >= 1
        blocks = -(-16 // (8 * variant.tiles)) * variant.blocks
        if hidden == 64:  # each model's weights fit into a block, and all of them onto the GPU
            assert blocks * count <= H100.multiprocessors


@pytest.mark.slow
def test_the_benchmark_of_many_models(launches, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS_OF_A_MEASUREMENT", 0)
    bench = timing.Bench(1, lambda _: None)
    case = Case("LSTM", Size(3, 2, 4, 8), "bfloat16")
    rows = timings(bench, case, ["cuda"], ["training", "inference"], [1, 3])
    assert [(row.work, row.models) for row in rows] == list(
        itertools.product(("training", "inference"), (1, 3))
    )
    assert all(row.ratio > 0 for row in rows)
    assert (set(launches), bench.notes, bench.left_out) == ({1, 3}, [], set())
