"""What happens to a training that is stopped, or loses a process: nothing is left running, and it says so."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Place, finish, read_json, wait_for_line, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

# Quick ones of these kinds: test_resume.py (Ctrl-C, SIGKILL), test_mid_epoch.py (SIGTERM), test_ddp.py.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc"),
]

LONG = ["trainer.max_epochs=500", "callbacks.early_stopping.patience=500"]


class Drill:
    """A command in a session of its own, all of whose processes can be found."""

    def __init__(self, place: Place, *argv: str) -> None:
        self.mark = f"GATEWISE_DRILL={uuid.uuid4().hex}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatewise", *argv],
            cwd=place.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**clean, name: value, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def processes(self) -> dict[int, str]:
        """Command lines of all that this command started and that live."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        return found

    def rank(self, number: int) -> int:
        """The process of a further rank; there are two in all."""
        assert number == 1
        return next(pid for pid, line in self.processes().items() if "gatewise.training.rank" in line)

    def end(self) -> str:
        """What it printed, once it and everything it started is gone."""
        out = finish(self.process)
        wait_until(lambda: not self.processes())
        return out


@pytest.fixture
def start(place: Place) -> Iterator[type[Drill]]:
    drills: list[Drill] = []

    def begin(*argv: str) -> Drill:
        drills.append(Drill(place, *argv))
        return drills[-1]

    yield begin  # type: ignore[misc]
    for drill in drills:
        for pid in drill.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        drill.process.communicate()


TWO, ONE = ["trainer=ddp_cpu"], ["trainer=cpu"]
GO_ON = "Interrupted. Go on with: python -m gatewise train resume=runs/"
STOPS = [
    # processes, signal, to whom, exit code, a line of the output, status
    (ONE, signal.SIGTERM, "launcher", 143, GO_ON, "stopped by SIGTERM"),
    (ONE, signal.SIGUSR1, "launcher", 138, GO_ON, "stopped by SIGUSR1"),
    (ONE, signal.SIGHUP, "launcher", 129, GO_ON, "stopped by SIGHUP"),
    (ONE, signal.SIGTERM, "group", 143, GO_ON, "stopped by SIGTERM"),
    (TWO, signal.SIGTERM, "launcher", 143, GO_ON, "stopped by SIGTERM"),
    (TWO, signal.SIGTERM, "group", 143, GO_ON, "stopped by SIGTERM"),
    (TWO, signal.SIGINT, "group", 130, GO_ON, "stopped by the user"),
    (TWO, signal.SIGKILL, "launcher", -9, None, None),
    (
        TWO,
        signal.SIGKILL,
        "rank 1",
        1,
        "rank 1 was killed (SIGKILL: by someone, or by the system as memory",
        None,
    ),
]


def _case(processes, number, to, *expected):
    count = 2 if processes is TWO else 1
    return pytest.param(processes, number, to, *expected, id=f"{number.name} to {to} of {count}")


@pytest.mark.parametrize(
    ("processes", "number", "to", "code", "line", "reason"), [_case(*case) for case in STOPS]
)
def test_a_stop_leaves_a_checkpoint_a_status_and_no_process(
    processes, number, to, code, line, reason, place, start
):
    """W&B is on, offline: its service has to end too."""
    drill = start("train", *processes, *LONG)
    wait_for_line(drill.process, "epoch 2/")
    if to == "group":
        os.killpg(drill.process.pid, number)
    else:
        os.kill(drill.rank(1) if to == "rank 1" else drill.process.pid, number)
    out = drill.end()
    assert drill.process.returncode == code, out
    assert "Traceback" not in out
    assert "Warning" not in out
    assert "sync_dist" not in out
    run = place.last()
    assert run.state() == ("failed" if to == "rank 1" else "interrupted")
    if line is not None:
        assert line in out
    if reason is not None:
        assert read_json(run.folder / "status.json")["reason"] == reason
    epochs = len(read_metrics(run.metrics_file))
    assert epochs >= 2
    assert run.checkpoint("last").is_file()
    result = place("train", "resume=last", f"trainer.max_epochs={epochs + 1}", "trainer.devices=1")
    assert (result.code, run.state()) == (0, "done"), result.err
    assert len(read_metrics(run.metrics_file)) == epochs + 1


def test_three_jobs_of_two_processes_each_are_three_runs(place: Place, start) -> None:
    drill = start("train", "-m", "trainer=ddp_cpu", "trainer.max_epochs=2", "model=lstm,gru,rnn")
    out = drill.end()
    assert drill.process.returncode == 0, out
    runs = [Run(folder) for folder in place.runs()]
    assert sorted(run.choices()["model"] or "" for run in runs) == ["gru", "lstm", "rnn"]
    for run in runs:
        assert (run.state(), run.summary()["processes"]) == ("done", 2)
        assert len(read_metrics(run.metrics_file)) == 2
        assert [path.name for path in run.folder.glob("log_rank*")] == ["log_rank1.txt"]
        (wandb,) = (run.folder / "wandb").glob("offline-run-*")
        assert wandb.name.endswith(run.id)
        assert list(wandb.glob("*.wandb"))


def test_a_job_that_loses_a_process_fails_alone(place: Place, start) -> None:
    drill = start("train", "-m", "trainer=ddp_cpu", "model=lstm,gru", "trainer.max_epochs=40")
    begun = "runs/speech/*/*/checkpoints/last.ckpt"
    wait_until(lambda: list(place.folder.glob(begun)), process=drill.process)
    os.kill(drill.rank(1), signal.SIGKILL)
    out = drill.end()
    assert drill.process.returncode == 0, out
    assert re.search(r"trial 0 \(model=lstm\): .*rank 1 was killed \(SIGKILL", out), out
    states = {run.choices()["model"]: run.state() for run in map(Run, place.runs())}
    assert states == {"lstm": "failed", "gru": "done"}
