"""``gatewise bench``: speeds measured side by side."""

from __future__ import annotations

import csv
import re

import pytest
import torch
from workplace import Place

from gatewise.cli import bench_engine, bench_training


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
        timed = getattr(bench_training, f"_{name}_epoch")

        def counted(config, data, task, name=name, timed=timed):
            score = task._score

            def counting(batch):
                losses[name] += task.training
                return score(batch)

            task._score = counting
            seconds = timed(config, data, task)
            assert seconds > 0
            return seconds

        monkeypatch.setattr(bench_training, f"_{name}_epoch", counted)
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


def test_engines_are_timed_in_turns(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(bench_engine, "ROUNDS", 2)
    words = ["sizes=6x2x3x4,5x1x2x6", "engines=native,loop", "file=engines.csv"]
    result = place.ok("bench", "engine", "cell=GRU", *words)
    rows = list(csv.DictReader((place.folder / "engines.csv").read_text().splitlines()))
    assert [(r["size"], r["work"], r["contender"]) for r in rows] == [
        (size, work, who)
        for size in ("6x2x3x4", "5x1x2x6")
        for work in ("training", "inference")
        for who in ("torch.nn", "native", "loop")
    ]
    for row in rows:
        # Of the products of three gates with inputs and state, forward; backward has twice as many.
        steps, batch, inputs, hidden = map(int, row["size"].split("x"))
        flops = 2 * 3 * hidden * (inputs + hidden) * steps * batch * (3 if row["work"] == "training" else 1)
        assert float(row["gigaflops"]) == pytest.approx(flops / float(row["milliseconds"]) / 1e6)
        assert float(row["speedup"]) == 1.0 or row["contender"] != "torch.nn"
    assert "training, native: " in result.out


def test_a_cell_that_torch_lacks_is_timed_against_the_loop(place: Place, monkeypatch) -> None:
    monkeypatch.setattr(bench_engine, "ROUNDS", 1)
    result = place.ok("bench", "engine", "cell=PeepholeLSTM", "sizes=4x2x3x4", "engines=native")
    assert "times as fast as loop" in result.out


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("cell=LSMT", "cell=LSMT: no such cell; did you mean LSTM? ("),
        ("engines=nativ", "engines=nativ: no such choice; did you mean native? ("),
        ("sizes=3x4", "sizes=3x4: steps, batch, inputs and hidden size are written 35x20x200x200"),
        ("threads=0", "threads=0: give a whole number of at least 1"),
        ("size=1x1x1x1", "size=1x1x1x1: no such setting; did you mean sizes? (gatewise bench engine"),
    ],
)
def test_a_wrong_word_is_one_line(place: Place, word: str, line: str) -> None:
    result = place("bench", "engine", word)
    assert result.code == 2
    assert line in result.line()
