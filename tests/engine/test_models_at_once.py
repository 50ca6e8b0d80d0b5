"""Many models at once: torch.func on the native engine, beside models run one by one."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from problem import CELLS, COMPILES, FEW_CELLS, Problem, SomeProducts
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, LayerNormLSTM, ProjectedLSTM
from gatewise.cells.zoneout import zoneout
from gatewise.engine import models as models_in_one
from gatewise.engine.native import call
from gatewise.engine.torch_internals import make_fx
from gatewise.nn import Recurrent

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")

LENGTHS = [5, 4, 4, 1, 0]


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def some_threads(request, monkeypatch):
    monkeypatch.setattr(call, "WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


@pytest.fixture
def calls(monkeypatch):
    """Number of models of each call into C."""
    counts = []
    original = call.Calls._call

    def counted(self, *arguments):
        counts.append(self.count)
        return original(self, *arguments)

    monkeypatch.setattr(call.Calls, "_call", counted)
    return counts


def name(value):
    return type(value).__name__ if not isinstance(value, int | str | bool) else None


def models(problem, count):
    """The problem's tensors for some models, [K, …] each."""
    generator = torch.Generator().manual_seed(3)
    return tuple(
        torch.stack([tensor * (1 + 0.3 * torch.rand((), generator=generator)) for _ in range(count)])
        for tensor in problem.tensors
    )


def loss_of(problem, engine="native"):
    return lambda *tensors: problem.loss(problem.run(engine, *tensors))


def assert_close(found, expected, tolerance=1e-12, what=""):
    torch.testing.assert_close(
        found, expected, rtol=tolerance, atol=tolerance, msg=lambda text: f"{what}: {text}"
    )


def assert_as_one_by_one(problem, count, calls, shared=()):
    """Values and gradients of vmap are those of each model alone; one call each way."""
    stacked = models(problem, count)
    dims = tuple(None if name in shared else 0 for name in problem.names)
    given = tuple(t[0] if dim is None else t for t, dim in zip(stacked, dims, strict=True))
    wanted = tuple(range(len(given)))

    def one(*tensors):
        values = problem.run("native", *tensors)
        return problem.loss(values), values

    del calls[:]
    gradients, values = vmap(grad(one, wanted, has_aux=True), in_dims=dims)(*given)
    assert calls == [count, count]
    for model in range(count):
        tensors = [t if dim is None else t[model] for t, dim in zip(given, dims, strict=True)]
        results = problem.results("native", **dict(zip(problem.names, tensors, strict=True)))
        found = [value[model] for value in (*values, *gradients)]
        for (what, expected), result in zip(results.items(), found, strict=True):
            torch.testing.assert_close(
                result, expected, rtol=1e-12, atol=1e-12, msg=lambda m, w=what: f"{w}: {m}"
            )
    return values


@pytest.mark.parametrize("cell", FEW_CELLS, ids=name)
def test_models_are_as_one_by_one(cell, calls, some_threads):  # noqa: ARG001
    problem = Problem.draw(cell, LENGTHS, masked=True)
    problem.results("native")
    assert_as_one_by_one(problem, 5, calls)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("masked", "reverse", "recompute"), [(False, False, True), (True, True, False), (True, False, True)]
)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if name(cell) != "MatrixOfZeros"], ids=name)
def test_models_of_every_cell(cell, count, masked, reverse, recompute, calls, some_threads):  # noqa: ARG001
    problem = Problem.draw(cell, LENGTHS, masked=masked, reverse=reverse, recompute=recompute)
    problem.results("native")
    assert_as_one_by_one(problem, count, calls)


@pytest.mark.parametrize(
    ("shared", "count", "reverse", "recompute"),
    [(("x",), 2, False, True), (("U", "initial.h"), 1, True, False), (("W", "b", "P"), 3, True, True)],
)
def test_models_share_some_tensors(shared, count, reverse, recompute, calls, some_threads):  # noqa: ARG001
    problem = Problem.draw(ProjectedLSTM(3), LENGTHS, masked=True, reverse=reverse, recompute=recompute)
    problem.results("native")
    assert_as_one_by_one(problem, count, calls, shared)


def test_the_same_arithmetic_has_the_same_digits(calls):
    """Values in float32 are those of each model alone on one thread, bit for bit."""
    problem = Problem.draw(LayerNormLSTM(), [9, 7, 3], F=17, H=33, dtype=torch.float32)
    stacked = models(problem, 3)
    found = vmap(lambda *tensors: problem.run("native", *tensors))(*stacked)
    assert calls == [3]
    for model in range(3):
        expected = problem.run("native", *(t[model] for t in stacked))
        assert all(torch.equal(a[model], b) for a, b in zip(found, expected, strict=True))


def test_masks_and_noise_of_each_model(calls):
    cell = zoneout(LSTM(), {"h": 0.3, "c": 0.5}, training=True)
    problem = Problem.draw(cell, LENGTHS, masked=True)
    masks = torch.stack([problem.mask, problem.mask.flip(0), torch.ones_like(problem.mask)])
    noises = torch.stack([problem.noise, 1 - problem.noise, torch.zeros_like(problem.noise)])

    def loss(W, mask, noise):
        own = replace(problem, mask=mask, noise=noise)
        return own.loss(own.run("native", *problem.tensors[:2], W, *problem.tensors[3:]))

    W = models(problem, 3)[2]
    found = vmap(grad(loss))(W, masks, noises)
    assert calls == [3, 3]
    for model in range(3):
        one = replace(problem, mask=masks[model], noise=noises[model]).results("native", W=W[model])
        assert_close(found[model], one["grad W"])


def total(values):
    return sum(value.sin().sum() for value in values)


class Orders:
    """Transforms of ``run``, which takes x, U, W and others, for one problem's tensors and stacks of them."""

    def sum_over_models(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        """A shared tensor's gradient is the sum of all models'."""

        def f(x, stack):
            return total(vmap(lambda W: run(x, U, W, *others))(stack))

        return grad(f, (0, 1))(x, stacked[2])

    def outer(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        """Models of models, of which each level shares something."""
        return vmap(vmap(lambda x, U: run(x, U, W, *others), (None, 0)), (0, None))(stacked[0], stacked[1])

    def inner(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        return vmap(vmap(lambda x, U: run(x, U, W, *others), (0, None)), (None, 0))(stacked[0], stacked[1])

    def gradients_over_models(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        def f(U):
            return total(vmap(lambda W: run(x, U, W, *others))(stacked[2]))

        return vmap(grad(f))(stacked[1])

    def other_dimensions(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        f = vmap(lambda x, W: run(x, U, W, *others), (1, 2), 1)
        return f(stacked[0].movedim(0, 1), stacked[2].movedim(0, 2))

    def jacobian(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        return jacrev(lambda W: run(x, U, W, *others)[0])(W)

    def jacobians(self, run, x, U, W, *others, stacked):  # noqa: ARG002
        return vmap(jacrev(lambda W: run(x, U, W, *others)[1]))(stacked[2])


@pytest.mark.parametrize("order", [order for order in vars(Orders) if not order.startswith("_")])
def test_transforms_in_any_order(order, calls):
    problem = Problem.draw(SomeProducts(), [4, 3, 1], masked=True)
    stacked, transformed = models(problem, 3), getattr(Orders(), order)

    def results(engine):
        return transformed(lambda *t: problem.run(engine, *t), *problem.tensors, stacked=stacked)

    found = results("native")
    assert calls
    assert_close(found, results("loop"))


@pytest.mark.parametrize(
    "transformed",
    [
        lambda f, t: jvp(f, t, t),
        lambda f, t: hessian(lambda W: f(*t[:2], W, *t[3:]))(t[2]),
        lambda f, t: jacrev(jacrev(lambda W: f(*t[:2], W, *t[3:])))(t[2]),
        lambda f, t: vmap(lambda W: jvp(lambda W: f(*t[:2], W, *t[3:]), (W,), (W,)))(torch.stack([t[2]] * 2)),
        lambda f, t: torch.func.functionalize(grad(f))(*t),
    ],
    ids=["jvp", "hessian", "reverse over reverse", "vmap of jvp", "functionalize"],
)  # fmt: skip
def test_what_has_no_rule_runs_in_the_loop(transformed, calls):
    problem = Problem.draw(LSTM(), [3, 2], masked=True)
    found = transformed(loss_of(problem), tuple(problem.tensors))
    assert calls == []
    assert_close(found, transformed(loss_of(problem, "loop"), tuple(problem.tensors)))


def test_derivatives_of_a_pulled_back_gradient(calls):
    """vjp's function is called later, under other transforms than the sequence was."""
    problem = Problem.draw(ProjectedLSTM(2), [3, 2])
    results = []
    for engine in ("native", "loop"):
        values, pull_back = vjp(lambda *t, engine=engine: problem.run(engine, *t), *problem.tensors)
        cotangents = tuple(value.cos() for value in values)
        stacked = tuple(torch.stack([value, 2 * value]) for value in cotangents)

        def pulled(*grads, pull_back=pull_back):
            return total(pull_back(grads))

        results.append(
            [
                pull_back(cotangents),
                vmap(pull_back)(
                    (stacked),
                ),
                grad(pulled, (0, 1))(*cotangents),
                vmap(grad(pulled, 0))(*stacked),
                jvp(pulled, cotangents, cotangents),
            ]
        )
    assert calls[:3] == [1, 1, 2]
    assert_close(results[0], results[1])


@pytest.mark.parametrize("of_gradients", [False, True], ids=["vmap", "vmap(grad)"])
def test_plain_autograd_around_it_twice(of_gradients, calls):
    problem = Problem.draw(GRU(), [3, 2], masked=True)
    found = []
    for engine in ("native", "loop"):
        leaves = [tensor.clone().requires_grad_() for tensor in models(problem, 2)]
        f = loss_of(problem, engine)
        values = vmap(grad(f, (0, 1, 2)) if of_gradients else f)(*leaves)
        value = total(values if of_gradients else [values])
        first = torch.autograd.grad(value, leaves, create_graph=True)
        found.append([value, *first, *torch.autograd.grad(total(first), leaves)])
    assert calls[0] == 2
    assert_close(found[0], found[1])


def test_a_gradient_further_out_is_not_lost():
    """Weights may need one of plain autograd, where torch.func's gradient is of something else."""
    problem = Problem.draw(LSTM(), [3, 2])
    W = problem.tensors[2].clone().requires_grad_()
    expected = problem.results("loop")["grad W"]

    def scaled(factor):
        return factor * loss_of(problem)(*problem.tensors[:2], W * 1, *problem.tensors[3:])

    value = grad(scaled)(torch.tensor(2.0, dtype=torch.float64))
    assert_close(torch.autograd.grad(value, W)[0], expected)


def test_gradients_of_a_mask_come_from_the_loop():
    problem = Problem.draw(LSTM(), [3, 2], masked=True)

    def loss(mask, engine):
        return replace(problem, mask=mask).run(engine, *problem.tensors)[0].sin().sum()

    masks = torch.stack([problem.mask, 2 * problem.mask])
    for f in (
        lambda engine: grad(loss)(problem.mask, engine),
        lambda engine: grad(lambda m: vmap(lambda mask: loss(mask, engine))(m).sum())(masks),
    ):
        assert_close(f("native"), f("loop"))


def test_without_gradients_nothing_is_kept(calls, monkeypatch):
    kept = []
    forward = call.Calls.forward
    monkeypatch.setattr(
        call.Calls, "forward", lambda self, *rest: kept.append(rest[-1]) or forward(self, *rest)
    )
    problem = Problem.draw(GRU(), LENGTHS)
    stacked = [tensor.requires_grad_() for tensor in models(problem, 3)]
    with torch.no_grad():
        found = vmap(lambda *t: problem.run("native", *t))(*stacked)
    expected = vmap(lambda *t: problem.run("native", *t))(*stacked)
    assert (kept, calls) == ([False, True], [3, 3])
    assert not found[0].requires_grad
    assert expected[0].requires_grad
    assert_close(found, tuple(value.detach() for value in expected))


def test_more_threads_than_models_run_them_in_turn(calls, monkeypatch):
    monkeypatch.setattr(call, "WORK_OF_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    at_once = []
    forward = call.Calls.forward
    monkeypatch.setattr(
        call.Calls,
        "forward",
        lambda self, *rest: at_once.append((self.at_once, self.threads)) or forward(self, *rest),
    )
    problem = Problem.draw(LSTM(), LENGTHS)
    problem.results("native")
    for count in (2, 3, 7):
        assert_as_one_by_one(problem, count, calls)
    assert at_once == [(1, 3), (3, 1), (3, 1)]


def of_values(problem):
    """A loss without tensors of its own, of which a recording knows nothing."""
    return lambda *tensors: total(problem.run("native", *tensors))


@pytest.mark.parametrize("mode", ["real", "fake"])
def test_what_is_recorded_runs_in_the_loop(mode, calls):
    problem = Problem.draw(LSTM(), [3, 2])
    stacked = models(problem, 2)
    others = tuple(0.5 * tensor for tensor in stacked)
    f = vmap(grad(of_values(problem), (0, 2)))
    found = make_fx()(f, tracing_mode=mode)(*stacked)(*others)
    assert calls == []
    assert_close(found, f(*others))


@pytest.mark.slow
# Dynamo reads every attribute of a tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_under_torch_compile():
    problem = Problem.draw(LSTM(), [3, 2])
    f = vmap(lambda *tensors: problem.run("native", *tensors))
    stacked = models(problem, 2)
    expected = f(*stacked)
    assert_close(torch.compile(f, backend="eager")(*stacked), expected)


def test_forward_derivatives_of_plain_autograd_come_from_the_loop():
    problem = Problem.draw(LSTM(), [3, 2])
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(tensor, tensor.cos()) for tensor in models(problem, 2)]
        found, expected = (
            forward_ad.unpack_dual(vmap(loss_of(problem, engine))(*duals)) for engine in ("native", "loop")
        )
    assert_close(tuple(found), tuple(expected))


def test_tensors_of_another_class_are_not_read_by_compiled_code(calls):
    class Mine(torch.Tensor):
        pass

    problem = Problem.draw(LSTM(), [3, 2])
    f = vmap(lambda *tensors: problem.run("native", *tensors))
    stacked = models(problem, 2)
    values, pull_back = vjp(f, *stacked)
    expected = pull_back(values)
    assert calls == [2, 2]
    assert_close(f(stacked[0].as_subclass(Mine), *stacked[1:]), values)
    found = pull_back(tuple(value.as_subclass(Mine) for value in values))
    assert calls == [2, 2]
    assert_close([gradient.as_subclass(torch.Tensor) for gradient in found], list(expected))


def test_sequences_without_steps():
    (module,), _, base = recurrents(1, learn_initial_state=True)
    parameters = {key: torch.stack([value.detach()] * 2) for key, value in module.named_parameters()}

    def loss(parameters):
        x = torch.zeros(3, 2, 3, dtype=torch.float64)
        return loss_of_module(*functional_call(base, parameters, (x,), {"lengths": [0, 0]}))

    loss_of_module(*module(torch.zeros(3, 2, 3, dtype=torch.float64), lengths=[0, 0])).backward()
    for key, gradient in vmap(grad(loss))(parameters).items():
        expected = module.get_parameter(key).grad
        assert_close(gradient[1], torch.zeros_like(gradient[1]) if expected is None else expected)


def test_gates_come_from_the_loop():
    problem = Problem.draw(LSTM(), LENGTHS)

    def gates(engine):
        return vmap(lambda *t: engines.run(engine, problem.request(t, return_gates=True)).gates)(
            *models(problem, 2)
        )

    assert_close(gates("native"), gates("loop"))


def test_tensors_that_do_not_fit_are_named():
    problem = Problem.draw(LSTM(), [3, 2])
    x, U, W, *rest = models(problem, 2)
    with pytest.raises(ValueError, match=r"^W must be \[16, 4\] .* got \[16, 3\]$"):
        vmap(loss_of(problem))(x, U, W[..., :3], *rest)


# Through a Recurrent


def recurrents(count, cell=None, **settings):
    """Modules, their stacked parameters, and a module to run them on."""
    torch.manual_seed(0)
    modules = [
        Recurrent(3, 4, cell=copy.deepcopy(cell), engine="native", **settings).double() for _ in range(count)
    ]
    return modules, stack_module_state(modules)[0], copy.deepcopy(modules[0])


def loss_of_module(outputs, state):
    return outputs.square().sum() + sum(s.sin().sum() for s in state)


@pytest.mark.parametrize(
    ("cell", "count", "of_each"),
    [(LSTM(), 1, False), (LayerNormLSTM(), 5, False), (ProjectedLSTM(2), 2, True), (SomeProducts(), 2, True)],
    ids=name,
)
def test_modules_are_as_one_by_one(cell, count, of_each, calls, some_threads):  # noqa: ARG001
    settings = {"num_layers": 2, "bidirectional": True, "learn_initial_state": True}
    modules, stacked, base = recurrents(count, cell, **settings)
    lengths = [6, 2, 5, 0]
    x = torch.randn(count, 6, 4, 3, dtype=torch.float64)

    def loss(parameters, x):
        return loss_of_module(*functional_call(base, parameters, (x,), {"lengths": lengths}))

    inputs = x if of_each else x[0]
    base(x[0])
    gradients, values = vmap(grad_and_value(loss), in_dims=(0, 0 if of_each else None))(stacked, inputs)
    assert calls == [count] * 8
    for model, module in enumerate(modules):
        value = loss_of_module(*module(inputs[model] if of_each else inputs, lengths=lengths))
        value.backward()
        assert_close(values[model], value)
        for key, parameter in module.named_parameters():
            assert_close(gradients[key][model], parameter.grad)


def test_plain_gradients_of_a_module(calls):
    (module,), _, base = recurrents(1, num_layers=2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    parameters = dict(module.named_parameters())
    found = grad(lambda p: loss_of_module(*functional_call(base, p, (x,))))(parameters)
    assert calls == [1] * 4
    loss_of_module(*module(x)).backward()
    for key, parameter in module.named_parameters():
        assert_close(found[key], parameter.grad)


def test_sequences_have_their_own_gradients(calls):
    (module,), _, _ = recurrents(1)
    parameters = {key: value.detach() for key, value in module.named_parameters()}
    x = torch.randn(4, 6, 3, dtype=torch.float64)

    def loss(parameters, sequence):
        return loss_of_module(*functional_call(module, parameters, (sequence,)))

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    assert calls == [4, 4]
    for model, sequence in enumerate(x):
        expected = grad(loss)(parameters, sequence)
        for key, value in expected.items():
            assert_close(found[key][model], value)


@pytest.mark.parametrize("way", ["autocast", "bfloat16"])
def test_bfloat16(way, calls):
    modules, stacked, base = recurrents(3, GRU())
    dtype = torch.float32 if way == "autocast" else torch.bfloat16
    for module in (*modules, base):
        module.to(dtype)
    stacked = {key: value.detach().to(dtype) for key, value in stacked.items()}
    x = torch.randn(6, 4, 3).to(dtype)

    def loss(parameters):
        outputs, state = functional_call(base, parameters, (x,))
        return loss_of_module(outputs.float(), [s.float() for s in state])

    with torch.autocast("cpu", torch.bfloat16, way == "autocast"):
        found, values = vmap(grad_and_value(loss))(stacked)
        assert calls == [3, 3]
        for model, module in enumerate(modules):
            outputs, state = module(x)
            value = loss_of_module(outputs.float(), [s.float() for s in state])
            value.backward()
            assert_close(values[model], value, 1e-6)
            for key, parameter in module.named_parameters():
                # A digit of bfloat16 may be rounded the other way where a sum is.
                assert_close(found[key][model], parameter.grad, 1e-6 if way == "autocast" else 2**-7)


def test_dropouts_follow_torchs_rules(calls):
    _, stacked, base = recurrents(3, state_dropout=0.5, weight_dropout=0.5, zoneout=0.2)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    same = {key: value[:1].expand_as(value) for key, value in stacked.items()}

    def outputs(parameters, x):
        return functional_call(base, parameters, (x,))[0]

    with pytest.raises(RuntimeError, match="randomness"):
        vmap(outputs, in_dims=(0, None))(stacked, x)
    found = vmap(outputs, in_dims=(0, None), randomness="same")(same, x)
    assert_close(found[0], found[2])
    found = vmap(outputs, randomness="different")(same, torch.stack([x] * 3))
    assert calls == [3, 3]
    assert not torch.allclose(found[0], found[2])


def test_a_cell_that_only_the_loop_runs_still_runs():
    class Drawing(GRU):
        def step(self, a, r, s, p):
            after, gates = super().step(a, r, s, p)
            return (after[0] + 0 * torch.rand_like(after[0]),), gates

    torch.manual_seed(0)
    module = Recurrent(3, 4, cell=Drawing())
    plain = Recurrent(3, 4, cell=GRU(), engine="native")
    plain.load_state_dict(module.state_dict())
    x = torch.randn(2, 5, 4, 3)
    found = vmap(lambda x: module(x)[0], randomness="different")(x)
    assert_close(found, vmap(lambda x: plain(x)[0])(x), 1e-6)


def test_the_loop_is_not_taken_for_what_has_rules(monkeypatch):
    problem = Problem.draw(LSTM(), [3, 2])
    problem.results("native")

    def fails(request):  # noqa: ARG001
        raise AssertionError("the loop")

    monkeypatch.setattr(engines.loop, "run", fails)
    vmap(grad(loss_of(problem, "auto")))(*models(problem, 2))
    with pytest.raises(AssertionError, match="the loop"):
        jvp(loss_of(problem, "auto"), tuple(problem.tensors), tuple(problem.tensors))


def test_it_says_whether_it_has_rules():
    answers = []

    def ask(x):
        answers.append(models_in_one.possible())
        return x.sum()

    x = torch.ones(2, 2)
    vmap(grad(ask))(x)
    hessian(ask)(x)
    assert answers == [True, False]
