"""Standard streams that a process can write to, whatever becomes of who reads them."""

from __future__ import annotations

import io
import os
import sys


def open_standard_streams() -> None:
    """Open ``/dev/null`` for each standard stream that the process was started without (``>&-``).

    Else the next file that is opened takes its place, and gets what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8")


class _Outlasting(io.FileIO):
    """A file that goes on as ``/dev/null`` where its reader leaves (``| head``)."""

    def write(self, data):  # type: ignore[no-untyped-def]
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlast_readers() -> None:
    """Let this process do its work to the end where the reader of its standard streams leaves."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper or stream is not getattr(sys, f"__{name}__"):
            continue  # somebody else's, such as a test's
        if isinstance(getattr(stream.buffer, "raw", None), _Outlasting) or stream.isatty():
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
