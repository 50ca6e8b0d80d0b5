"""What is asked of SLURM about the jobs of a sweep, with commands of ours in the place of SLURM's."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from gatewise.sweeps.slurm import SlurmJobs


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands; ``asked`` has what they were called with, ``answer`` what squeue says."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("squeue", "scancel"):
        path = tmp_path / name
        files = [shlex.quote(str(tmp_path / file)) for file in ("asked", "answer")]
        path.write_text(
            f'#!/bin/sh\necho {name} "$@" >> {files[0]}\n[ {name} = squeue ] && cat {files[1]}\nexit 0\n'
        )
        path.chmod(0o755)
    (tmp_path / "answer").write_text("")
    return tmp_path


def submitted(folder: Path, job: str, sweep: str) -> None:
    (folder / job).mkdir(parents=True)
    (folder / job / f"{job}_submitted.pkl").write_bytes(b"\x80\x04" + sweep.encode() + b"\x94")


def test_what_jobs_wait_for_is_said_once(slurm: Path) -> None:
    said: list[str] = []
    jobs = SlurmJobs(f"{slurm}/logs/%j", "2026-11-26_mine", said.append)
    jobs.look()
    assert not (slurm / "asked").exists()
    for index in range(3):
        submitted(slurm / "logs", f"41_{index}", "2026-11-26_mine")
    submitted(slurm / "logs", "42", "2026-11-26_another")
    answer = slurm / "answer"
    answer.write_text("PENDING|Resources\nPENDING|Resources\nRUNNING|None\n")
    jobs.look()
    jobs.look()
    answer.write_text("PENDING|QOSMaxJobsPerUserLimit\nRUNNING|None\nRUNNING|None\n")
    jobs.look()
    answer.write_text("")
    jobs.look()
    assert said == [
        "SLURM job 41: 2 pending (Resources), 1 running",
        "SLURM job 41: 1 pending (QOSMaxJobsPerUserLimit), 2 running",
    ]
    first, *_ = (slurm / "asked").read_text().splitlines()
    assert first == "squeue --noheader --array --jobs=41 --format=%T|%r"


def test_only_jobs_of_the_batch_that_runs_are_cancelled(slurm: Path) -> None:
    said: list[str] = []
    jobs = SlurmJobs(f"{slurm}/logs/%A/%a", "mine", said.append)
    submitted(slurm / "logs", "50", "mine")
    jobs.begin()
    jobs.cancel()
    submitted(slurm / "logs", "51_0", "mine")
    submitted(slurm / "logs", "52", "mine")
    jobs.cancel()
    assert said == ["Cancelled: SLURM jobs 51, 52"]
    assert (slurm / "asked").read_text() == "scancel 51 52\n"


def test_without_slurms_commands_the_jobs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    jobs = SlurmJobs(f"{tmp_path}/%j", "mine", said.append)
    submitted(tmp_path, "7", "mine")
    jobs.look()
    jobs.cancel()
    assert said == ["SLURM job 7 may still be queued or running (scancel: no answer). Cancel with: scancel 7"]
