"""Sweeps on a real SLURM cluster of one node, which the test starts."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from slurm_cluster import cluster, missing
from workplace import Place, finish, read_json, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

WHY_NOT = missing()
if WHY_NOT is None and importlib.util.find_spec("submitit") is None:
    WHY_NOT = "no submitit here (pip install 'gatewise[slurm]')"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

ON_SLURM = [
    "launcher=slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.timeout_min=10",
    "wandb.mode=disabled",
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def ask(slurm: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout


def test_a_sweep_is_a_job_array(slurm: dict[str, str], place: Place) -> None:
    process = place.start("train", *ON_SLURM, "trainer.max_epochs=2", "model=gru,rnn", **slurm)
    # Both wait or run at the same time, as parts of one array.
    wait_until(lambda: len(set(ask(slurm, "squeue", "-h", "-r", "-o", "%A %i").split())) == 4)
    out = finish(process)
    assert process.returncode == 0, out
    runs = {run.choices()["model"]: run for run in map(Run, place.runs())}
    assert {model: run.state() for model, run in runs.items()} == {"gru": "done", "rnn": "done"}
    assert all(len(read_metrics(run.metrics_file)) == 2 for run in runs.values())


def test_two_processes_in_one_job(slurm: dict[str, str], place: Place) -> None:
    """Lightning by itself takes a job for one process of one training, and waits for the others."""
    two = ["trainer=ddp_cpu", "hydra.launcher.cpus_per_task=2", "trainer.max_epochs=2"]
    process = place.start("train", *ON_SLURM, *two, **slurm)
    out = finish(process)
    assert process.returncode == 0, out
    (folder,) = place.runs()
    assert (Run(folder).state(), Run(folder).summary()["processes"]) == ("done", 2)


@pytest.mark.timeout(900)
def test_a_job_that_is_stopped_for_its_time_limit_goes_on_in_the_same_run(
    slurm: dict[str, str], place: Place
) -> None:
    """The signal of the time limit, twice, at moments of our own."""
    epochs = ["trainer.max_epochs=400", "callbacks.early_stopping.patience=400", "test=false"]
    process = place.start("train", *ON_SLURM, *epochs, **slurm)
    rows: list[int] = []
    for restart in (1, 2):
        wait_until(lambda: place.runs() and _epochs(place) > (rows[-1] if rows else 0) + 2)
        (job,) = set(ask(slurm, "squeue", "-h", "-r", "-t", "R", "-o", "%i").split())
        ask(slurm, "scancel", "--signal=USR2", job)
        wait_until(lambda: place.last().state() == "interrupted")
        assert read_json(place.last().folder / "status.json")["reason"] == "stopped by its launcher"
        rows.append(_epochs(place))
        wait_until(lambda j=job, n=restart: f"Restarts={n}" in ask(slurm, "scontrol", "show", "job", j))
    out = finish(process)
    assert process.returncode == 0, out
    (folder,) = place.runs()
    assert Run(folder).state() == "done"
    found = read_metrics(Run(folder).metrics_file)
    assert [row["epoch"] for row in found] == list(range(1, 401))
    assert rows[0] < rows[1] < 400
    # One requeue each: nobody else put it back as well.
    wait_until(lambda: not ask(slurm, "squeue", "-h", "-r"))
    assert "Restarts=2" in ask(slurm, "scontrol", "show", "job", job)


def _epochs(place: Place) -> int:
    return len(read_metrics(place.last().metrics_file))


SLOWLY = """
import time
import pytorch_lightning as pl

class Slowly(pl.Callback):
    "Makes an epoch of eight batches last longer than SLURM's shortest limit, a minute."
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        time.sleep(12)
"""


@pytest.mark.timeout(900)
def test_an_epoch_that_is_longer_than_the_time_limit_comes_to_its_end(
    slurm: dict[str, str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM itself sends the signal, again and again: each job takes the epoch a few steps further."""
    (place.folder / "slowly.py").write_text(SLOWLY)
    monkeypatch.setenv("PYTHONPATH", str(place.folder), prepend=":")
    argv = ["data.batch_size=27", "trainer.max_epochs=1", "test=false"]
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30"]
    slowly = "+callbacks.slowly._target_=slowly.Slowly"
    process = place.start("train", *ON_SLURM, *limit, *argv, slowly, **slurm)
    wait_until(lambda: ask(slurm, "squeue", "-h", "-r", "-t", "R", "-o", "%i"))
    job = ask(slurm, "squeue", "-h", "-r", "-t", "R", "-o", "%i").strip()
    wait_until(lambda: not ask(slurm, "squeue", "-h", "-r"), 800)
    told = ask(slurm, "scontrol", "show", "job", job)
    restarts = re.search(r"Restarts=(\d+)", told)
    assert restarts is not None
    assert int(restarts[1]) >= 2, told
    out = finish(process)
    assert process.returncode == 0, out
    (folder,) = place.runs()
    assert Run(folder).state() == "done"
    whole = Place(place.folder / "whole").train(*argv)
    assert Run(folder).metrics_file.read_text() == whole.metrics_file.read_text()


BATCH = """#!/bin/bash
#SBATCH --requeue --signal=B:TERM@30
{python} -m gatewise train wandb.mode=disabled trainer.max_epochs=300 callbacks.early_stopping.patience=300 &
child=$!
trap 'kill -TERM $child' TERM
wait $child; code=$?
trap - TERM
if [ $code -gt 128 ]; then wait $child; code=$?; fi
if [ $code -eq 143 ]; then scontrol requeue $SLURM_JOB_ID; fi
exit $code
"""


def test_a_batch_script_of_ones_own(slurm: dict[str, str], place: Place) -> None:
    script = place.folder / "job.sh"
    script.write_text(BATCH.format(python=sys.executable))
    job = ask(slurm, "sbatch", "--parsable", f"--chdir={place.folder}", str(script)).strip()
    wait_until(lambda: place.runs() and _epochs(place) > 2)
    before = _epochs(place)
    ask(slurm, "scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: place.last().state() == "interrupted")
    wait_until(lambda: place.last().state() == "done")
    assert len(place.runs()) == 1
    assert len(read_metrics(place.last().metrics_file)) == 300 > before
