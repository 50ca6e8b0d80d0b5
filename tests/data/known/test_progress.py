"""What a terminal shows of a download."""

from __future__ import annotations

import io
import sys

import pytest

from gatewise.data.known.progress import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_how_far_it_is_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar("mr \x1b[31m", 2**21) as show:
        show(2**20)
        show(2**20)
    line = "mr \\x1b[31m  1.0 of 2.0 MiB, 50%"
    assert terminal.getvalue() == f"\r{line}\r{' ' * len(line)}\r"


def test_a_pipe_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("mr", None) as show:
        show(1)
    assert capsys.readouterr().err == ""
