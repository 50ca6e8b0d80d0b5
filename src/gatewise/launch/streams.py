"""Standard streams that a process can write to, whatever becomes of where they lead."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TextIO

_lost: dict[int, OSError] = {}
"""By the number of a standard stream: why something was not written there."""
_outlasting: list[bool] = []
"""Not empty where the work goes on all the same."""


class _Standard(io.FileIO):
    """The file of a standard stream, which keeps the error where it cannot be written to."""

    def write(self, data):  # type: ignore[no-untyped-def]
        try:
            return super().write(data)
        except OSError as error:
            _lost.setdefault(self.fileno(), error)
            if not _outlasting:
                raise
            _lead_nowhere(self.fileno())
            return len(data)


def open_standard_streams() -> None:
    """Open ``/dev/null`` for each standard stream that the process was started without (``>&-``).

    Else the next file that is opened takes its place, and gets what libraries print. What the encoding of
    the streams lacks is shown by its number, as ``\\xe9``, instead of ending the command.
    """
    _lost.clear()
    _outlasting.clear()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8")
        elif type(stream) is not io.TextIOWrapper or stream is not getattr(sys, f"__{name}__"):
            continue  # somebody else's, such as a test's
        setattr(sys, name, _standard(stream, number))
        setattr(sys, f"__{name}__", getattr(sys, name))


def _standard(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _Standard(number, "w", closefd=False)
    return io.TextIOWrapper(
        # As Python has it under PYTHONUNBUFFERED.
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding if _can_show_numbers(stream.encoding) else "utf-8",
        # `strict` fails, and so does what Python chooses in the C locale.
        errors="backslashreplace" if stream.errors in ("strict", "surrogateescape") else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _can_show_numbers(encoding: str) -> bool:
    """Whether an encoding takes everything; those of host names do not."""
    try:
        "a b\udcff".encode(encoding, "backslashreplace")
    except (UnicodeError, LookupError):
        return False
    return True


def outlast_readers() -> None:
    """Let this process do its work to the end where its standard streams can be written to no more."""
    _outlasting.append(True)


def note_lost(number: int, error: OSError) -> None:
    """Have a standard stream, which something else has written to, count as one that nobody reads."""
    _lost.setdefault(number, error)


def stdout_error() -> OSError | None:
    """Why a part of what was printed has gone nowhere, or None where all of it was written.

    After an error nothing more is tried: what is left would fail once more as Python ends.
    """
    _flush(sys.stdout, 1)
    return _lost.get(1)


def say(line: str) -> None:
    """Print one line on stderr, where that can be written to."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    _flush(sys.stderr, 2)


def _flush(stream: TextIO, number: int) -> None:
    """Write what a stream holds back; after an error it leads nowhere."""
    with contextlib.suppress(OSError):
        stream.flush()
    if number in _lost:
        _lead_nowhere(number)
        with contextlib.suppress(OSError):
            stream.flush()


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
