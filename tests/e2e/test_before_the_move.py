"""Run directories and a sweep that the version before the house was rebuilt has left are still of use.

They were made by that version from ``tones.ts``, ``wave.csv`` and ``gates.txt``: two finished trainings, a
text training that SIGTERM had stopped in the middle of its second epoch, and a search that was stopped while
its third trial ran. What each would have come to, had it not been stopped, is in ``expected/``.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from workplace import Place

from gatewise.runs.run import Run

LEFT = Path(__file__).parent / "before_the_move"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "work"
    for name, where in {"trainings": "runs", "searches": "sweeps", "expected": "expected"}.items():
        shutil.copytree(LEFT / name, folder / where)
    for name in ("tones.ts", "wave.csv", "gates.txt"):
        shutil.copy(LEFT / name, folder)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".ckpt":
            path.write_text(path.read_text().replace("@HERE@", str(folder)))
    return Place(folder)


def the_run(place: Place, kind: str) -> Run:
    """The first one made of that kind."""
    return Run(min((place.folder / "runs" / kind).iterdir()))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same(one: list[dict[str, str]], other: list[dict[str, str]]) -> None:
    """Equal but for the last digits: sums over a split are made in float64 now."""
    assert [row.keys() for row in one] == [row.keys() for row in other]
    for ours, theirs in zip(one, other, strict=True):
        for name, value in theirs.items():
            try:
                number = float(value)
            except ValueError:
                assert ours[name] == value
            else:
                assert float(ours[name]) == pytest.approx(number, rel=2e-5), name


@pytest.mark.parametrize("kind", ["speech/files", "series/csv"])
def test_a_finished_run_scores_as_it_did(place: Place, kind: str) -> None:
    run = the_run(place, kind)
    place.ok("evaluate", f"run={run.folder}", "output=scores.json")
    scores = json.loads((place.folder / "scores.json").read_text())
    was: Any = run.summary()
    for name, value in was["test"].items():
        assert scores["test"][name] == pytest.approx(value, rel=1e-6), name
    for name, values in was["baselines"].items():
        for metric, value in values.items():
            assert scores["baselines"][name][metric] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "given", "lines"),
    [("speech/files", "tones.ts", 40), ("series/csv", "wave.csv", 3), ("text/files", "the gate", 10)],
)
def test_a_run_predicts(place: Place, kind: str, given: str, lines: int) -> None:
    place.ok("predict", f"run={the_run(place, kind).folder}", f"input={given}", "output=table.csv")
    assert len(rows(place.folder / "table.csv")) == lines


def from_one(before: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of ``metrics.csv``, in which that version counted epochs from 0."""
    return [{**row, "epoch": str(int(row["epoch"]) + 1)} for row in before]


def test_a_finished_run_trains_on(place: Place) -> None:
    run = the_run(place, "series/csv")
    before = from_one(rows(run.metrics_file))
    place.ok("train", f"resume={run.folder}", "trainer.max_epochs=4")
    assert rows(run.metrics_file)[:3] == before
    assert len(rows(run.metrics_file)) == 4


def test_a_text_that_was_stopped_in_mid_epoch_goes_on_there(place: Place) -> None:
    run = the_run(place, "text/files")
    assert len(rows(run.metrics_file)) == 1
    place.ok("train", f"resume={run.folder}")
    own = "bits_per_character"  # what words cost by character was not reported then
    found = [
        {name: value for name, value in row.items() if not name.endswith(own)}
        for row in rows(run.metrics_file)
    ]
    same(found, from_one(rows(place.folder / "expected" / "text_metrics.csv")))


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_to_the_table_of_the_unbroken_one(place: Place) -> None:
    (folder,) = (place.folder / "sweeps" / "speech" / "files").iterdir()
    assert len(rows(folder / "trials.csv")) == 2
    result = place("train", f"sweep.resume={folder}")
    assert result.code == 0, result.err
    same(rows(folder / "trials.csv"), rows(place.folder / "expected" / "trials.csv"))
