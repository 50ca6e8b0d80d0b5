"""What the native engine compiles and when, how it keeps it, and where it is called from."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch
from problem import COMPILES, Problem, assert_equals_loop, assert_same

from gatewise import engine as engines
from gatewise.cells import GRU, LSTM, RNN
from gatewise.engine.native import kernel, library
from gatewise.engine.traced import kept
from gatewise.engine.traced.trace import trace
from gatewise.nn import Recurrent

pytestmark = pytest.mark.skipif(not COMPILES, reason="no C compiler")


def start_anew(monkeypatch, cache):
    """Nothing is compiled in this process; caches lie below this folder; the compiler does not optimise."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(library, "FLAGS", tuple(flag for flag in library.FLAGS if flag != "-O3"))
    monkeypatch.setattr(kernel, "_libraries", {})
    monkeypatch.setattr(kernel, "_kernels", type(kernel._kernels)())
    monkeypatch.setattr(engines, "_logged", set())
    library._compiler.cache_clear()
    library._native_flags.cache_clear()


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, which is returned, and nothing compiled in this process."""
    start_anew(monkeypatch, tmp_path)
    yield tmp_path / "gatewise" / "engine"
    library._compiler.cache_clear()
    library._native_flags.cache_clear()


@pytest.fixture(scope="module")
def with_gru(tmp_path_factory):
    """A cache that holds a GRU of 4 features."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as monkeypatch:
        start_anew(monkeypatch, folder)
        assert_equals_loop(GRU(), H=4)
    return folder / "gatewise" / "engine"


@pytest.fixture
def warm(fresh, with_gru):
    """As ``fresh``, but the cache holds a GRU of 4 features."""
    shutil.copytree(with_gru, fresh)
    return fresh


def forget_kernels():
    kernel._libraries.clear()
    kernel._kernels.clear()


def compiles_in(monkeypatch) -> list[str]:
    """The calls of the compiler from here on."""
    calls: list[str] = []
    compile_ = library._compile
    monkeypatch.setattr(library, "_compile", lambda *args: calls.append("cc") or compile_(*args))
    return calls


def test_compiled_once_for_all_cells_of_a_kind(fresh, monkeypatch):
    calls = compiles_in(monkeypatch)
    assert_equals_loop(LSTM(), H=4)
    assert_equals_loop(LSTM(forget_bias=0.0), H=4)
    assert calls == ["cc"] * 3, "the cell forward and backward, and the products of all cells"
    assert_equals_loop(LSTM(), H=5)
    assert calls == ["cc"] * 5
    assert len(list(fresh.glob("*.so"))) == 5
    assert not list(fresh.glob(".new-*"))


@pytest.mark.parametrize("damage", ["cut", "swapped", "no digest", "gone"])
def test_a_damaged_library_is_compiled_again(warm, monkeypatch, damage):
    library_file, *_ = sorted(warm.glob("*.so"))
    digest = library_file.with_name(library_file.name + ".sha256")
    {
        "cut": lambda: library_file.write_bytes(library_file.read_bytes()[:700]),
        "swapped": lambda: library_file.write_bytes(b"\x7fELF" + bytes(4000)),
        "no digest": digest.unlink,
        "gone": library_file.unlink,
    }[damage]()
    calls = compiles_in(monkeypatch)
    assert_equals_loop(GRU(), H=4)
    assert calls == ["cc"]
    forget_kernels()
    assert_equals_loop(GRU(), H=4)
    assert calls == ["cc"], "the cache was mended"


@pytest.mark.skipif(os.name != "posix", reason="modes of folders")
def test_a_cache_that_others_may_write_is_not_used(fresh):
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    assert_equals_loop(RNN(), H=4)
    assert list(fresh.iterdir()) == []


def test_where_a_cache_cannot_be_made_none_is_used(fresh):
    fresh.parent.parent.joinpath("gatewise").write_text("a file, not a folder")
    assert_equals_loop(RNN(), H=4)


@pytest.mark.parametrize("cc", ["/no/such/compiler", "false", ""])
def test_without_a_compiler_another_engine_runs(fresh, monkeypatch, caplog, cc):  # noqa: ARG001
    monkeypatch.setenv("CC", cc)
    if not cc:
        monkeypatch.setattr(library, "COMPILERS", ())
    with caplog.at_level(logging.INFO, "gatewise"):
        for _ in range(2):
            assert_equals_loop(LSTM(), H=4)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("engine=native: LSTM cannot run on the native engine: ")
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
        assert_equals_loop(LSTM(), H=4)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "compiled code that cannot be written or loaded" in line


def test_a_trace_in_the_cache_needs_no_tracing(warm, monkeypatch):
    traces = []
    monkeypatch.setattr(kept, "trace", lambda *arguments: traces.append(1) or trace(*arguments))
    assert_equals_loop(GRU(), H=4)
    assert traces == []
    for file in warm.glob("*.json*"):
        file.write_text("{}")
    forget_kernels()
    assert_equals_loop(GRU(), H=4)
    assert traces == [1], "a damaged trace is made again"


@pytest.mark.slow
def test_processes_compile_beside_each_other(fresh):
    code = (
        "import torch; from gatewise.nn import Recurrent;"
        "print(Recurrent(2, 6, engine='native')(torch.ones(3, 2, 2))[0].shape)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["torch.Size([3, 2, 6])"] * 2
    assert len(list(fresh.glob("*.so"))) == 3


# Where it is called from


# Dynamo reads every attribute of a tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_inside_a_compiled_model_and_a_forked_worker():
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
    """As activation checkpointing has them."""
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)


MODES = [torch.inference_mode, torch.no_grad, lambda: torch.autograd.set_detect_anomaly(True), within_hooks]


@pytest.mark.parametrize("mode", MODES, ids=["inference", "no_grad", "anomaly", "hooks"])
def test_a_cell_traced_in_another_mode(warm, mode):
    for file in warm.glob("*.json*"):
        file.unlink()
    problem = Problem.draw(GRU(), [3, 2])
    with mode():
        problem.run("native", *problem.tensors)
    assert not engines._logged
    assert_same(problem.results("native"), problem.results("loop"), 1e-12)
