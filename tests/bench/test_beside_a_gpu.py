"""What the engine benchmark measures and says on a GPU, as far as it can be tried without one."""

from __future__ import annotations

import io
import sys
import time
from types import ModuleType

import pytest
import torch
from rich.console import Console

from gatewise.bench import clock, contenders, deviation, report, words
from gatewise.bench.budget import Budget
from gatewise.bench.case import Case, Size
from gatewise.bench.contenders import contender, names
from gatewise.bench.counts import bytes_moved
from gatewise.bench.limits import Limits
from gatewise.bench.timing import Bench, Timing

SMALL = Size(7, 3, 2, 4)


def flashrnn(Wx, R, b, function, backend, dtype):
    """FlashRNN, by its README: Wx [B, T, G, N, D], R [G, N, D, D], b [G, N, D] to states [S, B, T, N, D]."""
    assert dtype == str(Wx.dtype).removeprefix("torch.")
    if backend == "cuda_fused":
        raise RuntimeError("no such tiling")
    x, R, b = Wx[:, :, :, 0], R[:, 0], b[:, 0]
    h = c = x.new_zeros(len(x), x.shape[-1])
    kept = []
    for step in x.unbind(1):
        r = torch.einsum("bp,gdp->gbd", h, R)
        w = step.unbind(1)
        if function == "gru":
            inner, reset = r[0] + b[0], torch.sigmoid(w[0] + r[1] + b[1])
            update = torch.sigmoid(w[1] + r[2] + b[2])
            h = update * h + (1 - update) * torch.tanh(w[2] + b[3] + reset * inner)
        elif function == "elman":
            h = torch.tanh(w[0] + r[0] + b[0])
        else:
            i, f, n, o = (w[gate] + r[gate] + b[gate] for gate in range(4))
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(n)
            h = torch.sigmoid(o) * torch.tanh(c)
        kept.append(torch.stack([h, c]))
    states = torch.stack(kept, 2)[:, :, :, None]
    return states, states[:, :, -1:]


@pytest.fixture
def library(monkeypatch) -> ModuleType:
    """A FlashRNN that is installed, and runs on the CPU."""
    module = ModuleType("flashrnn")
    module.flashrnn = flashrnn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashrnn", module)
    return module


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_flashrnn_has_the_results_and_gradients_of_the_loop(cell: str, lengths: str) -> None:
    case = Case(cell, SMALL, "float64", lengths)
    assert deviation.difference(case, "flashrnn") is None
    expected = contender(case, "torch.nn").infer()
    torch.testing.assert_close(contender(case, "flashrnn").infer(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", ["outputs", "gradients"])
def test_a_library_with_wrong_results_is_not_timed(library, monkeypatch, wrong: str) -> None:
    def spoilt(Wx, R, b, **settings):
        if wrong == "outputs":
            states, last = flashrnn(Wx, R, b, **settings)
            return states + 0.1, last
        return flashrnn(Wx, R.detach() + 0.9 * (R - R.detach()), b, **settings)

    monkeypatch.setattr(library, "flashrnn", spoilt)
    bench = Bench(1, lambda _: None)
    bench._limits = Limits({}, 1.0)
    rows = bench.timings(Case("LSTM", SMALL), ["torch.nn", "loop", "flashrnn"], ["training"])
    assert [row.contender for row in rows] == ["torch.nn", "loop"]
    (note,) = bench.notes
    assert note.startswith("flashrnn: LSTM 7x3x2x4, full lengths, is left out (its")
    assert f"its {wrong} differ from the loop's by " in note


def test_a_library_that_fails_is_left_out_of_that_size_alone(library, monkeypatch) -> None:
    def fails(Wx, R, b, **settings):
        if Wx.shape[-1] == 5:
            raise RuntimeError("nvcc: not found")
        return flashrnn(Wx, R, b, **settings)

    monkeypatch.setattr(library, "flashrnn", fails)
    bench = Bench(1, lambda _: None)
    bench._limits = Limits({}, 1.0)
    who = [
        [row.contender for row in bench.timings(Case("GRU", size), ["torch.nn", "flashrnn"], ["inference"])]
        for size in (Size(3, 2, 2, 5), SMALL)
    ]
    assert who == [["torch.nn"], ["torch.nn", "flashrnn"]]
    assert bench.notes == ["flashrnn: GRU 3x2x2x5, full lengths, is left out (RuntimeError: nvcc: not found)"]


def test_a_compiler_takes_its_share_of_the_time_and_no_more() -> None:
    bench = Bench(1, lambda _: None, Budget(100, 4))
    bench._limits, bench._building = Limits({}, 1.0), 26.0
    rows = bench.timings(Case("LSTM", SMALL), ["torch.nn", "flashrnn"], ["inference"])
    assert [row.contender for row in rows] == ["torch.nn"]
    assert "is left out (its compiler has taken 26 s; what is built is kept" in bench.notes[0]


@pytest.mark.parametrize("lengths", ["full", "ragged"])
def test_what_a_graph_holds_has_the_same_results(monkeypatch, lengths: str) -> None:
    monkeypatch.setattr(contenders, "_captured", lambda run: run)
    case = Case("LSTM", SMALL, "float64", lengths)
    expected = contender(case, "torch.nn").infer()
    for name in ("torch.nn graph", "auto graph"):
        torch.testing.assert_close(contender(case, name).infer(), expected, rtol=1e-12, atol=1e-12)
        contender(case, name).train()


def test_the_default_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(contenders, "keras_is_there", lambda: False)
    settings = words.settings_of(["device=cuda"])
    cases, engines, works, _ = words.parsed(settings)
    assert len({case.size for case in cases}) == 7
    assert len(cases) == 7 * 2 * 2
    assert {(case.cell, case.lengths) for case in cases} == {
        (cell, lengths) for cell in ("LSTM", "GRU") for lengths in ("full", "ragged")
    }
    assert works == ["training", "inference"]
    graphs = [f"{name} graph" for name in ("torch.nn", "cuda", "auto")]
    expected = ["torch.nn", "torch", "cuda", "auto", "loop", *graphs, "flashrnn"]
    assert names("LSTM", engines, ["flashrnn"], graphs=True) == expected
    assert "loop" not in names("PeepholeLSTM", ["cuda"], ["flashrnn"], graphs=True)[1:]
    assert words.seconds_of_all(settings["seconds"]) == 210
    if not words.others(settings, "cuda")[0]:
        assert words.others(settings, "cuda")[1] == [
            "Keras is not installed, and not measured",
            "FlashRNN is not installed, and not measured",
        ]


def test_bytes_that_have_to_move() -> None:
    # float32; weights of inputs, weights of the hidden state, one bias for each gate.
    inner, weights, sequences = 4 * 4 * 4, 4 * 4 * (2 + 4 + 1), 7 * 3 * (2 + 4)
    case = Case("LSTM", SMALL)
    assert bytes_moved(case, "inference") == 4 * (weights + sequences)
    assert bytes_moved(case, "training") == 4 * (2 * weights + 2 * sequences + inner)
    half = Case("LSTM", SMALL, "bfloat16")
    assert bytes_moved(half, "training") * 2 == bytes_moved(case, "training")


def test_time_that_a_part_leaves_goes_to_the_others(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    budget = Budget(100, 4)
    budget.begin()
    now[0] = 10
    assert not budget.part_is_over
    budget.begin()  # 90 s for three
    now[0] = 39
    assert not budget.part_is_over
    now[0] = 40
    assert budget.part_is_over
    assert not budget.is_over
    now[0] = 100
    assert budget.is_over
    assert not Budget().is_over


def test_the_host_is_timed_without_its_gpu(monkeypatch) -> None:
    now = [0.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(clock, "_finish", lambda _: passes(1.0))
    assert clock.host_seconds(lambda: passes(0.25)) == pytest.approx(0.25)
    assert clock.covered([(3, 4), (0, 2), (1, 2.5), (3.5, 3.6)]) == pytest.approx(3.5)
    assert clock.covered([]) == 0


def test_host_and_kernels_stand_beside_the_step() -> None:
    console = Console(file=io.StringIO(), width=140)
    values = dict.fromkeys(Timing._fields, 1.0) | {"cell": "LSTM", "lengths": "ragged", "work": "training"}
    row = Timing(**values | {"size": "1x1x1x1", "contender": "cuda", "host_milliseconds": 0.3})  # type: ignore
    report.print_hosts(console, [row, row._replace(contender="loop", kernel_milliseconds=None)])
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert "LSTM, ragged, training: ms of a step / of its host / of its kernels" in out
    assert "1.00 / 0.30 / 1.00   1.00 / 0.30 / ?" in out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_profiler_sees_kernels() -> None:
    a = torch.randn(2048, 2048, device="cuda")
    kernels = clock.kernel_seconds(lambda: a @ a)
    assert kernels is not None
    assert 0 < kernels < clock.seconds_of(lambda: a @ a, 1, "cuda") * 2
