"""Resuming a run or a sweep that has links, hard links and FIFOs in it: nothing outside changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from strangers import FAST
from workplace import Place

from gatewise.runs.run import Run


def everything(folder: Path) -> dict[str, tuple[bytes | str | None, int]]:
    """What every path below a folder is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content: bytes | str | None = str(path.readlink())
        else:
            content = path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = content, path.lstat().st_mode
    return found


def to_file(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parents[len(path.parts) - path.parts.index("runs") - 1] / "mine" / "best.ckpt")


def to_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.symlink_to(path.parents[2] / "mine")


def hard(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.link(path.parents[2] / "mine" / "best.ckpt", path)


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


ATTACKS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(
        (
            *(
                ".lock",
                "log.txt",
                "log_rank1.txt",
                "metrics.csv",
                "validations.csv",
                "config.yaml",
                "facts.json",
            ),
            *("status.json", "summary.json", "test_report.json", "code_resumed.diff", "example.npy"),
            *("checkpoints/last.ckpt", "checkpoints/best.ckpt", "plots/learning_curves.png"),
        ),
        to_file,
    ),
    **dict.fromkeys(("checkpoints", "plots", "wandb", "tensorboard", "lightning_logs"), to_folder),
}


QUICK = (".lock", "log.txt", "checkpoints", "plots/learning_curves.png")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ATTACKS]
)
def test_a_link_is_not_written_through(name: str, attacked: Run, place: Place) -> None:
    ATTACKS[name](attacked.folder / name)
    refused(place, f"runs/r/{name}: is a link that leads out of ")


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("log.txt", hard, "log.txt: is also a file outside (a hard link)"),
        pytest.param(".lock", hard, ".lock: is also a file outside (a hard link)", marks=pytest.mark.slow),
        pytest.param("log.txt", fifo, "log.txt: is a FIFO and no file", marks=pytest.mark.slow),
        (".lock", fifo, ".lock: is a FIFO and no file"),
    ],
)
def test_what_is_no_file_of_the_runs_own(
    name: str, make: Callable[[Path], None], says: str, attacked: Run, place: Place
) -> None:
    make(attacked.folder / name)
    refused(place, says)


def refused(place: Place, says: str) -> None:
    before = everything(place.folder)
    result = place("train", "resume=runs/r", "trainer.max_epochs=2", *FAST)
    assert result.code == 1
    assert says in result.line()
    assert everything(place.folder) == before


def test_a_run_below_a_link_is_resumed(attacked: Run, place: Place) -> None:
    """A user's ``runs`` on another disk, and links within the run as Lightning and W&B make them."""
    (place.folder / "disk").mkdir()
    (place.folder / "runs").rename(place.folder / "disk" / "runs")
    (place.folder / "runs").symlink_to("disk/runs")
    (place.folder / "short").symlink_to("runs/r")
    (attacked.folder / "wandb" / "offline-run-20200101_000000-r").mkdir(parents=True)
    (attacked.folder / "wandb" / "latest-run").symlink_to("offline-run-20200101_000000-r")
    (attacked.folder / "checkpoints" / "chosen.ckpt").symlink_to("best.ckpt")
    place.ok("train", "resume=short", "trainer.max_epochs=2", *FAST)
    assert attacked.state() == "done"
    assert [row.split(",")[0] for row in attacked.metrics_file.read_text().splitlines()[1:]] == ["1", "2"]


def test_a_sync_does_not_follow_links_either(attacked: Run, place: Place) -> None:
    (place.folder / "mine" / "run-x.wandb").write_bytes(b":W&B")
    (attacked.folder / "wandb").mkdir(exist_ok=True)
    (attacked.folder / "wandb" / "offline-run-20200101_000000-x").symlink_to(place.folder / "mine")
    (attacked.folder / "wandb" / "offline-run-29990101_000000-x").symlink_to(place.folder / "mine")
    result = place("sync", "run=runs/r")
    assert result.code == 1
    assert "offline-run-20200101_000000-x: is a link that leads out" in result.line()


@pytest.mark.parametrize("name", ["study.journal", "plots", "output", "trials.csv", ".lock"])
def test_a_sweep_is_not_written_through_a_link(name: str, place: Place) -> None:
    folder = place.folder / "sweeps" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text("{}")
    (place.folder / "mine").mkdir()
    (folder / name).symlink_to(place.folder / "mine")
    from gatewise.sweeps.folder import Sweep

    with pytest.raises(ValueError, match="is a link that leads out"), Sweep(folder).lock():
        pass
    assert list((place.folder / "mine").iterdir()) == []
