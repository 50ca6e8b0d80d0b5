"""``known:SET/FILE`` where a setting names a file, and what is said where it is not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.data.files import find_file, get_if_known
from gatewise.data.known.finding import find_set
from gatewise.data.known.sets import SETS
from http_source import Source, made_set

CONTENTS = {"a.txt": b"first\n" * 300, "deep/b.bin": bytes(range(256))}
KEY = "data.files"


@pytest.fixture(autouse=True)
def made(source: Source, monkeypatch: pytest.MonkeyPatch):
    source.files = dict(CONTENTS)
    known = made_set(source.url, CONTENTS)
    monkeypatch.setitem(SETS, "made", known)
    return known


def write(place: Path, content: bytes) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_a_file_is_found_in_the_last_folder(tmp_path: Path, source: Source) -> None:
    work, data = tmp_path / "work", tmp_path / "data"
    write(work / "made" / "a.txt", b"something of the user's that happens to be called so")
    own = write(data / "made" / "a.txt", CONTENTS["a.txt"])
    assert find_file("known:made/a.txt", [work, data], KEY) == own
    assert source.requests == []


def test_a_download_is_found_and_the_users_file_first(tmp_path: Path) -> None:
    downloaded = write(tmp_path / "downloads" / "made" / "deep" / "b.bin", CONTENTS["deep/b.bin"])
    assert find_file("known:made/deep/b.bin", [tmp_path], KEY) == downloaded
    own = write(tmp_path / "made" / "deep" / "b.bin", CONTENTS["deep/b.bin"])
    assert find_file("known:made/deep/b.bin", [tmp_path], KEY) == own


def test_finding_never_downloads(tmp_path: Path, source: Source) -> None:
    with pytest.raises(ValueError, match="made is not here: gatewise data get made paths") as caught:
        find_file("known:made/a.txt", [tmp_path], KEY)
    line = str(caught.value)
    assert line.startswith("data.files=known:made/a.txt: ")
    assert line.endswith(f"or put {tmp_path / 'made' / 'a.txt'} there by hand, from {source.url}a.txt")
    assert source.requests == []
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_folder_where_it_is_not_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        with pytest.raises(ValueError, match="is not here") as caught:
            find_file("known:made/a.txt", [tmp_path / "my data"], KEY)
        return str(caught.value)

    monkeypatch.delenv("GATEWISE_DATA", raising=False)
    assert f": gatewise data get made 'paths.data_dir={tmp_path / 'my data'}' downloads" in said()
    monkeypatch.setenv("GATEWISE_DATA", str(tmp_path / "my data"))
    assert ": gatewise data get made downloads" in said()


def test_getting_downloads_what_is_not_here(tmp_path: Path, source: Source) -> None:
    get_if_known("known:made/a.txt", [tmp_path], KEY)
    path = find_file("known:made/a.txt", [tmp_path], KEY)
    assert path.read_bytes() == CONTENTS["a.txt"]
    assert path.is_relative_to(tmp_path / "downloads")
    asked = len(source.requests)
    get_if_known("known:made/deep/b.bin", [tmp_path], KEY)
    get_if_known("a.txt", [tmp_path], KEY)
    assert len(source.requests) == asked


@pytest.mark.parametrize("content", [b"mine", b"F" + CONTENTS["a.txt"][1:]])
def test_a_wrong_file_is_refused(tmp_path: Path, source: Source, content: bytes) -> None:
    own = write(tmp_path / "made" / "a.txt", content)
    for look in (find_file, get_if_known):
        with pytest.raises(ValueError, match="is not the file of the set made") as caught:
            look("known:made/a.txt", [tmp_path], KEY)
        assert str(own) in str(caught.value)
        assert "move it away and run: gatewise data get made" in str(caught.value)
    assert source.requests == []


def test_a_folder_or_a_broken_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made" / "a.txt").mkdir(parents=True)
    (tmp_path / "made" / "deep").mkdir()
    (tmp_path / "made" / "deep" / "b.bin").symlink_to("nowhere")
    for name in CONTENTS:
        with pytest.raises(ValueError, match="it is no file"):
            find_file(f"known:made/{name}", [tmp_path], KEY)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("known:maed/a.txt", "data.files=known:maed: no such set (did you mean 'made'?)"),
        ("known:", "data.files=known:: no such set"),
        ("known:made", "data.files=known:made/: the set has no such file; it has: a.txt, deep/b.bin"),
        (
            "known:made/a.text",
            "data.files=known:made/a.text: the set has no such file (did you mean 'a.txt'?)",
        ),
        ("known:made/../../x", "data.files=known:made/../../x: the set has no such file"),
        ("known:fsdd/x.wav", "data.files=known:fsdd/x.wav: the set has no such file"),
        ("known:made/\x1b[31m", "data.files=known:made/\\x1b[31m: the set has no such file"),
        (f"known:{'m' * 200}", f"data.files=known:{'m' * 40}... (200 characters): no such set"),
    ],
)
def test_a_name_that_is_none(tmp_path: Path, name: str, line: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        find_file(name, [tmp_path], KEY)
    assert str(caught.value).startswith(line)
    assert len(str(caught.value)) < 1000


def test_a_file_of_that_name_has_a_path(tmp_path: Path) -> None:
    own = write(tmp_path / "known:a.txt", b"x")
    assert find_file("./known:a.txt", [tmp_path], KEY) == own


def test_a_whole_set_is_found_or_what_is_missing_is_said(tmp_path: Path) -> None:
    for name, content in CONTENTS.items():
        with pytest.raises(
            ValueError, match=r"^data\.audio=known:made: the set is (not here|partly)"
        ) as caught:
            find_set("made", [tmp_path], "data.audio")
        assert f"{2 - len(list(tmp_path.rglob('*.*')))} of its 2 files are missing" in str(caught.value)
        write(tmp_path / "made" / name, content)
    assert find_set("made", [tmp_path], "data.audio") == tmp_path / "made"
