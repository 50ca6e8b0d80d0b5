"""One process at a time trains a run: a lock that names its holder and outlives no process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

BEAT_SECONDS = 5.0
"""How often a holder touches the lock, for machines between which the file system keeps no locks."""

SETTLING_SECONDS = 1.0
"""How long the text of one who found the file free may take to stand, where nothing else locks it."""

_LENGTH = 1024
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def holding(path: Path, patience_seconds: float) -> Iterator[None]:
    """Hold the lock file for this process; raises ValueError, naming the holder, where another one does.

    The system lets go of the lock when the process ends, however it ends. Where the file system keeps no
    locks, or only those of one machine, the file's own text tells: a process of this machine is looked up by
    its number and start time, one of another machine is watched for the beats that it gives. No clock is
    compared with another.
    """
    path.touch()
    with path.open("r+b") as file:
        locked = _take(file, path, patience_seconds)
        other = _holder(file)
        if other is not None and _lives(other, path, locked):
            raise _refused(path, other)
        mine = _this_process()
        _write(file, json.dumps(mine))
        if not locked:
            # Several may have come this far; the one whose text stands goes on.
            time.sleep(SETTLING_SECONDS)
            standing = _holder(file)
            if standing != mine:
                raise _refused(path, standing)
        ended = threading.Event()
        beats = threading.Thread(target=_beat, args=(file.fileno(), ended), daemon=True)
        beats.start()
        try:
            yield
        finally:
            ended.set()
            beats.join()
            with contextlib.suppress(OSError):  # a full disk: what was held is let go of all the same
                _write(file, "")


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file; found without writing, as a reader of others' runs must."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                other = _holder(file)
                # Of another machine's process nothing is known at once.
                return other is not None and (other["host"] != socket.gethostname() or _runs(other))
    except OSError:  # no lock file, or one that may not be read: nobody trains there
        pass
    return False


def _take(file: IO[bytes], path: Path, patience_seconds: float) -> bool:
    """Lock the file; False where its file system cannot, ValueError where it stays locked."""
    end = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                raise _refused(path, _new_holder(file)) from None
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False


def _new_holder(file: IO[bytes]) -> dict[str, Any] | None:
    """Who the file says holds it, once the one that has just locked it has written who it is."""
    end = time.monotonic() + 0.5
    while True:
        holder = _holder(file)
        known = holder is not None and (holder["host"] != socket.gethostname() or _runs(holder))
        if known or time.monotonic() > end:
            return holder
        time.sleep(0.02)


def _refused(path: Path, holder: dict[str, Any] | None) -> ValueError:
    who = "another process"
    if holder is not None:
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    return ValueError(f"{path.parent} is being trained by {who}: wait or stop it")


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "token": secrets.token_hex(8),
    }


def _holder(file: IO[bytes]) -> dict[str, Any] | None:
    """Who the file says holds it; None where nobody does, or the text is not whole."""
    try:
        found = json.loads(os.pread(file.fileno(), _LENGTH, 0))
    except ValueError:
        return None
    whole = isinstance(found, dict) and {"host", "pid", "started", "since"} <= found.keys()
    return found if whole and isinstance(found["pid"], int) else None


def _write(file: IO[bytes], text: str) -> None:
    # In one piece: of two that write at the same time the text of one stands.
    os.pwrite(file.fileno(), text.encode().ljust(_LENGTH), 0)


def _lives(holder: dict[str, Any], path: Path, locked: bool) -> bool:
    """Whether the one who wrote the file still runs; ``locked`` says whether we hold the system's lock."""
    if holder["host"] == socket.gethostname():
        # With the lock in our hands it has let go, whatever its number stands for today.
        return not locked and _runs(holder)
    before = path.stat().st_mtime_ns
    end = time.monotonic() + 3 * BEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 5)
        with path.open("rb") as file:  # opening it asks a file server anew
            if os.fstat(file.fileno()).st_mtime_ns != before:
                return True
    return False


def _runs(holder: dict[str, Any]) -> bool:
    started = _start_of(holder["pid"])
    return started is not None and started == holder["started"]


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, as a text that no later one shares; None where it is gone."""
    try:
        if Path("/proc/self").exists():
            # From the third field on; the name before it may hold anything.
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # Ended processes whose parent has not asked after them are zombies; ticks count from the boot.
            return None if state == "Z" else f"{boot} {fields[18]}"
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.strip() or None


def _beat(handle: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(handle)
