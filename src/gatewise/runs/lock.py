"""A lock so that only one process at a time trains a run; it names its holder and ends with the process."""

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

from gatewise.runs.inside import open_in_place

HEARTBEAT_SECONDS = 5.0
"""How often the holder touches the lock file, for file systems without locks between machines."""

SETTLING_SECONDS = 1.0
"""How long to wait, without locks, for processes that saw the file free at the same time to write to it."""

_LENGTH = 1024
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def holding(path: Path, patience_seconds: float) -> Iterator[None]:
    """Hold the lock file for this process; raises ValueError, naming the holder, if another process has it.

    The system releases the lock when the process ends, however it ends. If the file system has no locks, or
    only within one machine, the text in the file decides: a process on this machine is looked up by its pid
    and start time, and a process on another machine is watched for heartbeats. The clocks of two machines are
    never compared.
    """
    with os.fdopen(open_in_place(path, os.O_RDWR), "r+b") as file:
        locked = _take(file, path, patience_seconds)
        previous = _holder(file)
        if previous is not None and _is_alive(previous, path, locked):
            raise _refused(path, previous)
        this_process = _this_process()
        _write(file, json.dumps(this_process))
        if not locked:
            # Several processes may get here at once; the one that wrote last continues.
            time.sleep(SETTLING_SECONDS)
            holder = _holder(file)
            if holder != this_process:
                raise _refused(path, holder)
        ended = threading.Event()
        heartbeat = threading.Thread(target=_beat, args=(file.fileno(), ended), daemon=True)
        heartbeat.start()
        try:
            yield
        finally:
            ended.set()
            heartbeat.join()
            with contextlib.suppress(OSError):  # a full disk: the lock is released all the same
                _write(file, "")


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file. Nothing is written: the run may be somebody else's."""
    try:
        with _looked_at(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                holder = _holder(file)
                # A process on another machine would have to be watched; assume that it runs.
                return holder is not None and (holder["host"] != socket.gethostname() or _runs(holder))
    except (OSError, ValueError):  # none, no permission to read it, no file: assume that nobody trains there
        pass
    return False


def _looked_at(path: Path) -> IO[bytes]:
    # Of a FIFO, without waiting for one that writes.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _take(file: IO[bytes], path: Path, patience_seconds: float) -> bool:
    """Lock the file; False if its file system has no locks, ValueError if it stays locked."""
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
    """The holder that the file names, once the process that has just locked it has written its name."""
    end = time.monotonic() + 0.5
    while True:
        holder = _holder(file)
        is_current = holder is not None and (holder["host"] != socket.gethostname() or _runs(holder))
        if is_current or time.monotonic() > end:
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
        "started": _start_time(os.getpid()),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "token": secrets.token_hex(8),
    }


def _holder(file: IO[bytes]) -> dict[str, Any] | None:
    """The holder that the file names; None if there is none or the text is incomplete."""
    try:
        holder = json.loads(os.pread(file.fileno(), _LENGTH, 0))
    except (ValueError, RecursionError):
        return None
    complete = isinstance(holder, dict) and {"host", "pid", "started", "since"} <= holder.keys()
    return holder if complete and isinstance(holder["pid"], int) else None


def _write(file: IO[bytes], text: str) -> None:
    # In one call: if two processes write at the same time, the file has the whole text of one of them.
    os.pwrite(file.fileno(), text.encode().ljust(_LENGTH), 0)


def _is_alive(holder: dict[str, Any], path: Path, locked: bool) -> bool:
    """Whether the process that wrote the file still runs; ``locked``: whether this process has the lock."""
    if holder["host"] == socket.gethostname():
        # If this process has the lock, that one has released it, even if another now has its pid.
        return not locked and _runs(holder)
    before = path.stat().st_mtime_ns
    end = time.monotonic() + 3 * HEARTBEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_SECONDS / 5)
        with _looked_at(path) as file:  # opening it makes a network file system look again
            if os.fstat(file.fileno()).st_mtime_ns != before:
                return True
    return False


def _runs(holder: dict[str, Any]) -> bool:
    started = _start_time(holder["pid"])
    return started is not None and started == holder["started"]


def _start_time(pid: int) -> str | None:
    """Start time of a process on this machine, as text that no later process shares; None if it is gone."""
    try:
        if Path("/proc/self").exists():
            # The fields from the third on; the process name before them may contain anything.
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # A zombie has ended. The start time is in ticks since the boot.
            return None if state == "Z" else f"{boot} {fields[18]}"
        result = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    except OSError:
        return None
    return result.stdout.strip() or None


def _beat(handle: int, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(handle)
