"""``log.txt`` on a disk that is full for a while."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewise.views import screen


class Disk:
    """Takes the place of ``os.write``: this many bytes fit, then it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 10**9
        self._write = os.write
        monkeypatch.setattr("gatewise.views.screen.os.write", self.write)

    def write(self, file: int, content: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(file, content[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    before = logging.raiseExceptions
    yield Disk(monkeypatch)
    logging.raiseExceptions = before


@pytest.mark.parametrize("room", [0, 1, 30])
def test_lines_that_do_not_fit_are_counted_and_later_ones_written(
    room: int, tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.txt"
    log = logging.getLogger("gatewise.test")
    with screen.logged_to(path):
        log.info("first")
        disk.room = room
        log.info("second")
        log.info("third")
        disk.room = 10**9
        log.info("fourth")
        log.info("fifth")
    lines = path.read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "gatewise.test" in line and "second" not in line][
        -2:
    ] == ["fourth", "fifth"]
    assert lines[0].endswith("first")
    assert "(2 lines are missing here: they could not be written)" in lines
    assert not any("third" in line for line in lines)
    said = capsys.readouterr().out.splitlines()
    assert (
        said.count(f"{path}: No space left on device: lines are missing in it until it can be written again")
        == 1
    )
    assert {"first", "second", "third", "fourth", "fifth"} <= set(said)


def test_a_message_that_does_not_fit_its_arguments_ends_nothing(tmp_path: Path, disk: Disk) -> None:
    logging.raiseExceptions = False
    with screen.logged_to(tmp_path / "log.txt"):
        logging.getLogger("gatewise.test").info("%d", "x")
        logging.getLogger("gatewise.test").info("fine")
    assert (tmp_path / "log.txt").read_text().endswith("fine\n")
    assert disk.room < 10**9
