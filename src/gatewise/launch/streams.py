"""Standard streams that a process can write to, whatever becomes of where they lead."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

_lost: dict[int, OSError] = {}
"""By the number of a standard stream: why what was written there went nowhere."""


def open_standard_streams() -> None:
    """Open ``/dev/null`` for each standard stream that the process was started without (``>&-``).

    Else the next file that is opened takes its place, and gets what libraries print. What the encoding of
    the streams lacks is shown by its number, as ``\\xe9``, instead of ending the command.
    """
    _lost.clear()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


class _Outlasting(io.FileIO):
    """A file that goes on as ``/dev/null`` where it can be written to no more (``| head``, a full disk)."""

    def write(self, data):  # type: ignore[no-untyped-def]
        try:
            return super().write(data)
        except OSError as error:
            _give_up(self.fileno(), error)
            return len(data)


def outlast_readers() -> None:
    """Let this process do its work to the end where its standard streams can be written to no more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper or stream is not getattr(sys, f"__{name}__"):
            continue  # somebody else's, such as a test's
        if isinstance(getattr(stream.buffer, "raw", None), _Outlasting):
            continue
        stream.flush()
        raw = _Outlasting(stream.fileno(), "w", closefd=False)
        lasting = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, lasting)


def stdout_error() -> OSError | None:
    """Why a part of what was printed has gone nowhere, or None where all of it was written.

    After an error nothing more is tried: what is left goes to ``/dev/null``, or it would fail once more as
    Python ends.
    """
    return _flush(sys.stdout) or _lost.get(1)


def say(line: str) -> None:
    """Print one line on stderr, where that can be written to."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    _flush(sys.stderr)


def _flush(stream: TextIO) -> OSError | None:
    """Write what a stream holds back; the error where that cannot be, after which it leads nowhere."""
    try:
        stream.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # where no file is behind it
            _give_up(stream.fileno(), error)
            stream.flush()
        return error
    return None


def _give_up(number: int, error: OSError) -> None:
    _lost.setdefault(number, error)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
