"""Atomic writing: a reader, or a crash at any moment, finds a complete file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gatewise.runs.inside import open_in_place
from gatewise.runs.reading import LARGEST, read_bytes

_LONGEST_BEGINNING = 200
"""Bytes of a file's name that its temporary one begins with; systems take 255."""


@contextlib.contextmanager
def replacing(path: Path, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """Open a file to write, which replaces ``path`` atomically when the body ends without an error.

    It gets the mode and the owner of ``like``, where that is given. An OSError about it (disk full, no such
    folder) names ``path``.
    """
    prefix = f".{os.fsdecode(os.fsencode(path.name)[:_LONGEST_BEGINNING])}."
    try:
        with _replacing(path, prefix, like) as file:
            yield file
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(prefix):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def _replacing(path: Path, prefix: str, like: os.stat_result | None) -> Iterator[BinaryIO]:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):  # a group that one is not in
                os.chown(temporary, like.st_uid, like.st_gid)
        # As open() would make it, where there was none.
        Path(temporary).chmod(0o666 & ~_umask() if like is None else stat.S_IMODE(like.st_mode))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically; if that raises OSError (disk full), the old content stays."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, values: Any) -> None:
    """Write plain values as JSON, atomically; NaN and infinities become null, which every reader accepts."""
    write_text(path, json_text(values))


def rewrite_json(path: Path, values: Any) -> None:
    """Write plain values over a short JSON file, in the room that it has: for a disk that is full."""
    content = json_text(values).encode()
    handle = open_in_place(path, os.O_WRONLY)
    try:
        # In one call, and longer than what it takes the place of: a reader finds the one or the other.
        os.pwrite(handle, content.ljust(os.fstat(handle).st_size), 0)
    finally:
        os.close(handle)


def json_text(values: Any) -> str:
    """Plain values as JSON; NaN and infinities become null, which every reader accepts."""
    return json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, most: int = LARGEST) -> Any:
    """Read JSON; raises ValueError naming the file if it is not JSON, or has more than ``most`` bytes."""
    content = read_bytes(path, most)
    try:
        values = json.loads(content.decode("utf-8"))
        if b"\\ud" in content.lower():  # half of a character, which cannot be written anywhere again
            json.dumps(values, ensure_ascii=False).encode()
        return values
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a huge number, lists nested too deeply
        raise ValueError(f"{path}: not JSON ({_first_line(error)})") from None


def read_json_object(path: Path, most: int = LARGEST) -> dict[str, Any]:
    """Read a JSON object; raises ValueError naming the file if it is anything else."""
    values = read_json(path, most)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold {{...}}, got a {type(values).__name__}; the file is damaged")
    return values


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
