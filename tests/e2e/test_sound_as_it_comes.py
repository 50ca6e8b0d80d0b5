"""``gatewise predict stream=true``: the labels of a recording as it comes are those of the whole."""

from __future__ import annotations

import csv
import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from workplace import Place, write_spoken, write_text

OWN = ["experiment=speech/transcripts", "data.files=[mine.tsv]", "data.sample_rate=8000"]
OWN += ["model.hidden_size=8", "model.num_layers=1", "trainer.max_epochs=1", "model.engine=function"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("streams"))
    write_spoken(place.folder)
    place.train(*OWN, "model.bidirectional=false", "name=forward")
    return place


@pytest.mark.parametrize("beam", [1, 4])
def test_a_file_as_it_comes_is_read_as_the_whole(place: Place, beam: int) -> None:
    given = ("run=last", "input=spoken/3.wav", f"task.beam={beam}")
    place.ok("predict", *given, "output=whole.csv")
    with (place.folder / "whole.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    come = place("predict", *given, "stream=true", "wait=0")
    assert come.code == 0
    assert come.out.rstrip("\n") == row["transcript"]
    assert row["transcript"]
    assert "times real time" in come.line()


def test_a_pipe_is_answered_in_objects(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = (place.folder / "spoken" / "3.wav").read_bytes()[44:]
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(samples)))
    come = place("predict", "run=last", "input=-", "stream=true", "format=jsonl", "task.beam=1")
    read = [json.loads(line) for line in come.out.splitlines()]
    whole = place("predict", "run=last", "input=spoken/3.wav", "stream=true", "wait=0", "task.beam=1")
    assert "".join(each["unit"] for each in read) == whole.out.rstrip("\n")
    assert all(0 <= each["seconds"] <= each["heard"] for each in read)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["input=-", "output=x.txt"], "stream=true writes to the standard output"),
        (["input=spoken/3.wav", "format=csv"], "format=csv: stream=true writes text or jsonl"),
        (["input=none.wav"], "input=none.wav: there is no such file"),
        (["input=spoken/3.wav", "wait=-1"], "wait must be"),
        (["input=short.raw"], "of sound came"),
        ([], "input: stream=true reads sound from a file, or from input=-"),
    ],
)
def test_what_cannot_come_is_one_line(place: Place, settings: list[str], said: str) -> None:
    (place.folder / "short.raw").write_bytes(b"few bytes")
    result = place("predict", "run=last", "stream=true", "wait=0", *settings)
    assert result.code != 0
    assert said in result.line()


@pytest.mark.slow
def test_other_runs_say_why_they_cannot(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    write_spoken(place.folder)
    write_text(place.folder)
    place.train(*OWN)
    both = place("predict", "run=last", "input=spoken/3.wav", "stream=true")
    assert "this model reads from both ends (model.bidirectional=true)" in both.line()
    place.train(*OWN, "model.bidirectional=false", "data.normalise=recording")
    normalised = place("predict", "run=last", "input=spoken/3.wav", "stream=true")
    assert "features are normalised over each recording" in normalised.line()
    place.train(
        "experiment=text/files", "data.files=[mine.txt]", "model.hidden_size=8", "trainer.max_epochs=1"
    )
    text = place("predict", "run=last", "input=mine.txt", "stream=true")
    assert "stream=true" in text.line()
