"""Sweeps that are killed at any moment and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from workplace import PATIENCE, Place, processes_naming, wait_for_line, wait_until

SEARCH = [
    "sweep=tpe",
    "wandb.mode=disabled",
    "test=false",
    "~callbacks.learning_curves",
    "sweep.sampler.n_startup_trials=2",
    "sweep.pruner.n_startup_trials=2",
    "sweep.pruner.n_warmup_steps=1",
    "sweep.retries=20",
]


def last(place: Place) -> Path:
    return (place.folder / "sweeps" / "last").resolve()


def training_process(place: Place) -> int | None:
    """Some process that trains a run now."""
    for path in place.folder.glob("runs/speech/*/*/status.json"):
        status = json.loads(path.read_text())
        if status["state"] == "running" and Path(f"/proc/{status['pid']}").exists():
            return int(status["pid"])
    return None


def kill(process: subprocess.Popen[str], place: Place, draw: random.Random) -> str:
    """SIGKILL to the sweep, or to one of its trainings and then to the sweep."""
    worker = training_process(place)
    if worker is not None and draw.random() < 0.4:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        time.sleep(draw.uniform(0, 1))
    state = "ended" if process.poll() is not None else "killed"
    process.kill()
    process.wait(PATIENCE)
    assert process.stdout is not None
    process.stdout.close()
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "longest", "settings"),
    [
        (1, 0.5, ["sweep.trials=4", "trainer.max_epochs=3", "trainer.limit_train_batches=3"]),
        (20, 2.5, ["sweep.trials=24", "trainer.max_epochs=8", "sweep.seeds=[1,2]"]),
    ],
)
@pytest.mark.timeout(1800)
def test_a_sweep_killed_at_random_moments_ends_in_the_table_of_the_unbroken_one(
    tmp_path: Path, kills: int, longest: float, settings: list[str]
) -> None:
    """A kill comes at most ``longest`` seconds after the sweep's beginning, or that of a training."""
    draw = random.Random(kills)
    place = Place(tmp_path / "broken")
    argv = ["train", *SEARCH, *settings, "sweep.jobs=2"]
    killed = 0
    for _ in range(kills):
        process = place.start(*argv)
        try:
            wait_for_line(process, "Sweep")
            if draw.random() < 0.8:  # else before anything is trained
                wait_until(lambda p=process: training_process(place) is not None or p.poll() is not None)
            time.sleep(draw.uniform(0.0, longest))
        finally:
            killed += kill(process, place, draw) == "killed"
        # Nothing goes on behind the user's back.
        wait_until(lambda: not processes_naming(str(place.folder)))
        wait_until(lambda: training_process(place) is None)
        argv = ["train", "sweep.resume=last"]
    assert killed >= kills / 2, "the search is too short to be killed"
    place.ok("train", "sweep.resume=last", "sweep.jobs=1")
    whole = Place(tmp_path / "whole")
    whole.ok("train", *SEARCH, *settings)
    assert (last(place) / "trials.csv").read_bytes() == (last(whole) / "trials.csv").read_bytes()
    # No training was begun twice, and none was left out.
    assert len(place.runs()) == len(whole.runs())


@pytest.mark.slow
def test_a_journal_that_was_cut_in_a_line_is_read_to_the_line_before(place: Place) -> None:
    argv = [*SEARCH[:4], "debug=one_batch"]
    place.ok("train", "sweep=random", *argv[1:], "sweep.trials=2")
    journal, tables = last(place) / "study.journal", (last(place) / "trials.csv").read_bytes()
    lines = journal.read_bytes().splitlines(keepends=True)
    # Without the line that says trial 1 has ended, but for its beginning.
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    place.ok("train", "sweep.resume=last")
    assert (last(place) / "trials.csv").read_bytes() == tables
    assert len(place.runs()) == 2


@pytest.mark.slow
def test_a_second_process_is_refused(place: Place) -> None:
    from gatewise.sweeps.folder import Sweep

    place.ok("train", "sweep=random", *SEARCH[1:4], "debug=one_batch", "sweep.trials=1")
    with Sweep(last(place)).lock():
        result = place("train", "sweep.resume=last")
    assert result.code == 1
    assert result.line().startswith(
        f"gatewise: error: {last(place)} is being trained by process {os.getpid()} "
    )


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_config_files_that_it_was_started_with(tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    conf = {
        "optimizer/mine.yaml": "_target_: torch.optim.SGD\nlr: 0.05\nmomentum: 0.5\n",
        "local/default.yaml": "# @package _global_\ntask:\n  dropout: 0.25\n",
    }
    settings = ["optimizer=mine", "model.hidden_size=4,5,6", "data.batch_size=32"]
    argv = ["train", "-m", *SEARCH[1:4], "debug=one_batch", *settings]
    for name, text in conf.items():
        path = place.folder / "conf" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    place.ok(*argv)
    tables = (last(place) / "trials.csv").read_bytes()
    # As it was killed in the second training: the third was not drawn, the second has no checkpoint.
    journal = last(place) / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    runs = [json.loads(line).get("user_attrs", {}).get("runs") for line in lines]
    drawn = [index for index, found in enumerate(runs) if found]
    journal.write_bytes(b"".join(lines[: drawn[1] + 1]))
    (last(place) / "trials.csv").unlink()
    for index in drawn[1:]:
        shutil.rmtree(runs[index][0])
    (place.folder / "conf" / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 5.0\n")
    (place.folder / "conf" / "local" / "default.yaml").unlink()
    result = place.ok("train", "sweep.resume=last")
    assert (last(place) / "trials.csv").read_bytes() == tables
    (line,) = [line for line in result.out.splitlines() if line.startswith("Config files")]
    kept = os.path.relpath(last(place) / "configs", place.folder)
    assert line == (
        "Config files are not what they were: conf/local/default.yaml, conf/optimizer/mine.yaml. "
        f"The sweep goes on with its own, in {kept}"
    )
    # A new sweep has the files of now.
    place.ok(*argv)
    assert (last(place) / "trials.csv").read_bytes() != tables
