"""Labels of sound that is still coming: what is printed, when, and what is told in the end."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from gatewise.cli.streaming import read_as_it_comes
from gatewise.tasks.streamed import ReadUnit


class Bytes:
    """Frames that are bytes, ten of which are a second."""

    chunk = 4
    shift = 0.1

    def __init__(self) -> None:
        self.count = 0

    @property
    def seconds(self) -> float:
        return self.count / 10

    def accept(self, piece: bytes) -> bytes:
        self.count += len(piece)
        return piece

    def end(self) -> bytes:
        return b"."


class Letters:
    """Reads each letter when the next one has come."""

    def __init__(self) -> None:
        self.held = b""
        self.first = 0

    def accept(self, frames: bytes) -> list[ReadUnit]:
        self.held += frames
        *given, _ = self.held
        read = [
            ReadUnit((" " if self.first + i else "") + chr(letter), chr(letter), self.first + i)
            for i, letter in enumerate(given)
        ]
        self.held, self.first = self.held[-1:], self.first + len(given)
        return read

    def end(self) -> list[ReadUnit]:
        return []


def test_a_pipe_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abcdefghij")))
    read_as_it_comes(Letters(), Bytes(), None, 0, "text")
    said = capsys.readouterr()
    assert said.out == "a b c d e f g h i j\n"
    # In pieces of 4, 4 and 2 bytes; each letter waits for the next one.
    delays = [0.4, 0.3, 0.2, 0.5, 0.4, 0.3, 0.2, 0.3, 0.2, 0.1]
    mean, most = sum(delays) / 10, max(delays)
    told = rf"1\.0 s of sound in \d+\.\d\d s, \d+ times real time; .* {mean:.2f} s .*at most {most:.2f} s"
    assert re.search(told, said.err)


def test_jsonl_has_an_object_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abcde")))
    read_as_it_comes(Letters(), Bytes(), None, 0, "jsonl")
    first, *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"unit": "a", "seconds": 0.0, "heard": 0.4}
    assert last == {"unit": "e", "seconds": 0.4, "heard": 0.5}


def test_a_file_is_read_while_it_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "growing.raw"
    path.write_bytes(b"ab")

    def grow() -> None:
        for letter in (b"c", b"d"):
            time.sleep(0.1)
            with path.open("ab") as file:
                file.write(letter)

    thread = threading.Thread(target=grow)
    thread.start()
    read_as_it_comes(Letters(), Bytes(), path, 0.8, "text")
    thread.join()
    assert capsys.readouterr().out == "a b c d\n"


def test_ctrl_c_ends_the_sound(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            piece = super().read1(size)
            if not piece:
                raise KeyboardInterrupt
            return piece

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted(b"abc")))
    read_as_it_comes(Letters(), Bytes(), None, 0, "text")
    assert capsys.readouterr().out == "a b c\n"
