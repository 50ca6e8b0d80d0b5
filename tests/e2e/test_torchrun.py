"""Two "machines" that torchrun joins: processes of this one, with an agent each, under one port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from workplace import PATIENCE, Place, processes_naming, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.training.mid_epoch import is_mid_epoch

SHORT = ["trainer=torchrun", "trainer.accelerator=cpu", "trainer.max_epochs=2"]


class Machines:
    """An agent for each of two machines, with one process each; ``argv`` is the user's command."""

    def __init__(self, place: Place, *argv: str, restarts: int = 0, number: int = 2) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        self.mark = f"id-{endpoint}"
        options = [
            f"--nnodes={number}",
            "--nproc-per-node=1",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={endpoint}",
        ]
        options += [f"--rdzv-id={self.mark}", f"--max-restarts={restarts}"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "gatewise", *argv]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.out = [place.folder / f"machine{index}.txt" for index in range(number)]
        self.agents = []
        for path in self.out:
            with path.open("wb") as out:
                self.agents.append(
                    subprocess.Popen(command, cwd=place.folder, env=environment, stdout=out, stderr=out)
                )

    def end(self) -> str:
        """What both printed, once they are gone."""
        for agent in self.agents:
            agent.wait(PATIENCE)
        return "".join(path.read_text() for path in self.out)

    def kill(self) -> None:
        for agent in self.agents:
            agent.kill()
            agent.wait()


def workers(place: Place, *argv: str) -> list[int]:
    """The training processes in this folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            inside = (folder / "cwd").readlink() == place.folder
        except OSError:
            continue
        if inside and "torch.distributed.run" not in words and {"gatewise", *argv} <= set(words):
            found.append(int(folder.name))
    return sorted(found)


@pytest.mark.slow
def test_two_machines_train_one_run(place: Place) -> None:
    machines = Machines(place, "train", *SHORT)
    out = machines.end()
    assert [agent.returncode for agent in machines.agents] == [0, 0], out
    run = place.last()
    assert place.runs() == [run.folder]
    assert (run.state(), run.summary()["processes"]) == ("done", 2)
    assert len(list((run.folder / "wandb").glob("offline-run-*"))) == 1
    assert (out.count("epoch 1/2"), out.count("Run directory")) == (1, 1)
    config = run.config().trainer
    assert (config.devices, config.num_nodes) == (1, 2)
    # And it is the training that one process does.
    one = Place(place.folder / "one").train("trainer.max_epochs=2")
    rows = zip(read_metrics(run.metrics_file), read_metrics(one.metrics_file), strict=True)
    assert all(
        row == {key: pytest.approx(value, rel=1e-5) for key, value in other.items()} for row, other in rows
    )


@pytest.mark.slow
def test_a_process_that_is_lost_is_started_again_and_goes_on(place: Place) -> None:
    long = ["trainer.max_epochs=60", "callbacks.early_stopping.patience=60", "wandb.mode=disabled"]
    machines = Machines(place, "train", *SHORT[:2], *long, restarts=2)
    try:
        wait_until(lambda: place.runs() and len(read_metrics(place.last().metrics_file)) > 2)
        os.kill(workers(place, "train")[-1], signal.SIGKILL)
        out = machines.end()
        assert [agent.returncode for agent in machines.agents] == [0, 0], out
        run = place.last()
        assert place.runs() == [run.folder]
        assert run.state() == "done"
        assert [row["epoch"] for row in read_metrics(run.metrics_file)] == list(range(1, 61))
    finally:
        machines.kill()


@pytest.mark.slow
@pytest.mark.parametrize("told", [[0, 1], [1]], ids=["both", "that without rank 0"])
def test_agents_that_are_asked_to_end_leave_a_checkpoint_in_mid_epoch(told: list[int], place: Place) -> None:
    long = ["trainer.max_epochs=40", "callbacks.early_stopping.patience=60", "wandb.mode=disabled"]
    machines = Machines(place, "train", *SHORT[:2], *long)
    try:
        wait_until(lambda: place.runs() and len(read_metrics(place.last().metrics_file)) > 2)
        for index in told:
            machines.agents[index].terminate()
        machines.end()
    finally:
        machines.kill()
    run = place.last()
    assert (run.state(), run.reason()) == ("interrupted", "stopped by SIGTERM")
    assert is_mid_epoch(torch.load(run.checkpoint("last"), weights_only=True))
    again = Machines(place, "train", *SHORT[:2], *long, f"resume={run.folder}")
    out = again.end()
    assert [agent.returncode for agent in again.agents] == [0, 0], out
    assert run.state() == "done"
    whole = Place(place.folder / "whole").train(*long, "trainer=ddp_cpu")
    assert run.metrics_file.read_text() == whole.metrics_file.read_text()


@pytest.mark.slow
def test_agents_that_are_killed_leave_no_process(place: Place) -> None:
    machines = Machines(
        place, "train", *SHORT[:2], "trainer.max_epochs=500", "callbacks.early_stopping.patience=500"
    )
    try:
        wait_until(lambda: place.runs() and len(read_metrics(place.last().metrics_file)) > 1)
        assert len(workers(place, "train")) == 2
    finally:
        machines.kill()
    wait_until(lambda: not workers(place, "train") and not processes_naming(machines.mark))
    wait_until(lambda: place.last().state() == "interrupted")


MISTAKES = [
    (
        ["trainer=ddp_cpu"],
        "trainer.devices=2 on trainer.num_nodes=1 machines: torchrun has started 1 processes on 1",
    ),
    (["-m", "trainer=torchrun", "seed=1,2"], "torchrun starts the processes of one training: leave out -m"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("argv", "line"), MISTAKES)
def test_what_torchrun_cannot_start(argv: list[str], line: str, place: Place) -> None:
    machines = Machines(place, "train", *argv, number=1)
    out = machines.end()
    assert "gatewise: error: " in out
    assert line in out
    assert machines.agents[0].returncode != 0
    assert place.runs() == []
