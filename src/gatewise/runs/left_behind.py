"""What a process that was killed while it wrote has left, for the next one to remove."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

FILES = frozenset(
    (
        *("config.yaml", "overrides.yaml", "facts.json", "status.json", "summary.json", "test_report.json"),
        *("metrics.csv", "validations.csv", "times.csv", "code.diff", "code_resumed.diff"),
    )
)
"""Files of a run directory that are written whole, beside those of ``checkpoints``, ``plots``, ``tables``."""
FILES_OF_A_SWEEP = frozenset(("sweep.yaml", "summary.json", "trials.csv", "runs.csv", "compare.html"))
LAST_BEFORE = ".last.ckpt.before"
"""The last checkpoint that a resume from the best one keeps until it has begun."""
_LOCK = "lock"
_UNFINISHED = re.compile(r"\.(.+)\.[a-z0-9_]{8}")
"""A temporary file of :func:`gatewise.runs.files.replacing`, with the name it was to have."""


def remove_unfinished(folder: Path, files: frozenset[str]) -> None:
    """Remove what was being written in a run or a sweep when its process was killed; hold its lock.

    ``files`` are the names it may have in the folder itself.
    """
    checkpoints = folder / "checkpoints"
    unfinished = [path for path in folder.glob(".*") if _name(path) in files]
    unfinished += [path for path in checkpoints.glob("**/.*") if _name(path).endswith(".ckpt")]
    unfinished += [path for path in (folder / "plots").glob(".*") if _name(path).endswith(".png")]
    unfinished += [path for path in (folder / "tables").glob(".*") if _name(path).endswith(".csv")]
    if (checkpoints / "last.ckpt").is_file():
        unfinished.append(checkpoints / LAST_BEFORE)
    for path in unfinished:
        if path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)


def _name(path: Path) -> str:
    """The name that a temporary file was to have; empty for any other file."""
    unfinished = _UNFINISHED.fullmatch(path.name)
    return "" if unfinished is None else unfinished[1]


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Have what the body makes in the system's temporary folder be removed, should this process be killed.

    It is made in a folder of its own there. As long as this process lives, or one that it forks, it holds the
    lock in it; without that, the next process removes the folder.
    """
    before = tempfile.tempdir
    try:
        folder = own_folder()
    except OSError:  # no locks there: as it is without Gatewise
        yield
        return
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def own_folder() -> Path:
    """Make a temporary folder that lives as long as this process, or one that it forks.

    Raises OSError where there is no place for one, or no locks.
    """
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_beginning()))
    atexit.register(_remove_own, folder, os.getpid())
    handle = os.open(folder / "new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / "new").rename(folder / _LOCK)  # locked before anyone looks
    return folder


def remove_abandoned() -> None:
    """Remove the temporary folders of killed processes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_beginning()}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def _remove_own(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def _beginning() -> str:
    return f"gatewise-{os.geteuid()}-"
