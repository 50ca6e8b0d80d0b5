"""Parts of a W&B run: what the files of the earlier ones hold, and how the next goes on."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from gatewise.runs.run import Run
from gatewise.training.loggers import new_points
from gatewise.training.wandb import RunLogger, finish, make_logger, start
from gatewise.training.wandb_parts import Parts, check_sent, read_parts


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))


def begun(run: Run, mode: str = "min") -> RunLogger:
    logger = make_logger(run)
    assert logger is not None
    start(logger, run)
    logger.keep_best({"val/loss": mode}, {})
    return logger


def written(folder: Path, rows: int) -> Parts:
    """The parts once they have this many rows: W&B's own process writes the last ones after ``finish``."""
    end = time.monotonic() + 60
    while (parts := read_parts(folder)).rows < rows and time.monotonic() < end:
        time.sleep(0.02)
    return parts


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_a_second_part_goes_on_after_the_first(run: Run) -> None:
    first = begun(run)
    for step in range(300):
        first.log_metrics({"step/loss": step / 2, "epoch": 0}, step)
    first.log_metrics({"val/loss": 0.25, "epoch": 0}, 299)
    finish([first], 0)
    folder = run.folder / "wandb"
    parts = written(folder, 301)
    assert (parts.rows, parts.last["step/loss"], parts.last["val/loss"]) == (301, 299, 299)
    assert parts.summary["val/loss"] == {"min": 0.25}

    second = begun(run)
    assert second.experiment.step == 301
    for step in range(290, 302):  # the steps since its last checkpoint are taken again
        second.log_metrics({"step/loss": step / 2, "epoch": 0}, step)
    assert second.experiment.step == 303
    finish([second], 0)
    assert written(folder, 303).rows == 303
    assert read_parts(folder).last["step/loss"] == 301

    # Of a file that was cut off, what came before the cut; of another's, nothing.
    (path, _) = sorted(folder.glob("offline-run-*/*.wandb"))
    for other in folder.glob("offline-run-*/*.wandb"):
        content = other.read_bytes()
        if other != path:
            other.write_bytes(b"")
    content = path.read_bytes()
    before = -1
    for size in [0, 3, 7, 8, 13, 14, *range(20, len(content), 997), len(content)]:
        path.write_bytes(content[:size])
        rows = read_parts(folder).rows
        assert rows >= before
        before = rows
    assert before == 301
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a file of W&B's"):
        read_parts(folder)


def test_where_there_is_none() -> None:
    assert read_parts(Path("/nowhere")) == Parts()


def test_a_logger_that_fails_is_left_alone(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def log(self, _: dict[str, Any]) -> None:
            raise BrokenPipeError("wandb-core is gone")

    monkeypatch.setattr(RunLogger, "experiment", Broken())
    logger = make_logger(run)
    assert logger is not None
    for step in range(3):
        logger.log_metrics({"val/loss": 1.0}, step)
    assert caplog.messages == ["W&B has failed, training goes on without it (wandb-core is gone)"]


def test_each_point_is_new_once() -> None:
    last: dict[str, int] = {}
    assert new_points({"loss": 1.0, "epoch": 0}, 3, last) == {"loss": 1.0, "epoch": 0}
    assert new_points({"loss": 2.0, "epoch": 0, "lr": 0.1}, 3, last) == {"lr": 0.1}
    assert new_points({"loss": 2.0}, 2, last) == {}
    assert new_points({"loss": 2.0, "epoch": 1}, 4, last) == {"loss": 2.0, "epoch": 1}
    assert new_points({"own": 1}, None, last) == {"own": 1}
    assert last == {"loss": 4, "epoch": 4, "lr": 3}


def record(**kind: Any) -> bytes:
    from google.protobuf.json_format import ParseDict
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    content: bytes = ParseDict(kind, messages.Record()).SerializeToString()
    return b":W&B\0\0\0" + struct.pack("<IHB", 0, len(content), 1) + content


def artifact(path: str) -> dict[str, Any]:
    return {"manifest": {"contents": [{"path": "a", "localPath": path}]}}


OUTSIDE = {
    "a file": {"files": {"files": [{"path": "../../../../mine"}]}},
    "a file by its path": {"files": {"files": [{"path": "/etc/hostname"}]}},
    "an artifact": {"artifact": artifact("/etc/hostname")},
    "an artifact to log": {"request": {"logArtifact": {"artifact": artifact("/etc/hostname")}}},
    "a manifest": {"artifact": {"manifest": {"manifestFilePath": "/etc/hostname"}}},
    "curves": {"tbrecord": {"logDir": "/home"}},
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("kind", OUTSIDE)
def test_wandb_uploads_no_file_that_a_run_names_elsewhere(kind: str, run: Run) -> None:
    folder = run.folder / "wandb" / "offline-run-20200101_000000-x"
    (folder / "files").mkdir(parents=True)
    (folder / "run-x.wandb").write_bytes(record(**OUTSIDE[kind]))
    with pytest.raises(ValueError, match=r"run-x.wandb: has W&B upload \S+, which is no file of the run"):
        check_sent(folder, run.folder)


@pytest.mark.usefixtures("alone")
def test_what_a_run_has_itself_is_uploaded(run: Run, tmp_path: Path) -> None:
    folder = run.folder / "wandb" / "offline-run-20200101_000000-x"
    (folder / "files").mkdir(parents=True)
    staged = str(tmp_path / "data" / "artifacts" / "staging" / "tmp1")
    for kind in (
        {"files": {"files": [{"path": "media/images/a.png"}]}},
        {"artifact": artifact(staged)},
        {"tbrecord": {"logDir": str(run.folder / "tensorboard")}},
        {"output": {"line": "x"}},
    ):
        (folder / "run-x.wandb").write_bytes(record(**kind))
        check_sent(folder, run.folder)
    (folder / "run-x.wandb").write_bytes(b":W&B\0\0\0" + struct.pack("<IHB", 0, 3, 1) + b"\xff\xff\xff")
    with pytest.raises(ValueError, match="not a file of W&B's"):
        check_sent(folder, run.folder)
