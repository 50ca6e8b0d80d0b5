"""What W&B gets of a training that has ended, as the file of an offline run holds it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gatewise.runs.run import Run
from gatewise.training.checkpoints import Chosen
from gatewise.training.wandb import RunLogger, finish, make_logger, start
from gatewise.training.wandb_parts import _records, check_sent
from gatewise.training.wandb_results import log_results, log_weights

SUMMARY = {
    "test": {"loss": 0.5, "accuracy": 0.75},
    "baselines": {"majority class": {"accuracy": 0.25}},
}
TASK: Any = SimpleNamespace(meanings=lambda: {"accuracy": "higher is better"})


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))


def part(run: Run, best: Chosen, step: int, **settings: Any) -> RunLogger:
    """One process's part of a W&B run, which ends with its results."""
    logger = make_logger(run, **settings)
    assert logger is not None
    start(logger, run)
    log_results(logger, SUMMARY, TASK, step)
    log_weights(logger, run, best)
    finish([logger], 0)
    return logger


def artifacts(run: Run, count: int, ended: int = 1) -> list[Any]:
    """The artifacts in the files of so many parts, once all is there: W&B's own process writes them."""
    end = time.monotonic() + 60
    while True:
        records = [r for p in run.folder.glob("wandb/*run-*/*.wandb") for r in _records(p.read_bytes())]
        found = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
        exits = sum(r.WhichOneof("record_type") == "exit" for r in records)
        if (len(found) >= count and exits == ended) or time.monotonic() > end:
            return found
        time.sleep(0.02)


@pytest.fixture
def best(run: Run) -> Chosen:
    path = run.checkpoints / "best.ckpt"
    path.write_bytes(b"weights")
    return Chosen(path, "best weights", "val/loss", {"epoch": 3.0, "val/loss": 0.25})


def test_the_results_are_a_table(run: Run, best: Chosen, tmp_path: Path) -> None:
    part(run, best, 10)
    (table,) = artifacts(run, 1)
    assert (table.type, table.name) == ("run_table", f"run-{run.id}-results")
    (path,) = run.folder.glob("wandb/*run-*/files/media/table/*.json")
    values = json.loads(path.read_text())
    assert values["columns"] == ["metric", "this run", "majority class", "meaning"]
    assert values["data"] == [["accuracy", 0.75, 0.25, "higher is better"], ["loss", 0.5, None, ""]]
    # Nothing was asked of the weights, and no file lies in the user's home.
    assert not list(run.folder.rglob("wandb/*run-*/artifacts/*.ckpt"))
    assert not (tmp_path / "data").exists()


def test_what_was_not_tested_has_no_table(run: Run) -> None:
    logger = make_logger(run)
    assert logger is not None
    log_results(logger, {"test": {}, "baselines": {}}, TASK, 10)
    assert logger._begun is None


def test_the_best_weights_once_over_all_parts(run: Run, best: Chosen) -> None:
    assert best.path is not None
    for number, step in enumerate((10, 20), start=1):
        part(run, best, step, artifact="best")
        artifacts(run, 1 + number, ended=number)
    best.path.unlink()  # a better one takes its place, as a new file
    best.path.write_bytes(b"better weights")
    part(run, best, 30, artifact="best")
    found = [a for a in artifacts(run, 5, ended=3) if a.type == "model"]
    assert [a.name for a in found] == [f"model-{run.id}"] * 2
    metadata = {"metric": "val/loss", "value": 0.25, "epoch": 3.0, "run": run.id}
    assert [json.loads(a.metadata) for a in found] == [metadata] * 2
    assert set(found[0].aliases) == {"best", "latest"}
    kept = sorted(Path(a.manifest.contents[0].local_path).read_bytes() for a in found)
    assert kept == [b"better weights", b"weights"]
    for folder in run.folder.glob("wandb/*run-*"):
        check_sent(folder, run.folder)


def test_a_run_that_was_moved_is_uploaded_without_them(run: Run, best: Chosen, tmp_path: Path) -> None:
    part(run, best, 10, artifact="best")
    artifacts(run, 2)
    moved = Run(tmp_path / "moved" / run.id)
    moved.folder.parent.mkdir()
    run.folder.rename(moved.folder)
    (folder,) = moved.folder.glob("wandb/offline-run-*")
    check_sent(folder, moved.folder)


@pytest.mark.parametrize("setting", [True, "last", 0, "bset"])
def test_what_is_no_artifact(setting: Any, run: Run) -> None:
    with pytest.raises(ValueError, match=r"artifact=\S+ is unknown.*choose one of: best, false"):
        make_logger(run, artifact=setting)


def test_where_it_fails_the_training_goes_on(
    run: Run, best: Chosen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        id = run.id
        dir = str(run.folder / "wandb" / "offline-run-x" / "files")

        def log(self, _: dict[str, Any]) -> None:
            raise OSError("No space left on device")

    monkeypatch.setattr(RunLogger, "experiment", Full())
    logger = make_logger(run, artifact="best")
    assert logger is not None
    log_results(logger, SUMMARY, TASK, 10)
    log_weights(logger, run, best)
    assert caplog.messages == ["W&B has failed, training goes on without it (No space left on device)"]
