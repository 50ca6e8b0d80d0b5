"""A look at the first examples of a set, read as plain text or as the head of a recording."""

from __future__ import annotations

import gzip
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

from gatewise.settings import one_line

LINES = 4
"""How many lines of a file are shown."""
_MOST = 2**16
"""Bytes that are read of a file."""


def first_examples(path: Path, begins_after: str = "") -> list[str]:
    """The first lines of a text, behind the words ``begins_after``; of a recording its length and form.

    What is not printable is written out. Raises ValueError where the file cannot be read.
    """
    try:
        if path.suffix == ".wav":
            return [_recording(path)]
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MOST)
    except (OSError, EOFError, zlib.error, wave.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    text = data.decode(errors="backslashreplace")
    return list(_lines(text[text.find(begins_after) + len(begins_after) :]))


def _lines(text: str) -> Iterator[str]:
    left = LINES
    for line in text.split("\n"):
        if line.strip() and left > 0:
            left -= 1
            yield one_line(line.rstrip().expandtabs())


def _recording(path: Path) -> str:
    with wave.open(str(path)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        seconds = file.getnframes() / rate
        return f"{seconds:.2f} s, {rate} Hz, {8 * file.getsampwidth()} bit, {channels} channel(s)"
