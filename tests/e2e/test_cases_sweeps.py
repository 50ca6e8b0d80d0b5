"""Sweeps that went wrong for somebody: each case by its name, with its input made here."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from workplace import Place, read_json, write_sequences

from gatewise.runs.run import Run

TINY = ["debug=one_batch", "test=false", "~callbacks.learning_curves", "model.hidden_size=4"]


def last(place: Place) -> Path:
    return (place.folder / "sweeps" / "last").resolve()


def table(place: Place, name: str = "trials") -> list[dict[str, str]]:
    with (last(place) / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_duplicate_draws(place: Place) -> None:
    write_sequences(place.folder)
    argv = ["experiment=speech/features", "logger=none", "data.train_file=mine.ts", "trainer.max_epochs=1"]
    argv += ["test=false", "sweep=random", "sweep.trials=5", "model.hidden_size=choice(4,8)"]
    result = place.ok("train", *argv, "optimizer.lr=0.003", "task.dropout=0")
    assert sorted(Run(folder).config().model.hidden_size for folder in place.runs()) == [4, 8]
    assert sorted(row["model.hidden_size"] for row in table(place) if not row.get("same as trial")) == [
        "4",
        "8",
    ]
    assert "All 2 configurations of the space were drawn after" in result.out
    assert read_json(last(place) / "summary.json")["trainings"] == 2
    # With the result of one that is trained already where the space is not used up.
    again = place.ok("train", *argv, "optimizer.lr=0.003,0.004", "sweep.trials=3", "seed=4")
    drawn = table(place)
    assert [(row["model.hidden_size"], row["optimizer.lr"], row["same as trial"]) for row in drawn] == [
        ("8", "0.003", ""), ("4", "0.003", ""), ("4", "0.003", "1"),
    ]  # fmt: skip
    assert drawn[2]["val/loss"] == drawn[1]["val/loss"] != drawn[0]["val/loss"]
    assert len(place.runs()) == 4
    assert len(table(place, "runs")) == 2
    line = "3 trials, 2 trainings: 1 drew a configuration again and took over its result (2 as 1)."
    assert line in again.out


@pytest.mark.slow
def test_values_that_a_grid_lists_twice(place: Place) -> None:
    result = place.ok("train", "-m", *TINY, "optimizer.lr=0.01,1e-2,0.02,0.01")
    assert "optimizer.lr: 0.01 is listed more than once and tried once" in result.out
    assert [row["optimizer.lr"] for row in table(place)] == ["0.01", "0.02"]
    assert len(place.runs()) == 2


@pytest.fixture
def searched(place: Place) -> Place:
    """After a random search of three trials."""
    place.ok("train", "sweep=random", *TINY[:3], "sweep.trials=3")
    return place


DAMAGES = {
    "removed": (lambda _: None, "is missing: 3 trials"),
    "emptied": (lambda _: [], "is empty: 3 trials"),
    "cut": (lambda lines: lines[: len(lines) // 2], "has lost lines: "),
    "overwritten": (
        lambda lines: [lines[0], b"\0\xff nonsense\n", *lines[2:]],
        "is damaged in line 2: 3 trials",
    ),
    "last_line": (lambda lines: [*lines[:-1], lines[-1][:20]], None),
}


@pytest.mark.slow
def test_a_journal_that_is_lost_is_taken_back_from_the_runs(searched: Place) -> None:
    journal, runs = last(searched) / "study.journal", searched.runs()
    lines, tables = (
        journal.read_bytes().splitlines(keepends=True),
        (last(searched) / "trials.csv").read_bytes(),
    )
    for damage, said in DAMAGES.values():
        left: Any = damage(lines)
        journal.unlink()
        if left is not None:
            journal.write_bytes(b"".join(left))
        result = searched.ok("train", "sweep.resume=last")
        assert (last(searched) / "trials.csv").read_bytes() == tables
        assert searched.runs() == runs
        if said is None:
            assert "study.journal" not in result.out
        else:
            assert f"study.journal {said}" in result.out
    # Nothing that was there is thrown away.
    assert b"nonsense" in (last(searched) / "study.journal.damaged").read_bytes()


@pytest.mark.slow
def test_what_cannot_be_taken_back_is_not_trained_again_unasked(searched: Place) -> None:
    folder = last(searched)
    gone = Run((folder / table(searched, "runs")[1]["run"]).resolve()).folder
    shutil.rmtree(gone)
    tables = {name: (folder / name).read_bytes() for name in ("trials.csv", "runs.csv")}
    # With its journal the sweep has all results, and writes its tables anew.
    for name in tables:
        (folder / name).unlink()
    shutil.rmtree(folder / "output")
    shutil.rmtree(folder / "plots")
    result = searched.ok("train", "sweep.resume=last")
    assert (
        f"1 run of this sweep removed ({os.path.relpath(gone, searched.folder)}): the results" in result.out
    )
    assert {name: (folder / name).read_bytes() for name in tables} == tables
    assert (folder / "plots" / "trials.png").is_file()
    # Without it, they are in the tables alone.
    (folder / "study.journal").unlink()
    refused = searched("train", "sweep.resume=last")
    assert refused.code == 1
    assert refused.line() == (
        f"gatewise: error: sweep.resume={os.path.relpath(folder, searched.folder)}: study.journal is "
        f"missing, and the run directory of trial 1 cannot be found: put the journal or the runs back, or "
        f"remove trials.csv to train again"
    )
    assert not (folder / "study.journal").exists()
    assert len(searched.runs()) == 2
    (folder / "trials.csv").unlink()
    searched.ok("train", "sweep.resume=last")
    assert (folder / "trials.csv").read_bytes() == tables["trials.csv"]
    assert len(searched.runs()) == 3


@pytest.mark.parametrize("params", ["sweep.params={}", "++sweep.params={}", "sweep.params=null"])
def test_ranges_of_a_preset_that_are_emptied(place: Place, params: str) -> None:
    result = place("train", "sweep=tpe", params)
    assert result.code == 1
    assert result.line().startswith("gatewise: error: sweep.params: there is nothing to search")


FAKE_SCANCEL = '#!/bin/sh\necho "$@" >> {log}\nexit {code}\n'


class SlurmLauncher(BasicLauncher):
    """Writes what submitit writes for an array of two jobs, and is interrupted while it waits for them."""

    __module__ = "hydra_plugins.fake_slurm"

    def __init__(self, submitit_folder: str) -> None:
        super().__init__()
        self.folder = submitit_folder

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:  # noqa: ARG002
        for index, overrides in enumerate(job_overrides):
            self.write(f"71_{index}", str(overrides))
        # A job of another sweep, which keeps its files in the same folder.
        self.write("99", "sweep.job={folder:elsewhere}")
        os.kill(os.getpid(), signal.SIGINT)

    def write(self, job: str, content: str) -> None:
        folder = Path(self.folder.replace("%j", job))
        folder.mkdir(parents=True)
        (folder / f"{job}_submitted.pkl").write_text(content)


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 1])
def test_ctrl_c_cancels_the_jobs_of_slurm(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    monkeypatch.setitem(sys.modules, SlurmLauncher.__module__, sys.modules[__name__])
    Plugins.instance().register(SlurmLauncher)
    scancel, log = tmp_path / "bin" / "scancel", tmp_path / "cancelled"
    scancel.parent.mkdir()
    scancel.write_text(FAKE_SCANCEL.format(log=shlex.quote(str(log)), code=code))
    scancel.chmod(scancel.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(scancel.parent), prepend=os.pathsep)
    launcher = ["hydra.launcher._target_=hydra_plugins.fake_slurm.SlurmLauncher"]
    launcher.append(f"+hydra.launcher.submitit_folder={tmp_path}/jobs/%j")
    result = place("train", "-m", *TINY, "model=lstm,gru", *launcher)
    assert result.code == 130
    assert log.read_text() == "71\n"
    if code == 0:
        assert "Cancelled: SLURM job 71\n" in result.out
    else:
        line = "SLURM job 71 may still be queued or running (scancel: exit code 1). Cancel with: scancel 71\n"
        assert line in result.out
    assert "Interrupted. Go on with: " in result.out


@pytest.mark.slow
def test_a_sweep_whose_folder_has_spaces_says_how_to_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewise.sweeps import workers

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "carry_out", interrupt)
    result = place("train", "-m", *TINY, "seed=1,2", "name='lr=0.1, b'")
    assert result.code == 130
    (line,) = [line for line in result.out.splitlines() if line.startswith("Interrupted. Go on with: ")]
    words = shlex.split(line.partition(": ")[2])
    assert words[:4] == ["python", "-m", "gatewise", "train"]
    monkeypatch.undo()
    place.ok(*words[3:])
    assert len(place.runs()) == 2
