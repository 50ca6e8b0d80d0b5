"""Links, hard links and FIFOs in a run directory: nothing of it is written elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gatewise.runs.inside import check_inside, is_inside, open_in_place
from gatewise.runs.lock import holding, is_held

APPENDING = os.O_WRONLY | os.O_APPEND


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a file outside of it, ``../outside/file``."""
    folder = tmp_path / "run"
    for name in ("checkpoints", "plots", "wandb/offline-run-20200101_000000-x/logs"):
        (folder / name).mkdir(parents=True)
    for name in ("log.txt", "checkpoints/best.ckpt"):
        (folder / name).write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    return folder


def link(to: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return make


def hard_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.link(path.parents[1] / "outside" / "file", path)


LEADS_OUT = {
    "file": (".lock", link("../outside/file")),
    "file that is there": ("log.txt", link("../outside/file")),
    "new file": ("metrics.csv", link("../outside/new")),
    "folder": ("plots", link("../outside")),
    "absolute": ("tensorboard", link("/tmp")),
    "below": ("checkpoints/last.ckpt", link("../../outside/file")),
    "by way of a link": ("plots/a.png", link("../checkpoints/../../outside/file")),
    "deep in a part of W&B's to come": ("wandb/run-29990101_000000-x", link("../../outside")),
    "of W&B": ("wandb/latest-run", link("../../outside")),
    "hard link": ("log.txt", hard_link),
    "FIFO": ("log.txt", lambda path: (path.unlink(), os.mkfifo(path))),
    "FIFO in a folder": ("plots/a.png", os.mkfifo),
    "FIFO in a folder of W&B's": ("wandb/offline-run-20200101_000000-x/y", os.mkfifo),
}


@pytest.mark.parametrize("case", LEADS_OUT)
def test_what_leads_out_is_named(case: str, run: Path) -> None:
    name, make = LEADS_OUT[case]
    make(run / name)
    with pytest.raises(ValueError, match=r"(leads out|hard link|is a FIFO)") as caught:
        check_inside(run)
    assert str(caught.value).startswith(f"{run}/{name}: is ")


def test_what_stays_inside_is_fine(run: Path) -> None:
    (run / "checkpoints" / "last.ckpt").symlink_to("best.ckpt")  # as save_last=link has it
    (run / "wandb" / "latest-run").symlink_to("offline-run-20200101_000000-x")
    os.link(run / "checkpoints" / "best.ckpt", run / "checkpoints" / ".last.ckpt.before")
    check_inside(run)
    (run.parent / "linked").symlink_to(run)
    check_inside(run.parent / "linked")


def test_links_that_wandb_has_made_are_fine(run: Path) -> None:
    past = run / "wandb" / "offline-run-20200101_000000-x"
    (past / "logs" / "debug-core.log").symlink_to("/root/.cache/wandb/logs/core.log")
    (past / "kept").symlink_to("/data/of/the/user")  # wandb.save
    to_come = (datetime.now() + timedelta(hours=9)).strftime("%Y%m%d_%H%M%S")  # made in another time zone
    (run / "wandb" / f"run-{to_come}-x" / "logs").mkdir(parents=True)
    (run / "wandb" / f"run-{to_come}-x" / "logs" / "debug-core.log").symlink_to("/root/.cache/wandb/core.log")
    check_inside(run)
    (run / "wandb" / f"run-{to_come}-x" / "logs" / "debug.log").symlink_to("/root/.bashrc")
    with pytest.raises(ValueError, match=r"debug.log: is a link that leads out"):
        check_inside(run)


def test_a_deep_folder_is_no_trouble(run: Path) -> None:
    before = Path.cwd()
    os.chdir(run)
    try:
        for _ in range(300):
            Path("deeper").mkdir()
            os.chdir("deeper")
    finally:
        os.chdir(before)
    check_inside(run)


def test_a_file_is_opened_to_append(run: Path) -> None:
    for name in ("log.txt", "new.txt"):
        with os.fdopen(open_in_place(run / name, APPENDING), "a") as file:
            file.write("+")
        assert (run / name).read_text().endswith("+")


@pytest.mark.parametrize("to", ["../outside/file", "../outside/new", "checkpoints/best.ckpt", "x.txt"])
def test_a_link_is_not_opened(to: str, run: Path) -> None:
    (run / "x.txt").symlink_to(to)
    with pytest.raises(ValueError, match=r"x.txt: is a link: put the file itself in its place"):
        open_in_place(run / "x.txt", APPENDING)


@pytest.mark.parametrize("flags", [APPENDING, os.O_RDWR], ids=["to append", "to read and write"])
def test_what_is_no_file_is_not_opened(flags: int, run: Path) -> None:
    os.mkfifo(run / "fifo")
    os.link(run.parent / "outside" / "file", run / "hard")
    for name in ("fifo", "hard", "plots"):
        with pytest.raises(ValueError, match=name):
            open_in_place(run / name, flags)


@pytest.mark.parametrize("make", [link("../outside/file"), hard_link], ids=["link", "hard link"])
def test_a_lock_that_is_a_file_elsewhere(make: Callable[[Path], None], run: Path) -> None:
    make(run / ".lock")
    with pytest.raises(ValueError, match=r"\.lock: is "), holding(run / ".lock", 0):
        pass
    assert (run.parent / "outside" / "file").read_text() == "mine"


def test_a_lock_that_is_a_fifo_is_held_by_nobody(run: Path) -> None:
    os.mkfifo(run / ".lock")
    assert not is_held(run / ".lock")
    with pytest.raises(ValueError, match=r"\.lock: is a FIFO and no file"), holding(run / ".lock", 0):
        pass


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("x", True),
        ("a/../x", True),
        (".", True),
        ("../x", False),
        ("out/x", False),
        ("/", False),
        ("\0", False),
    ],
)
def test_is_inside(name: str, inside: bool, run: Path) -> None:
    (run / "out").symlink_to("..")
    assert is_inside(run / name, run) is inside
