"""``output=`` of evaluate and predict: what it names is written as it is, and nothing else says it was."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from workplace import Place

FAST = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "test=false", "wandb.mode=disabled")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained") / "work")
    place.ok("train", "trainer.max_epochs=1", *FAST, "test=true", "trainer.limit_test_batches=2")
    (place.last().folder / "example.npy").rename(place.folder / "example.npy")
    return place


EVALUATE, PREDICT = ("evaluate", "run=last"), ("predict", "run=last", "input=example.npy")


def test_scores_go_through_a_link_and_replace_the_file(place: Place) -> None:
    (place.folder / "link.json").symlink_to("target.json")
    for _ in range(2):
        place.ok(*EVALUATE, "output=link.json")
        assert (place.folder / "link.json").is_symlink()
        assert set(json.loads((place.folder / "target.json").read_text())) == {"run", "test", "baselines"}


def test_a_prediction_is_csv_or_json_and_goes_to_a_fifo(place: Place) -> None:
    os.mkfifo(place.folder / "fifo")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((place.folder / "fifo").read_text()))
    reader.start()
    assert place.ok(*PREDICT, "output=fifo").out.endswith("\nwritten to fifo\n")
    reader.join(60)
    rows = list(csv.DictReader(read[0].splitlines()))
    assert stat.S_ISFIFO((place.folder / "fifo").stat().st_mode)
    place.ok(*PREDICT, "output=x.json")
    same = [
        {name: str(value) for name, value in row.items()}
        for row in json.loads((place.folder / "x.json").read_text())
    ]
    assert same == rows


@pytest.mark.parametrize("command", [EVALUATE, PREDICT], ids=["evaluate", "predict"])
def test_a_full_device_is_not_called_written(command: tuple[str, ...], place: Place) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    result = place(*command, "output=/dev/full")
    assert (result.code, "written to" in result.out) == (1, False)
    assert result.line() == (
        "gatewise: error: output=/dev/full: could not be written (No space left on device)"
    )
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize(
    ("command", "output", "says"),
    [
        (EVALUATE, "x.csv", "is written as JSON: name it x.json"),
        (PREDICT, "x.parquet", "CONLL or PNG: name it x.csv"),
        (PREDICT, "example.npy", "is written as CSV, JSON"),
        (PREDICT, "same", "is the input: name another file"),
        (EVALUATE, "runs/last/summary.json", "is a file of a run directory's own: name another"),
        (EVALUATE, "z" * 300, "cannot be written (File name too long)"),
    ],
)
def test_a_wrong_output_is_refused_before_the_work(
    command: tuple[str, ...], output: str, says: str, place: Place
) -> None:
    (place.folder / "same").unlink(missing_ok=True)
    (place.folder / "same").symlink_to("example.npy")
    before = (place.folder / "example.npy").read_bytes()
    result = place(*command, f"output={output}")
    assert (result.code, result.out) == (1, "")
    assert result.line().startswith("gatewise: error: output=")
    assert says in result.line()
    assert (place.folder / "example.npy").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["-"])
def test_the_standard_output_has_the_output_alone(name: str, place: Place) -> None:
    program = [sys.executable, "-m", "gatewise"]
    done = subprocess.run(
        [*program, *EVALUATE, f"output={name}"], cwd=place.folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == {"run", "test", "baselines"}
    line = '"$0" -m gatewise "$@" | head -1'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, *PREDICT, f"output={name}"],
        cwd=place.folder,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.count(",") >= 1


@pytest.mark.slow
def test_the_null_device_stays_one(place: Place) -> None:
    """One of its own: as root, the system's would be gone."""
    device = place.folder / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.open("rb").close()
    except OSError:
        pytest.skip("devices cannot be made or opened here")
    place.ok(*EVALUATE, "output=null")
    place.ok(*PREDICT, "output=null")
    assert stat.S_ISCHR(device.lstat().st_mode)
