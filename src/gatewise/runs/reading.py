"""Read the files of a run directory, which may have come from anywhere or have been edited.

A FIFO or a device in place of a file would be waited for without end, and a file of terabytes that holds
nothing but a hole would fill the memory. Both are refused before a byte is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LARGEST = 512 * 2**20
"""Most bytes of a file of data: the words of a large vocabulary, the rows of many epochs."""
LARGEST_SETTINGS = 4 * 2**20
"""Most bytes of a file of settings, and of one of a few values."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def special(path: Path) -> str | None:
    """What stands in place of a file (``a FIFO``, ``a device``); None for a file, and where there is none."""
    try:
        return _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:
        return None


def is_there(path: Path) -> bool:
    """Whether there is something of that name to read, if only a FIFO, whose reader then says what it is."""
    return path.exists() and not path.is_dir()


@contextmanager
def opened(path: Path, most: int | None = None) -> Iterator[BinaryIO]:
    """A regular file to read from, of at most ``most`` bytes.

    Raises ValueError, naming it, for anything else (a FIFO is not waited for) and for a larger file; OSError
    where the system refuses.
    """
    try:
        # Without O_NONBLOCK opening a FIFO would wait for somebody who writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if (kind := special(path)) is not None:  # a socket, or a device that is not there
            raise ValueError(f"{path}: is {kind} and no file: remove it") from error
        raise
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
            raise ValueError(f"{path}: is {kind} and no file: remove it")
        if most is not None and status.st_size > most:
            raise ValueError(
                f"{path}: has {status.st_size / 2**20:,.0f} MiB, more than the {most / 2**20:,.0f} MiB that "
                f"are read; the file is damaged"
            )
        yield file


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """The content of a regular file; errors as of :func:`opened`."""
    with opened(path, most) as file:
        # What is appended meanwhile is not read.
        return file.read(most)


def read_text(path: Path, most: int = LARGEST) -> str:
    """The text of a regular UTF-8 file; errors as of :func:`opened`, and UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8")
