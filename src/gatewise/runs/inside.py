"""What is written in a run directory stays in it: no link leads out, and no file is one elsewhere as well.

A run directory may have come from anywhere, and what is written to a link ends up where that leads.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from datetime import datetime
from pathlib import Path

_KINDS = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a disk"))
_WANDB, _OF_ONE_PROCESS = "wandb", re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-")
_OF_WANDB = "debug-core.log"
"""A link that W&B makes in each of its folders; it leads to its cache, and nothing is written to it."""


def check_inside(folder: Path) -> None:
    """Raise ValueError, naming the place, for what would have a write in a run or sweep end outside of it.

    That is a link that leads out, a file that has a name outside as well (a hard link), and what is neither
    file nor folder. Links within it, such as W&B's ``latest-run``, are fine.
    """
    whole = Path(os.path.realpath(folder))
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], tuple[Path, int]] = {}
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.is_symlink():
                    _check_link(path, folder, whole)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                else:
                    found = entry.stat(follow_symlinks=False)
                    _check_kind(path, found)
                    if found.st_nlink > 1:
                        file = (found.st_dev, found.st_ino)
                        names[file] += 1
                        linked[file] = path, found.st_nlink
    for file, (path, count) in linked.items():
        if names[file] < count:
            raise ValueError(_has_other_names(path))


def open_in_place(path: Path, flags: int) -> int:
    """A descriptor of a file of a run that is written in place, made where there is none.

    Raises ValueError where that is a link, has other names, or is no file.
    """
    try:
        flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise ValueError(f"{path}: is a link: put the file itself in its place") from None
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a FIFO without a reader, a socket, a folder
            raise ValueError(f"{path}: is no file: remove it") from None
        raise
    try:
        found = os.fstat(handle)
        _check_kind(path, found)
        if found.st_nlink > 1:
            raise ValueError(_has_other_names(path))
    except ValueError:
        os.close(handle)
        raise
    os.set_blocking(handle, True)
    return handle


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, followed through all links, lies in a folder."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):
        return False


def _check_link(path: Path, folder: Path, whole: Path) -> None:
    if is_inside(path, whole) or _is_in_past_of_wandb(path.relative_to(folder)):
        return
    raise ValueError(
        f"{path}: is a link that leads out of {folder}, which is written inside alone: move what it leads to "
        f"in its place (or all of {folder.name} there, and link that)"
    )


def _is_in_past_of_wandb(path: Path) -> bool:
    """Whether a link lies where W&B has written and does so no more: its folders are named by their time."""
    if len(path.parts) < 3 or path.parts[0] != _WANDB:
        return False
    begun = _OF_ONE_PROCESS.match(path.parts[1])
    past = begun is not None and begun[1] < datetime.now().strftime("%Y%m%d_%H%M%S")
    return past or path.name == _OF_WANDB


def _check_kind(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for holds, name in _KINDS if holds(found.st_mode)), "a device")
        raise ValueError(f"{path}: is {kind} and no file: remove it")


def _has_other_names(path: Path) -> str:
    return f"{path}: is also a file outside (a hard link): resume a copy of the whole directory (cp -r)"
