"""The native engine: what it compiles, how it keeps it, and what it leaves to the others."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem import CELLS, COMPILES, MatrixOfZeros, Problem, assert_same

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN, Cell, LayerNormLSTM, ProjectedLSTM
from gatewise.engine import native
from gatewise.engine.native import kernel, library
from gatewise.engine.native.emit import source
from gatewise.engine.native.trace import trace
from gatewise.engine.weights import Unsupported
from gatewise.nn import Recurrent

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Nothing compiled yet, in this process or in the cache, which is returned."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel, "_libraries", {})
    monkeypatch.setattr(kernel, "_kernels", type(kernel._kernels)())
    monkeypatch.setattr(engines, "_said", set())
    for cached in (library._compiler, library._native_flags):
        cached.cache_clear()
    yield tmp_path / "gatewise" / "engine"
    for cached in (library._compiler, library._native_flags):
        cached.cache_clear()


def compiles_in(monkeypatch) -> list[str]:
    """The calls of the compiler from here on."""
    calls: list[str] = []
    compile_ = library._compile
    monkeypatch.setattr(library, "_compile", lambda *args: calls.append("cc") or compile_(*args))
    return calls


def as_the_loop(cell: Cell, **problem) -> None:
    drawn = Problem.draw(cell, [4, 3, 1], **problem)
    assert_same(drawn.results("native"), drawn.results("loop"), 1e-12)


# What it makes of a cell


def test_an_lstm_keeps_four_gates_and_the_squashed_cell_state():
    recorded = trace(LSTM(), 8)
    # Backpropagation needs i, f, n, o and tanh(c'); c is kept as a state anyway.
    assert len(recorded.saved) == 5
    assert recorded.grad["a"] == recorded.grad["r"]
    assert recorded.grad["s"][0] is None  # h enters through W h alone


def test_a_gru_keeps_what_its_reset_gate_multiplies():
    # r, z, n and W h + d; h - n is computed again, which is cheaper than reading it.
    recorded = trace(GRU(), 8)
    assert len(recorded.saved) == 4
    assert recorded.grad["a"] != recorded.grad["r"]


def test_nothing_in_the_code_knows_a_cell_by_name():
    for text in source(RNN(), trace(RNN(), 8), 8, torch.float32):
        assert "@" not in text.replace("@ signs", "")
        assert "RNN" not in text


class Cumulative(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return (torch.cumsum(a.n + r.n, -1),), {}


class Branching(Cell):
    gates = ("n",)
    states = ("h",)

    def step(self, a, r, s, p):  # noqa: ARG002
        return ((a.n + r.n) if bool(a.n.sum() > 0) else a.n,), {}


@pytest.mark.parametrize(
    ("cell", "size", "reason"),
    [
        (Cumulative(), 4, "the operation cumsum.default"),
        (Branching(), 4, "a step that cannot be traced"),
        (MatrixOfZeros(), 4, r"the parameter V of shape \(4, 4\)"),
        (RNN(), 1, "a hidden size of 1"),
    ],
)
def test_what_it_cannot_express_is_named(cell, size, reason):
    with pytest.raises(Unsupported, match=reason):
        trace(cell, size)


class Everything(Cell):
    """Every operation that the engine has C for, away from where they have no derivative."""

    gates = ("u", "v")
    states = ("h", "m")

    def own_parameters(self, hidden_size):
        return {"scale": torch.ones(hidden_size)}

    def step(self, a, r, s, p):
        u, v = a.u + r.u, a.v - 0.5 * r.v
        positive = torch.exp(u / 4) + torch.reciprocal(1 + v * v) + torch.sqrt(1 + u * u)
        waves = torch.sin(u) * torch.cos(v) + torch.erf(u - v) + torch.expm1(v / 8) + torch.log1p(u * u)
        chosen = torch.where((u > v) & ~(u > 3), torch.maximum(u, v), torch.minimum(u, 2 * v))
        spread = (
            u.var(-1, keepdim=True) + torch.abs(v).mean(-1, keepdim=True) + torch.amax(u, -1, keepdim=True)
        )
        m = torch.tanh(0.5 * s.m + p.scale * torch.rsqrt(positive) - torch.log(positive) / spread.exp())
        h = torch.tanh(chosen / 4 + waves / 8 - torch.neg(m) + positive.pow(1.5) / 50 + torch.relu(v) / 9)
        return (h, m), {}


@pytest.mark.parametrize("reverse", [False, True])
def test_every_operation_has_torchs_values_and_derivatives(reverse):
    trace(Everything(), 5)  # supported, or what follows would compare the loop with itself
    as_the_loop(Everything(), H=5, masked=True, reverse=reverse)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 17, 33, 40])
@pytest.mark.parametrize("cell", [LSTM(), GRU()], ids=repr)
def test_sizes_that_are_no_multiple_of_a_vector(cell, size):
    as_the_loop(cell, H=size)
    drawn = Problem.draw(cell, [4, 3, 1], H=size, dtype=torch.float32)
    assert_same(drawn.results("native"), drawn.results("loop"), 1e-5)


def test_extreme_values_are_those_of_torch():
    class Squash(Cell):
        gates = ("n",)
        states = ("h", "e", "t")

        def step(self, a, r, s, p):  # noqa: ARG002
            return (torch.sigmoid(a.n), torch.exp(a.n), torch.tanh(a.n)), {}

    values = [0.0, -0.0, 1e-8, -1e-5, 0.3, -0.35, 1.0, 20.0, -20.0, 88.0, -87.0, 89.0, -1000.0, 1000.0]
    x = torch.tensor([[*values, float("inf"), float("-inf"), float("nan"), 700.0]])
    for dtype, tolerance in ((torch.float32, 3e-7), (torch.float64, 1e-15)):
        size = x.shape[1]
        weights = engines.Weights(
            torch.eye(size, dtype=dtype), torch.zeros(size, size, dtype=dtype), None, {}
        )
        # One row each, as 0 · ∞ in the product with the identity is no number.
        for k, value in enumerate(x[0].to(dtype)):
            one = torch.full((1, size), 0.5, dtype=dtype)
            one[0, k] = value
            a = engines.Weights(torch.full((size, 1), 1.0, dtype=dtype), weights.hidden, None, {})
            state = tuple(torch.zeros(1, size, dtype=dtype) for _ in range(3))
            found = native.run(Squash(), a, value.view(1, 1), (1,), state, False)
            expected = [torch.sigmoid(value), torch.exp(value), torch.tanh(value)]
            for ours, theirs in zip(found.state, expected, strict=True):
                # Below the smallest normal number exp is 0 here.
                torch.testing.assert_close(
                    ours, theirs.expand(1, size), rtol=tolerance, atol=2e-38, equal_nan=True
                )


# More rows than a chunk of steps has, more than a tile of the products, and fewer than are worth packing for.
LENGTHS = {"chunks": [40] * 11 + [33, 17, 1, 0], "tiles": [5] * 29, "few": [2, 1], "one": [150]}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [LSTM(), GRU(), LayerNormLSTM(), ProjectedLSTM(3)], ids=repr)
def test_sequences_of_every_form(cell, lengths, reverse):
    for form in ({"masked": True}, {"bias": False, "recompute": True}):
        problem = Problem.draw(cell, lengths, H=6, F=5, reverse=reverse, **form)
        assert_same(problem.results("native"), problem.results("loop"), 1e-11)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(1, 40),
    batch=st.integers(1, 40),
    inputs=st.integers(1, 40),
    hidden=st.sampled_from([1, 2, 3, 7, 13, 16, 29, 40]),
    seed=st.integers(0, 99),
    recompute=st.booleans(),
)
def test_any_size(steps, batch, inputs, hidden, seed, recompute):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator).tolist()
    lengths[0] = max(lengths[0], 1)
    problem = Problem.draw(LSTM(), lengths, F=inputs, H=hidden, seed=seed, recompute=recompute)
    assert_same(problem.results("native"), problem.results("loop"), 1e-11)


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_what_is_computed_again_is_what_was_there(cell):
    as_the_loop(cell, H=5, masked=True, recompute=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_gates_are_those_of_the_loop(cell, reverse):
    problem = Problem.draw(cell, [5, 5, 3, 1, 0], reverse=reverse)
    named = dict(zip(problem.names, problem.tensors, strict=True))
    own = {name[4:]: value for name, value in named.items() if name.startswith("own.")}
    weights = engines.Weights(named["U"], named["W"], named["b"], own, named.get("P"))
    state = tuple(named[f"initial.{name}"] for name in cell.states)
    arguments = (cell, weights, named["x"], problem.batch_sizes, state, reverse, None, problem.noise)
    with torch.no_grad():
        found = engines.run("native", *arguments, show=True).history
        expected = engines.run("loop", *arguments, show=True).history
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-12, atol=1e-13)


def test_gates_with_gradients_are_the_loops():
    rnn = Recurrent(3, 4, engine="native")
    gates = rnn(torch.randn(5, 2, 3), return_gates=True)[2]
    assert gates["f"].requires_grad


# How it is kept


def test_compiled_once_for_all_cells_of_a_kind(fresh, monkeypatch):
    calls = compiles_in(monkeypatch)
    as_the_loop(LSTM(), H=4)
    as_the_loop(LSTM(forget_bias=0.0), H=4)
    assert calls == ["cc"] * 3, "the cell forward and backward, and the products of all cells"
    as_the_loop(LSTM(), H=5)
    assert calls == ["cc"] * 5
    assert len(list(fresh.glob("*.so"))) == 5
    assert not list(fresh.glob(".new-*"))


@pytest.mark.parametrize("damage", ["cut", "swapped", "no digest", "gone"])
def test_a_cache_that_is_not_whole_is_made_again(fresh, monkeypatch, damage):
    as_the_loop(RNN(), H=4)
    products = set(fresh.glob("*.so"))
    as_the_loop(GRU(), H=4)
    kept, _ = set(fresh.glob("*.so")) - products
    digest = kept.with_name(kept.name + ".sha256")
    {
        "cut": lambda: kept.write_bytes(kept.read_bytes()[:700]),
        "swapped": lambda: kept.write_bytes(b"\x7fELF" + bytes(4000)),
        "no digest": digest.unlink,
        "gone": kept.unlink,
    }[damage]()
    kernel._libraries.clear()
    kernel._kernels.clear()
    calls = compiles_in(monkeypatch)
    as_the_loop(GRU(), H=4)
    assert calls == ["cc"]
    kernel._libraries.clear()
    kernel._kernels.clear()
    as_the_loop(GRU(), H=4)
    assert calls == ["cc"], "mended by the compilation before"


@pytest.mark.skipif(os.name != "posix", reason="modes of folders")
def test_a_cache_that_others_may_write_is_not_used(fresh):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    as_the_loop(RNN(), H=4)
    assert list(fresh.iterdir()) == []


def test_no_place_for_a_cache(fresh):
    fresh.parent.parent.joinpath("gatewise").write_text("a file in its way")
    as_the_loop(RNN(), H=4)


@pytest.mark.parametrize("cc", ["/no/such/compiler", "false", ""])
def test_without_a_compiler_another_engine_runs(fresh, monkeypatch, caplog, cc):  # noqa: ARG001
    monkeypatch.setenv("CC", cc)
    if not cc:
        monkeypatch.setattr(library, "COMPILERS", ())
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(2):
            as_the_loop(LSTM(), H=4)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("engine=native: LSTM with ")
    assert "compile" in line


@pytest.mark.parametrize("broken", ["write", "load"])
def test_a_disk_that_takes_or_runs_nothing(fresh, monkeypatch, caplog, broken):  # noqa: ARG001
    def full(*args, **kwargs):  # noqa: ARG001
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr(library.tempfile, "TemporaryDirectory", full)
    else:
        monkeypatch.setattr(library.ctypes, "CDLL", full)  # as on a disk mounted noexec
    with caplog.at_level(logging.INFO, "gatewise"):
        as_the_loop(LSTM(), H=4)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "compiled code that cannot be written or loaded" in line


def test_a_kept_trace_needs_no_tracing(fresh, monkeypatch):
    as_the_loop(GRU(), H=4)
    assert len(list(fresh.glob("*.json"))) == 1
    monkeypatch.setattr(kernel, "trace", lambda *_: pytest.fail("traced again"))
    kernel._kernels.clear()
    as_the_loop(GRU(), H=4)
    for kept in fresh.glob("*.json*"):
        kept.write_text("{}")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh.parent.parent))
    kernel._kernels.clear()
    as_the_loop(GRU(), H=4)


def test_processes_compile_beside_each_other(fresh):
    code = (
        "import torch; from gatewise.nn import Recurrent;"
        "print(Recurrent(2, 6, engine='native')(torch.ones(3, 2, 2))[0].shape)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["torch.Size([3, 2, 6])"] * 3
    assert len(list(fresh.glob("*.so"))) == 3


# Where it is called from


# Dynamo looks at every attribute of a tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_inside_a_compiled_model_and_a_forked_worker(monkeypatch):
    monkeypatch.setattr(torch._dynamo.config, "suppress_errors", False)
    from gatewise.nn import Recurrent

    model = torch.nn.Sequential(Recurrent(3, 4, engine="native"))
    x = torch.randn(5, 2, 3)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x)[0], model(x)[0])
    compiled(x)[0].sum().backward()
    if hasattr(os, "fork"):
        context = torch.multiprocessing.get_context("fork")
        with context.Pool(1) as pool:
            there = pool.apply_async(_last_output, (model, x)).get(timeout=300)
        torch.testing.assert_close(torch.tensor(there), model(x)[0][-1].detach())


def _last_output(model, x):
    with torch.no_grad():
        return model(x)[0][-1].tolist()


def within_hooks():
    """What activation checkpointing does."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)


MODES = [torch.inference_mode, torch.no_grad, lambda: torch.autograd.set_detect_anomaly(True), within_hooks]


@pytest.mark.parametrize("mode", MODES, ids=["inference", "no_grad", "anomaly", "hooks"])
def test_a_cell_first_met_in_another_mode(fresh, mode):  # noqa: ARG001
    problem = Problem.draw(GRU(), [3, 2])
    with mode():
        problem.run("native", *problem.tensors)
    assert not engines._said
    assert_same(problem.results("native"), problem.results("loop"), 1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_inference_gives_the_values_of_training(cell, reverse):
    problem = Problem.draw(cell, [5, 5, 3, 1, 0], masked=True, reverse=reverse)
    trained = problem.run("native", *(t.requires_grad_() for t in problem.tensors))
    with torch.no_grad():
        inferred = problem.run("native", *problem.tensors)
    # Up to where the compiler rounds once for a product and a sum: what is kept of a step has to be rounded.
    for ours, theirs in zip(inferred, trained, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-15)
