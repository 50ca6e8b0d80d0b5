"""Text and sequences that once gave a wrong number or a crash; each test is named after its case."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from workplace import Place, read_json

from gatewise.runs.run import Run

SEQUENCES = (
    "train",
    "logger=none",
    "experiment=speech/features",
    "model.hidden_size=8",
    "data.train_file=two.ts",
)
TEXT = ("train", "logger=none", "experiment=text/files", "data.files=[my.txt]", "trainer.max_epochs=1")
TEXT += ("model.hidden_size=4", "task.embedding_size=4", "threads=1")


def write_two(folder: Path, offset: float = 0.0, labels: str = "ab") -> None:
    """``two.ts``: 40 sequences of noise around 0 and 1; ``offset`` is added with three decimals kept."""
    draw = np.random.default_rng(0)
    lines = []
    for index in range(40):
        values = draw.normal(index % 2, 0.5, draw.integers(5, 9))
        lines.append(
            ",".join(f"{offset + round(v, 3):.3f}" for v in values) + f":{labels[index % len(labels)]}"
        )
    folder.mkdir(exist_ok=True, parents=True)
    header = f"@problemName toy\n@univariate true\n@classLabel true {' '.join(sorted(set(labels)))}\n@data\n"
    (folder / "two.ts").write_text(header + "\n".join(lines) + "\n")


@pytest.mark.slow
def test_feature_precision(place: Place) -> None:
    # The same values, shifted by a number that float32 has no decimals beside, train to the same accuracy.
    scores = []
    for offset in (0.0, 1e8):
        write_two(place.folder, offset)
        place.ok(*SEQUENCES, "trainer.max_epochs=4", "optimizer.lr=0.03")
        scores.append(place.last().summary()["test"])
        facts = place.last().facts()
        assert facts.mean[0] - offset == pytest.approx(0.5, abs=0.2)
        place.ok("evaluate", "run=last", "output=again.json")
        assert read_json(place.folder / "again.json")["test"] == pytest.approx(scores[-1])
        out = place.ok("predict", "run=last", "input=two.ts", f"output={offset:g}.csv").out
        assert "nan" not in out
    assert scores[0]["accuracy"] == scores[1]["accuracy"] == 1.0
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=1e-3)
    tables = [pd.read_csv(place.folder / name) for name in ("0.csv", "1e+08.csv")]
    pd.testing.assert_frame_equal(*tables, atol=1e-4)


def test_val_fraction(place: Place) -> None:
    write_two(place.folder)
    out = place.ok(*SEQUENCES, "trainer.max_epochs=1", "test=false").out
    sizes = [int(size) for size in re.findall(r"^(?:training|validation|test) sequences +(\d+)", out, re.M)]
    assert sizes == [24, 8, 8]  # .2 and .2 of 40


def test_indic_words(place: Place) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    lines = "हिन्दी विश्व की एक प्रमुख भाषा है।\nभारत की राजभाषा हिन्दी है।\n"
    (place.folder / "my.txt").write_text(lines * 60)
    place.ok(*TEXT, "data.batch_size=4", "test=false")
    # The words between spaces, by hand.
    words = {"हिन्दी", "विश्व", "की", "एक", "प्रमुख", "भाषा", "है", "।", "भारत", "राजभाषा"}
    assert set(place.last().facts().vocabulary) == words | {"<unk>", "<eos>"}


def test_one_class(place: Place) -> None:
    write_two(place.folder, labels="a")
    result = place(*SEQUENCES, "trainer.max_epochs=1")
    assert result.code == 1
    assert "data.train_file: every sequence of" in result.line()
    assert "two.ts has the label 'a': a classification needs two classes or more" in result.line()
    assert not (place.folder / "runs").exists()


@pytest.mark.slow
def test_ts_nul_and_text_that_is_none(place: Place) -> None:
    write_two(place.folder)
    path = place.folder / "two.ts"
    path.write_bytes(path.read_bytes().replace(b"0.", b"0\x00.", 1))
    assert "NUL byte at offset" in place(*SEQUENCES).line()
    for content, said in {
        b"a b\nc \x00d\n": "my.txt:2: a NUL byte at offset 6",
        "a b\n".encode("utf-16"): "(this looks like UTF-16): save the file with UTF-8",
        b"a\n\xed\xa0\x80\n": "my.txt:2: byte 0xed at offset 2 is not UTF-8",
        b"\xef\xbb\xbf\r\n": "my.txt holds no text",
        b"a b\n" * 9: "data.batch_size=32 lanes need 33 or more",
        b" ".join(b"%d" % i for i in range(2000)) + b"\n" + b"0 1\n" * 40: "come",
    }.items():
        (place.folder / "my.txt").write_bytes(content)
        result = place(*TEXT, "data.test_fraction=0.01", "data.validation_fraction=0.01")
        if said == "come":
            assert "none of the 2001 training tokens comes 2 times or more" in result.line()
        else:
            assert said in result.line()
    assert not (place.folder / "runs").exists()


@pytest.mark.slow
def test_a_model_of_characters(place: Place) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / "my.txt").write_text("The Cafe\u0301 at THE King.\n" * 200)
    command = (*TEXT, "data.tokenizer=char", "data.batch_size=4", "data.window=500", "data.max_tokens=50000")
    out = place.ok(*command).out
    assert "5 steps are more than" not in out
    assert "50,000 is more than the text has, so that nothing is cut off" in " ".join(out.split())
    assert "bits to write a character with" in " ".join(out.split())
    run = place.last()
    facts = run.facts()
    assert {"T", "t", "K", "\u00e9"} <= set(facts.vocabulary)  # case is kept, and é is one character
    assert "\u0301" not in facts.vocabulary
    summary = run.summary()
    for scores in (summary["test"], summary["baselines"]["unigram"]):
        assert scores["bits_per_character"] == pytest.approx(scores["loss"] / math.log(2))
        assert scores["bits_per_character"] == pytest.approx(math.log2(scores["perplexity"]), rel=1e-5)
    # The unigram's bits are the cross-entropy of the test text under the training counts plus one.
    with (run.folder / "facts.json").open() as file:
        counts = np.array(json.load(file)["counts"]) + 1
    assert summary["baselines"]["unigram"]["bits_per_character"] == pytest.approx(
        -(counts / counts.sum() @ np.log2(counts / counts.sum())), rel=0.02
    )

    drawn = {}
    for name, settings in {
        "a": ["task.temperature=1.5", "task.seed=3"],
        "again": ["task.temperature=1.5", "task.seed=3"],
        "b": ["task.temperature=1.5", "task.seed=4"],
        "greedy": [],
        "cold": ["task.temperature=1e-300"],
        "first": ["task.temperature=5", "task.draw_from=1"],
    }.items():
        out = place.ok(
            "predict", "run=last", "input=Cafe\u0301", f"output={name}.csv", "task.length=30", *settings
        ).out
        with (place.folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 10
        (text,) = {row["continuation"] for row in rows}
        assert len(text) == len("Caf\u00e9") + 30
        assert text.startswith("Caf\u00e9")
        drawn[name] = text
        assert ("with temperature 1.5 and seed 3" in out) == (name in ("a", "again"))
    assert drawn["a"] == drawn["again"] != drawn["b"]
    assert drawn["greedy"] == drawn["cold"] == drawn["first"] != drawn["a"]
    for value in ("-1", "nan", "inf", "hot"):
        result = place("predict", "run=last", "input=The", f"task.temperature={value}")
        assert (result.code, "temperature" in result.line()) == (1, True)
    result = place("predict", "run=last", "input=\udcff")
    assert "bytes that are not UTF-8" in result.line()


@pytest.mark.slow
def test_nan_weights(place: Place) -> None:
    write_two(place.folder)
    place.ok(*SEQUENCES, "trainer.max_epochs=1")
    run = place.last()
    evaluate_one_class(place, run)
    path = run.checkpoints / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for value in (math.nan, math.inf):
        checkpoint["state_dict"]["head.bias"][1] = value
        torch.save(checkpoint, path)
        predict = ["predict", "run=last", "input=two.ts", "output=out.csv"]
        for command in (predict, ["evaluate", "run=last", "output=out.json"]):
            result = place(*command)
            assert result.code == 1
            assert "best.ckpt: its weights head.bias are not all numbers" in result.line()
            assert "checkpoint=last" in result.line()
    assert list(place.folder.glob("out.*")) == []
    shutil.copy(path, run.checkpoints / "last.ckpt")
    before = (run.folder / "config.yaml").read_bytes()
    line = place("train", "resume=last", "trainer.max_epochs=2").line()
    assert "last.ckpt: its weights head.bias are not all numbers" in line
    assert (run.folder / "config.yaml").read_bytes() == before
    assert run.state() == "done"


def evaluate_one_class(place: Place, run: Run) -> None:
    lines = (place.folder / "two.ts").read_text().splitlines()
    of_b = [line for line in lines if line.startswith("@") or line.endswith(":b")]
    (place.folder / "b.ts").write_text("\n".join(of_b))
    place.ok("evaluate", f"run={run.folder}", "data.test_file=b.ts", "output=b.json")
    scores = read_json(place.folder / "b.json")["test"]
    assert scores["accuracy"] in np.arange(21) / 20
    assert math.isfinite(scores["loss"])


OWN = """
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch


class Noise(BatchDataset):
    def __init__(self, size, fault):
        self.size, self.fault = size, fault

    def __len__(self):
        return self.size

    def __getitem__(self, indices):
        inputs = torch.randn(len(indices), 4, 2)
        lengths = torch.full((len(indices),), 4)
        targets = torch.arange(len(indices)) % 2
        if self.fault == "tuple":
            return inputs, lengths, targets
        if self.fault == "missing":
            inputs = inputs * float("nan")
        if self.fault == "target":
            targets = targets + 7
        if self.fault == "bug":
            raise KeyError("column")
        return SequenceBatch(inputs, lengths, targets)


class Mine(SequenceDataModule):
    facts_type = FeatureFacts

    def __init__(self, fault: str = "none", batch_size: int = 4, seed: int = 0):
        super().__init__(batch_size, seed)
        self.fault = fault

    def load(self, test_only):
        if self.fault != "facts":
            self.facts = FeatureFacts(2, ("a", "b"), (10, 10), (0.0, 0.0), (1.0, 1.0))
        self.train_data, self.validation_data = Noise(20, self.fault), Noise(8, "none")
        if self.fault != "split":
            self.test_data = Noise(0 if self.fault == "empty" else 8, "none")
"""
OWN_TRAIN = (
    "train",
    "logger=none",
    "experiment=speech/features",
    "model.hidden_size=4",
    "trainer.max_epochs=1",
)


@pytest.mark.slow
def test_data_of_ones_own_without_an_example(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "conf" / "data").mkdir(parents=True)
    (place.folder / "own_noise.py").write_text(OWN)
    (place.folder / "conf" / "data" / "mine.yaml").write_text(
        "_target_: own_noise.Mine\nfault: none\nbatch_size: 4\nseed: ${seed}\n"
    )
    monkeypatch.syspath_prepend(place.folder)
    out = place.ok(*OWN_TRAIN, "data=mine").out
    assert place.last().state() == "done"
    assert place.last().summary()["example_input"] == "..."
    assert "Next, try" in out
    assert "predict run=last input=\n" not in out
    digits = place.last().summary()["final"]["train/loss"]
    # The check of the first batch draws nothing that the training would have drawn.
    monkeypatch.setattr("gatewise.training.prepare.check_first_batches", lambda *_: None)
    place.ok(*OWN_TRAIN, "data=mine")
    assert place.last().summary()["final"]["train/loss"] == digits
    monkeypatch.undo()
    monkeypatch.syspath_prepend(place.folder)
    before = len(place.runs())
    for fault, said in {
        "tuple": "its training batch, a list, is not what SequenceClassification can score: AttributeError:",
        "missing": "the loss of SequenceClassification on its first training batch is nan",
        "target": "a SequenceBatch, is not what SequenceClassification can score: IndexError:",
        "bug": "its training split gives no batch: KeyError: 'column'",
        "facts": "load() has to set self.facts to FeatureFacts, but they are not set",
        "split": "its test split gives no batch: AttributeError:",
        "empty": "its test split gives no batch: no example is in it",
    }.items():
        line = place(*OWN_TRAIN, "data=mine", f"data.fault={fault}").line()
        assert line.startswith("gatewise: error: conf/data/mine.yaml:1: data._target_=own_noise.Mine: ")
        assert said in line
    assert len(place.runs()) == before
