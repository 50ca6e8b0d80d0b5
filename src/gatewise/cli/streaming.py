"""What a run reads in sound that is still coming: labels as they come, and how fast that was."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from gatewise.launch.streams import say, stdout_error
from gatewise.views.written_answers import as_text

_PAUSE = 0.02
"""Seconds until a file is looked at again for more."""


def read_as_it_comes(
    reader: Any, frames: Any, source: Path | None, wait: float, form: Literal["text", "jsonl"]
) -> None:
    """Print what ``reader`` reads in the standard input or a file, which may grow, until its end.

    ``frames`` turns bytes into frames (see ``DataModule.read_stream``). A file has ended when nothing has
    come for ``wait`` seconds, and Ctrl-C ends any sound. Latency and speed go to stderr.
    """
    printed = _Printed(frames, form)
    with contextlib.ExitStack() as stack:
        if source is None:
            pieces = _from_pipe(sys.stdin.buffer, frames.chunk)
        else:
            pieces = _growing(stack.enter_context(source.open("rb")), frames.chunk, wait)
        with contextlib.suppress(KeyboardInterrupt):
            for piece in pieces:
                with printed.computing():
                    read = reader.accept(frames.accept(piece))
                if not printed.add(read):
                    return
    with printed.computing():
        read = [*reader.accept(frames.end()), *reader.end()]
    if printed.add(read) and printed.end():
        say(printed.told())


def _from_pipe(file: BinaryIO, most: int) -> Iterator[bytes]:
    """What has arrived, up to ``most`` bytes at once."""
    read = getattr(file, "read1", file.read)
    while piece := read(most):
        yield piece


def _growing(file: BinaryIO, most: int, wait: float) -> Iterator[bytes]:
    """What is in a file, and what comes, until nothing has come for ``wait`` seconds."""
    last = time.monotonic()
    while True:
        piece = file.read(most)
        if piece:
            yield piece
            last = time.monotonic()
        elif time.monotonic() - last >= wait:
            return
        else:
            time.sleep(_PAUSE)


class _Printed:
    """Labels on the standard output, each as soon as it is there, and the time that they took."""

    def __init__(self, frames: Any, form: Literal["text", "jsonl"]) -> None:
        self.frames, self.form = frames, form
        self.spent = 0.0
        """Seconds of computing."""
        self.pieces = 0
        self.delays: list[float] = []
        """Seconds of sound that had come after a label's first frame had begun, when it was printed."""
        self.is_blank = True

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Count the time that the body takes."""
        start = time.perf_counter()
        yield
        self.spent += time.perf_counter() - start
        self.pieces += 1

    def add(self, read: Sequence[Any]) -> bool:
        """Print what was read; False where nobody reads it any more."""
        for label in read:
            begin = label.frame * self.frames.shift
            self.delays.append(self.frames.seconds - begin)
            if self.form == "jsonl":
                heard = round(self.frames.seconds, 3)
                values = {"unit": label.unit, "seconds": round(begin, 3), "heard": heard}
                sys.stdout.write(f"{json.dumps(values, ensure_ascii=False)}\n")
            else:
                sys.stdout.write(as_text(label.text))
                self.is_blank = False
        return not read or self._flushed()

    def end(self) -> bool:
        """End the line; False where nobody reads it any more."""
        if self.form == "text" and not self.is_blank:
            sys.stdout.write("\n")
        return self._flushed()

    def _flushed(self) -> bool:
        sys.stdout.flush()
        lost = stdout_error()
        if lost is not None and lost.errno != errno.EPIPE:
            raise lost
        return lost is None

    def told(self) -> str:
        """Speed and latency, in a line."""
        seconds = self.frames.seconds
        times = seconds / max(self.spent, 1e-9)
        speed = f"{seconds:.1f} s of sound in {self.spent:.2f} s, {times:.0f} times real time"
        if not self.delays:
            return f"{speed}; nothing was read"
        mean, longest = sum(self.delays) / len(self.delays), max(self.delays)
        computing = 1000 * self.spent / max(self.pieces, 1)
        return (
            f"{speed}; a label is written {mean:.2f} s after its first frame (at most {longest:.2f} s) and "
            f"{computing:.1f} ms of computing"
        )
