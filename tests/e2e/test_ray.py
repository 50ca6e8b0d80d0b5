"""A sweep on a real Ray cluster of this machine, with two workers."""

from __future__ import annotations

import importlib.util
import re

import pytest
from workplace import Place, processes_naming, wait_until

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
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    runs = [Run(folder) for folder in place.runs()]
    assert sorted(run.choices()["model"] or "" for run in runs) == ["gru", "lstm", "rnn"]
    for run in runs:
        assert run.state() == "done"
        assert [row["epoch"] for row in read_metrics(run.metrics_file)] == [0, 1]
    # Two processes had the three jobs, and the cluster is gone with the sweep.
    assert len({process_of(run) for run in runs}) == 2
    wait_until(lambda: not processes_naming(f"node-ip-address=127.0.0.1 --cwd={place.folder}"), 20)


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
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out  # one of the two is there to be chosen
    assert "data.batch_size" in out
    assert [Run(folder).state() for folder in place.runs()] == ["done"]
