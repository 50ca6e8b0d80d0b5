"""What SLURM or torchrun starts again finds the runs of its trainings."""

from __future__ import annotations

import pytest

from gatewise.launch.requeue import Job

FIRST = {"SLURM_JOB_ID": "7"}
NAMED = {"TORCHELASTIC_RUN_ID": "mine"}
AGAIN = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda environment, *overrides: Job(tmp_path / "runs", overrides, environment)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "runs" / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    return folder


def test_a_training_finds_its_run_after_the_job_was_put_back(job, folder):
    assert job(FIRST, "seed=1").begun() is None
    job(FIRST, "seed=1").begin(folder)
    assert job(AGAIN, "seed=1").begun() == folder


OTHERS = [
    (FIRST, ["seed=1"]),  # the same command a second time in one job
    (AGAIN, ["seed=2"]),
    (AGAIN, []),
    ({**AGAIN, "SLURM_JOB_ID": "8"}, ["seed=1"]),
    ({"SLURM_RESTART_COUNT": "1"}, ["seed=1"]),
    ({}, ["seed=1"]),
    (NAMED, ["seed=1"]),
]


@pytest.mark.parametrize(("environment", "overrides"), OTHERS)
def test_no_other_training_does(environment, overrides, job, folder):
    job(FIRST, "seed=1").begin(folder)
    assert job(environment, *overrides).begun() is None


@pytest.mark.parametrize(("state", "goes_on"), [("running", True), ("failed", True), ("done", False)])
def test_torchrun_goes_on_with_what_is_not_done(state, goes_on, job, folder):
    (folder / "status.json").write_text(f'{{"state": "{state}"}}')
    job(NAMED, "seed=1").begin(folder)
    assert job(NAMED, "seed=1").begun() == (folder if goes_on else None)
    for other in ({"TORCHELASTIC_RUN_ID": "other"}, {"TORCHELASTIC_RUN_ID": "none"}, AGAIN):
        assert job(other, "seed=1").begun() is None
    # Without a name every one would be the same.
    job({"TORCHELASTIC_RUN_ID": "none"}, "seed=2").begin(folder)
    assert job({"TORCHELASTIC_RUN_ID": "none"}, "seed=2").begun() is None


def test_nor_one_elsewhere(job, folder, tmp_path, monkeypatch):
    job(FIRST, "seed=1").begin(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert job(AGAIN, "seed=1").begun() is None


def test_a_run_that_is_gone_is_begun_anew(job, folder):
    job(FIRST, "seed=1").begin(folder)
    (folder / "config.yaml").unlink()
    assert job(AGAIN, "seed=1").begun() is None


def test_outside_of_slurm_nothing_is_written(job, folder, tmp_path):
    job({}, "seed=1").begin(folder)
    assert not (tmp_path / "runs" / ".jobs").exists()


@pytest.mark.parametrize("number", ["../../../x", "a/b", "7_2", "a\nb\x1b[31m", "9" * 300])
def test_its_file_lies_among_those_of_jobs(number, job, folder, tmp_path):
    begun = {"SLURM_JOB_ID": number, "SLURM_RESTART_COUNT": "1"}
    job(begun, "seed=1").begin(folder)
    assert job(begun, "seed=1").begun() == folder
    (file,) = (tmp_path / "runs" / ".jobs").iterdir()
    assert file.is_file()
    assert file.name.isprintable()
