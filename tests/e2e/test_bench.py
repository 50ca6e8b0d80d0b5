"""``gatewise bench``: speeds measured side by side."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from workplace import Place

import gatewise.engine
from gatewise.bench import contenders, models, process
from gatewise.bench import loop_overhead as bench_training
from gatewise.bench.budget import Budget
from gatewise.bench.case import Case, Size
from gatewise.bench.contenders import contender, names
from gatewise.bench.counts import operations
from gatewise.bench.timing import Bench, Timing
from gatewise.engine import ENGINES
from gatewise.engine.native import library

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, library.COMPILERS)), reason="no C compiler")


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_training_is_timed_against_a_bare_loop(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(bench_training, "ROUNDS", 1)
    # The two loops have to see the same work: as many losses on either side.
    losses = {"bare": 0, "lightning": 0}
    for name in losses:
        timed = getattr(bench_training, f"{name}_epoch")

        def counted(config, data, task, name=name, timed=timed):
            score = task.score

            def counting(batch):
                losses[name] += task.training
                return score(batch)

            task.score = counting
            seconds = timed(config, data, task)
            assert seconds > 0
            return seconds

        monkeypatch.setattr(bench_training, f"{name}_epoch", counted)
    result = place.ok("bench", "training", "data.batch_size=90", "model.hidden_size=4")
    assert "speech/japanese_vowels: 3 training steps" in result.out  # 270 utterances, a fifth for validation
    assert losses == {"bare": 2 * 3, "lightning": 2 * 3}
    assert re.search(r"bare PyTorch +│ +\d+\.\d\d │", result.out)
    assert re.search(r"overhead of the Lightning loop: -?\d+\.\d %", result.out)
    assert place.runs() == []


def test_bench_says_what_it_measures(place: Place) -> None:
    result = place("bench", "trainin")
    assert result.code == 2
    assert "trainin: give what to measure: gatewise bench training" in result.line()


@pytest.mark.parametrize("words", [["--help"], ["engine", "--help"]])
def test_bench_can_be_asked_for_its_settings(place: Place, words) -> None:
    assert "gatewise bench engine [cell=LSTM,GRU|all]" in place.ok("bench", *words).out


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
def test_engines_are_timed_beside_torch(place: Place) -> None:
    words = ["sizes=6x2x3x4,5x1x2x6", "engines=function,loop", "rounds=2", "keras=false", "file=engines.csv"]
    result = place.ok("bench", "engine", "cell=GRU,RNN", *words)
    rows = rows_of(place.folder / "engines.csv")
    assert [(r["cell"], r["size"], r["work"], r["contender"]) for r in rows] == [
        (cell, size, work, who)
        for cell in ("GRU", "RNN")
        for size in ("6x2x3x4", "5x1x2x6")
        for work in ("training", "inference")
        for who in ("torch.nn", "function", "loop")
    ]
    for row in rows:
        # Products of a cell's gates with inputs and state; going back, one for each weight's gradient and one
        # for the state's.
        steps, batch, inputs, hidden = map(int, row["size"].split("x"))
        flops = 2 * {"GRU": 3, "RNN": 1}[row["cell"]] * hidden * steps * batch
        flops *= 2 * (inputs + hidden) + hidden if row["work"] == "training" else inputs + hidden
        assert float(row["gigaflops"]) == pytest.approx(flops / float(row["milliseconds"]) / 1e6)
        share = float(row["gigaflops"]) / float(row["peak_gigaflops"])
        assert float(row["share_of_peak"]) == pytest.approx(share)
        assert float(row["speedup"]) == 1.0 or row["contender"] != "torch.nn"
    assert (place.folder / "engines.png").read_bytes().startswith(b"\x89PNG")
    assert result.out.endswith("wrote engines.csv\nwrote engines.png\n")
    for title in ("GRU, training: times as fast as torch.nn", "RNN, inference: times as fast as torch.nn"):
        assert title in result.out
    assert re.search(r"GRU +full +training +function +torch.nn +\d+\.\d\d +\d+\.\d\d", result.out)


def test_a_cell_that_torch_lacks_stands_beside_its_loop_and_the_lstm(place: Place) -> None:
    words = ["sizes=4x2x3x4", "engines=native,function", "rounds=1", "work=training"]
    out = place.ok("bench", "engine", "cell=PeepholeLSTM", *words).out
    assert re.search(r"^compiled code is kept in /.*/gatewise/engine: .*B$", out, re.MULTILINE)
    (file,) = (place.folder / "benchmarks").glob("engine_*.csv")
    rows = rows_of(file)
    assert [row["contender"] for row in rows] == ["loop", "native", "function"]
    assert [row["of_lstm"] != "" for row in rows] == [False, True, False]
    assert rows[0]["speedup"] == "1.0"


def test_an_engine_that_cannot_run_a_cell_is_left_out_and_says_why(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(gatewise.engine, "_logged", set())
    words = ["sizes=4x2x3x4,3x2x3x4", "engines=function,loop", "rounds=1", "file=a.csv"]
    result = place.ok("bench", "engine", "cell=LayerNormLSTM", *words)
    assert {row["contender"] for row in rows_of(place.folder / "a.csv")} == {"loop"}
    said = "engine=function: LayerNormLSTM cannot run on the function engine: a step that mixes features\n"
    assert said in result.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(place: Place) -> None:
    result = place("bench", "engine", "device=cuda")
    assert result.code == 2
    assert "device=cuda: no CUDA GPU is visible here; use device=cpu" in result.line()


@needs_compiler
def test_many_models_are_timed_beside_one_by_one(place: Place) -> None:
    words = ["models=1,3", "sizes=6x2x3x4", "rounds=2", "work=training,inference", "file=models.csv"]
    result = place.ok("bench", "engine", *words, "threads=1", "lengths=ragged")
    rows = rows_of(place.folder / "models.csv")
    assert [(row["work"], row["models"]) for row in rows] == [
        (work, count) for work in ("training", "inference") for count in ("1", "3")
    ]
    for row in rows:
        assert (row["cell"], row["engine"], row["lengths"], row["threads"]) == ("LSTM", "auto", "ragged", "1")
        times = float(row["separate_milliseconds"]), float(row["together_milliseconds"])
        assert float(row["ratio"]) == pytest.approx(times[0] / times[1])
    assert "1 thread, float32, ragged lengths; the best of 2 rounds in turns\n" in result.out
    assert "several models in one call" in result.out
    assert result.out.endswith("wrote models.csv\n")
    assert not (place.folder / "models.png").exists()


def test_models_are_not_measured_for_memory(place: Place) -> None:
    line = place("bench", "engine", "models=2", "memory=true").line()
    assert line.endswith("memory=true: not measured for several models; leave it out, or models")


@pytest.mark.parametrize("work", ["training", "inference"])
def test_models_at_once_have_the_same_to_do(work: str) -> None:
    runs = models._runs(Case("GRU", Size(5, 3, 2, 4), "float64", "ragged"), "auto", work, 3)
    together, separate = runs["together"](), runs["separate"]()
    if work == "inference":
        torch.testing.assert_close(together, torch.stack(separate), rtol=1e-12, atol=1e-12)
    else:
        for name, gradients in together.items():
            expected = torch.stack([module.get_parameter(name).grad for module in separate])
            torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@needs_compiler
def test_memory_and_first_steps_come_from_processes_of_their_own(place: Place) -> None:
    words = ["sizes=64x16x8x32", "engines=native", "rounds=1", "work=training", "file=a.csv", "keras=false"]
    result = place.ok("bench", "engine", *words, "memory=true", "start=true")
    # Backpropagation needs at least four gates and the outputs of every step.
    least = 64 * 16 * 5 * 32 * 4 / 2**20
    for row in rows_of(place.folder / "a.csv"):
        assert least < float(row["peak_mib"]) < 10 * least, row
    (start,) = rows_of(place.folder / "a_start.csv")
    assert (start["cell"], start["contender"]) == ("LSTM", "native")
    # The compiler alone takes longer than everything else of a first step.
    assert 0 < float(start["cached"]) < float(start["compiling"])
    assert "MiB of a training step at its peak" in result.out
    assert "first training step of a fresh process" in result.out


def test_a_peak_that_is_over_is_still_seen() -> None:
    before = process._reset_peak()
    block = b"1" * (40 * process.MIB)
    del block
    assert process._peak() - before == pytest.approx(40 * process.MIB, rel=0.1)


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_all_contenders_have_the_same_to_do(cell: str, bidirectional: bool, lengths: str) -> None:
    case = Case(cell, Size(9, 5, 3, 4), "float64", lengths, bidirectional)
    expected, *others = (contender(case, name).infer() for name in names(cell, list(ENGINES)))
    assert expected.shape == (9, 5, 8 if bidirectional else 4)
    for found in others:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_what_no_time_is_left_for_is_said(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(Budget, "is_over", property(lambda budget: budget.parts <= 2))
    monkeypatch.setattr(Budget, "part_is_over", property(lambda budget: budget.seconds == 9))
    words = ["sizes=3x2x3x4,2x2x3x4", "engines=loop", "rounds=3", "work=training", "lengths=full,ragged"]
    out = place.ok("bench", "engine", *words, "seconds=9", "keras=false", "file=a.csv").out
    rows = rows_of(place.folder / "a.csv")
    assert [(row["lengths"], row["size"], row["rounds"]) for row in rows[::2]] == [
        ("full", "3x2x3x4", "1"),
        ("full", "2x2x3x4", "1"),
        ("ragged", "3x2x3x4", "1"),
    ]
    assert "LSTM, ragged, training: times as fast as torch.nn" in out
    assert "seconds=9: the time is used up; not measured: LSTM 2x2x3x4 (ragged lengths)\n" in out
    assert "seconds=9: some were measured in fewer than 3 rounds, the fewest in 1\n" in out
    assert re.search(
        r"^limits measured here: products float32 .* TFLOP/s; copying .* GB/s$", out, re.MULTILINE
    )


def test_ragged_lengths_are_even_from_a_quarter_to_the_whole() -> None:
    case = Case("LSTM", Size(40, 2000, 3, 4), lengths="ragged")
    lengths = case.steps_of_each()
    assert lengths is not None
    assert (int(lengths.min()), int(lengths.max())) == (10, 40)
    # Of 31 equally likely lengths the mean is 25, and that of 2000 draws is off by 0.2 once in 30 times.
    assert case.all_steps() / 2000 == pytest.approx(25, abs=0.6)
    assert torch.equal(lengths, case.steps_of_each())
    # As many operations as steps.
    full = operations(Case("LSTM", case.size), "training")
    assert operations(case, "training") / full == pytest.approx(case.all_steps() / 80_000)


def test_rounds_go_to_and_fro_in_measurements_that_last(monkeypatch) -> None:
    calls: list[str] = []
    # A call takes 6 ms, and nothing else takes any time.
    monkeypatch.setattr(time, "perf_counter", lambda: 0.006 * len(calls))
    runs = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    taken = Bench(2, lambda _: None).in_turns(Case("LSTM", Size(1, 1, 1, 1)), "training", runs)
    assert taken == {name: [pytest.approx(0.006)] * 2 for name in ("a", "b")}
    # Two calls each that are not counted; then as many as 0.02 s take, twice behind each other for b.
    groups = ["".join(group) for _, group in itertools.groupby(calls[4:])]
    assert groups == ["aaaa", "bbbbbbbb", "aaaa"]


def test_keras_has_the_same_sizes(monkeypatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    pytest.importorskip("keras")
    for lengths in ("full", "ragged"):
        case = Case("LSTM", Size(5, 3, 2, 4), lengths=lengths, bidirectional=True)
        assert tuple(contender(case, "keras").infer().shape) == (3, 5, 8)


def test_keras_that_is_not_there(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(contenders, "keras_is_there", lambda: False)
    assert (
        place("bench", "engine", "keras=true")
        .line()
        .endswith("keras=true: Keras is not installed; pip install keras, or leave keras out")
    )


def test_an_interrupted_run_keeps_what_it_has_measured(place: Place, monkeypatch) -> None:
    timings = Bench.timings

    def interrupted(self, case: Case, *rest) -> list[Timing]:
        if case.size.steps == 2:
            raise KeyboardInterrupt
        return timings(self, case, *rest)

    monkeypatch.setattr(Bench, "timings", interrupted)
    words = ["sizes=3x2x3x4,2x2x3x4", "engines=loop", "rounds=1", "keras=false", "file=out/a.csv"]
    assert place("bench", "engine", *words).line() == "gatewise: interrupted"
    rows = rows_of(place.folder / "out" / "a.csv")
    assert [(row["size"], row["work"]) for row in rows[::2]] == [
        ("3x2x3x4", "training"),
        ("3x2x3x4", "inference"),
    ]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("cell=LSMT", "cell=LSMT: no such cell; did you mean LSTM? ("),
        ("cell=LSTM,GRUU", "cell=GRUU: no such cell; did you mean GRU? ("),
        ("engines=nativ", "engines=nativ: no such choice; did you mean native? ("),
        ("work=trainin", "work=trainin: no such choice; did you mean training? (training, inference)"),
        ("lengths=raged", "lengths=raged: no such choice; did you mean ragged? (full, ragged)"),
        ("dtype=float23", "dtype=float23: no such choice; did you mean float32? ("),
        ("dtype=float32,float64", "dtype=float32,float64: give one of float32, float64"),
        ("dtype=tf32", "dtype=tf32: is for a GPU; give device=cuda, or dtype=bfloat16"),
        ("device=gpu", "device=gpu: no such choice"),
        ("bidirectional=yes", "bidirectional=yes: no such choice (true, false)"),
        ("keras=no", "keras=no: no such choice (auto, true, false)"),
        ("sizes=3x4", "sizes=3x4: steps, batch, inputs and hidden size are written 35x20x200x200"),
        ("flashrnn=true", "flashrnn=true: is for a GPU; give device=cuda, or leave flashrnn out"),
        ("seconds=soon", "seconds=soon: give a whole number of at least 1"),
        ("models=8,0", "models=0: give a whole number of at least 1"),
        ("models=8x", "models=8x: give a whole number of at least 1"),
        ("threads=0", "threads=0: give a whole number of at least 1"),
        ("rounds=many", "rounds=many: give a whole number of at least 1"),
        ("file=engines.txt", "file=engines.txt: give a name that ends in .csv"),
        ("size=1x1x1x1", "size=1x1x1x1: no such setting; did you mean sizes? (gatewise bench engine"),
        ("native", "native: no such setting"),
    ],
)
def test_a_wrong_word_is_one_line(place: Place, word: str, line: str) -> None:
    result = place("bench", "engine", word)
    assert result.code == 2
    assert line in result.line()
