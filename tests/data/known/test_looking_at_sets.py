"""A look at examples, whatever is in the file."""

from __future__ import annotations

import gzip
import wave
from pathlib import Path

import pytest

from gatewise.data.known.look import LINES, first_examples


def test_lines_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"one\t1\r\n\n  two \x1b[31m\xff \xe2\x80\xae\n" + b"more\n" * 10)
    assert first_examples(path)[:2] == ["one     1", "  two \\x1b[31m\\xff \\u202e"]
    assert len(first_examples(path)) == LINES
    path.write_bytes(b"")
    assert first_examples(path) == []


def test_what_comes_before_the_first_example_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.ts"
    path.write_text("# words\n@data\n1,2\n3,4\n")
    assert first_examples(path, "@data\n") == ["1,2", "3,4"]


def test_a_long_line_and_a_bomb_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0" * 10**7))
    (line,) = first_examples(path)
    assert len(line) <= 4 * 2**16


def test_a_recording_says_its_length(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0" * 4 * 4000)
    assert first_examples(path) == ["0.50 s, 8000 Hz, 16 bit, 2 channel(s)"]


@pytest.mark.parametrize("name", ["x.gz", "x.wav", "nosuch.txt"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1f\x8b\x08\0", b"RIFF\0\0\0\0WAVEfmt "])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    if name != "nosuch.txt":
        (tmp_path / name).write_bytes(content)
    if name == "x.gz" and not content:  # which is an archive of nothing
        assert first_examples(tmp_path / name) == []
        return
    with pytest.raises(ValueError, match="cannot be read") as caught:
        first_examples(tmp_path / name)
    assert "\n" not in str(caught.value)
