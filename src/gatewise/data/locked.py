"""One process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from gatewise.data.known.progress import tell

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_LOOK_SECONDS = 0.1
_QUIET_SECONDS = 1.0
"""How long to wait for another process before a line says so."""


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Let one process at a time do what is ``doing``; the others wait. The lock ends with the process.

    Where the file system has no locks, two at once may disturb each other.
    """
    with path.open("ab") as file:
        begun, is_told = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_told and time.monotonic() - begun > _QUIET_SECONDS:
                    tell(f"{doing} by another process: waiting for it")
                    is_told = True
                time.sleep(_LOOK_SECONDS)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
        yield
