"""What a process that was killed in the middle of a write has left, and what of it is removed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewise.runs.files import replacing
from gatewise.runs.left_behind import FILES, remove_abandoned
from gatewise.runs.run import Run


def killed(work: Callable[[], None]) -> None:
    """Do the work, which is to end with a kill, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    for folder in (run.checkpoints, run.plots):
        folder.mkdir(parents=True)
    (run.checkpoints / "last.ckpt").write_text("whole")
    return run


def test_files_that_were_being_written_are_removed(run: Run) -> None:
    names = [*FILES, "checkpoints/last.ckpt", "checkpoints/best-v1.ckpt", "plots/curves.png"]

    def write() -> None:
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(replacing(run.folder / name)).write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    killed(write)
    assert len(everything(run.folder)) == 1 + len(names)
    with run.lock():
        assert everything(run.folder) == [".lock", "checkpoints/last.ckpt"]
    assert (run.checkpoints / "last.ckpt").read_text() == "whole"


def test_what_a_resume_from_the_best_checkpoint_kept_is_removed(run: Run) -> None:
    before = run.checkpoints / ".last.ckpt.before"
    os.link(run.checkpoints / "last.ckpt", before)
    with run.lock():
        assert not before.exists()
    before.write_text("all there is")
    (run.checkpoints / "last.ckpt").unlink()
    with run.lock():
        assert before.exists()


KEPT = (
    *(".metrics.csv.swp", ".metrics.csv.ABCDEFGH", ".metrics.csv.abcdefghi", ".metrics.csv.", ".metrics.csv"),
    *("metrics.csv.abcdefgh", ".notes.txt.abcdefgh", ".mine.ckpt.abcdefgh", ".mine.png.abcdefgh"),
    *("plots/.notes.csv.abcdefgh", "checkpoints/.best.ckpt.old", "checkpoints/.ckpt.abcdefgh"),
)


def test_files_of_the_users_are_kept(run: Run) -> None:
    for name in KEPT:
        (run.folder / name).write_text(name)
    before = everything(run.folder)
    with run.lock():
        assert everything(run.folder) == sorted([".lock", *before])


ABANDONED = """
import os, signal, sys, tempfile
from gatewise.runs.left_behind import own_temporary_folder
with own_temporary_folder():
    kept = tempfile.TemporaryDirectory("wandb-media")
print(kept.name, flush=True)
sys.stdin.readline()
{end}
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["ends", "is killed"])
def test_a_temporary_folder_lives_as_long_as_its_process(end: str, temporary: Path) -> None:
    program = ABANDONED.format(end=end)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        made = Path(process.stdout.readline().strip())
        remove_abandoned()
        assert made.is_dir()
        assert made.is_relative_to(temporary)
        process.stdin.write("\n")
    assert made.exists() == bool(end)
    remove_abandoned()
    assert list(temporary.iterdir()) == []


def test_temporary_folders_that_are_not_ours_are_kept(temporary: Path) -> None:
    own = f"gatewise-{os.geteuid()}-"
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "lock").touch()
    (temporary / f"{own}link").symlink_to("elsewhere")
    (temporary / f"{own}begun").mkdir()  # and not locked yet
    (temporary / f"{own}planted").mkdir()
    (temporary / f"{own}planted" / "lock").symlink_to("../elsewhere/lock")
    (temporary / "gatewise-other").mkdir()
    (temporary / "gatewise-other" / "lock").touch()
    before = sorted(temporary.rglob("*"))
    remove_abandoned()
    assert sorted(temporary.rglob("*")) == before
