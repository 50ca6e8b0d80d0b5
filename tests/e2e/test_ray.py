"""A sweep on a real Ray cluster of this machine, with two workers."""

from __future__ import annotations

import importlib.util
import re
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import PATIENCE, Place, finish, processes_naming, wait_until

from gatewise.runs.metrics import read_metrics
from gatewise.runs.run import Run

NEEDED = ("ray", "hydra_plugins.hydra_ray_launcher")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name.split(".")[0]) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here (pip install 'gatewise[ray]')"),
]


def test_a_sweep_runs_on_two_workers(place: Place) -> None:
    two = [
        "launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init._node_ip_address=127.0.0.1",
        "wandb.mode=disabled",
        "trainer.max_epochs=2",
    ]
    process = place.start("train", *two, "model=lstm,gru,rnn", "optimizer.lr=0.01")
    out = finish(process)
    assert process.returncode == 0, out
    runs = [Run(folder) for folder in place.runs()]
    assert sorted(run.choices()["model"] or "" for run in runs) == ["gru", "lstm", "rnn"]
    for run in runs:
        assert run.state() == "done"
        assert [row["epoch"] for row in read_metrics(run.metrics_file)] == [1, 2]
    # Two processes had the three jobs, and the cluster is gone with the sweep.
    assert len({process_of(run) for run in runs}) == 2
    wait_until(lambda: not processes_naming(f"node-ip-address=127.0.0.1 --cwd={place.folder}"))


def process_of(run: Run) -> str:
    found = re.search(r'"pid": (\d+)', (run.folder / "status.json").read_text())
    assert found is not None
    return found[1]


def test_a_job_that_fails_is_named_and_the_others_go_on(place: Place) -> None:
    two = [
        "launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init._node_ip_address=127.0.0.1",
        "wandb.mode=disabled",
        "trainer.max_epochs=1",
    ]
    process = place.start("train", *two, "data.batch_size=32,-1")
    out = finish(process)
    assert process.returncode == 0, out  # one of the two is there to be chosen
    assert "data.batch_size" in out
    assert [Run(folder).state() for folder in place.runs()] == ["done"]


@pytest.fixture
def head() -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster that runs: its address, and the environment in which it lets one in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in token.items():
            patch.setenv(name, value)
        options = ["--head", "--block", "--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}"]
        options += ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
        # Short, as its sockets lie below it; small, as tasks hand on next to nothing.
        options += [f"--temp-dir={folder}", "--object-store-memory=80000000"]
        with (Path(folder) / "head.txt").open("wb") as out:
            command = [str(Path(sys.executable).with_name("ray")), "start", *options]
            # Its processes work where it was started, which is not where the sweep is.
            started = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        wait_until(lambda: b"--block" in (Path(folder) / "head.txt").read_bytes())
        yield address, token
        started.terminate()
        started.wait(PATIENCE)
        wait_until(lambda: not processes_naming(folder))


def test_a_cluster_that_runs_already_is_joined_and_left(
    head: tuple[str, dict[str, str]], place: Place
) -> None:
    address, token = head
    there = [
        "launcher=ray",
        f"hydra.launcher.ray.init.address={address}",
        "+hydra.launcher.ray.init._node_ip_address=127.0.0.1",
        "wandb.mode=disabled",
        "trainer.max_epochs=2",
    ]
    process = place.start("train", *there, "model=lstm,gru", **token)
    out = finish(process)
    assert process.returncode == 0, out
    assert "Connecting to existing Ray cluster at address: " in out
    runs = [Run(folder) for folder in place.runs()]
    assert sorted(run.choices()["model"] or "" for run in runs) == ["gru", "lstm"]
    assert [run.state() for run in runs] == ["done", "done"]
    assert len({process_of(run) for run in runs}) == 2
    # It still runs, and lets nobody in without its token.
    stranger = place.start("train", *there, "model=rnn,gru", **token | {"RAY_AUTH_TOKEN": "0" * 64})
    out = finish(stranger)
    assert stranger.returncode == 1, out
    assert "gatewise: error: all 2 trials failed, the first one: the launcher failed: " in out
    assert len(place.runs()) == 2
