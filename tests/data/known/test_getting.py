"""Getting a set: from files and archives, in pieces, by several at once."""

from __future__ import annotations

import io
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest

from gatewise.data import locked
from gatewise.data.known.finding import Places, state
from gatewise.data.known.getting import get
from http_source import Source, answers, breaks, chunked, head, honest, made_set, sends

CONTENTS = {"a.txt": b"first\n" * 300, "deep/b.bin": bytes(range(256)), "LICENSE": b"free\n"}


def packed(contents: dict[str, bytes], inside: str = "top/") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(inside + name, content)
    return file.getvalue()


def holds(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def files(source: Source):
    """A set of single files."""
    source.files = dict(CONTENTS)
    return made_set(source.url, CONTENTS)


@pytest.fixture
def archive(source: Source):
    """The same set as an archive, beside which lies what nobody asks for."""
    source.files = {"it.zip": packed({**CONTENTS, "../../evil": b"x", "more": b"y"})}
    return made_set(f"{source.url}it.zip", CONTENTS, inside="top/", most_bytes=10_000)


@pytest.fixture(params=["files", "archive"])
def known(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def test_a_set_is_downloaded_once(known, source: Source, tmp_path: Path, capsys) -> None:
    assert state(Places(known, tmp_path)).word == "not here"
    folder = get(known, tmp_path)
    assert folder == tmp_path / "downloads" / "made"
    assert holds(folder) == CONTENTS
    assert holds(tmp_path).keys() == {
        *(f"downloads/made/{name}" for name in CONTENTS),
        "downloads/.made.lock",
    }
    assert state(Places(known, tmp_path)).word == "here"
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"gatewise: downloading made (2.01 KiB) from {known.url(known.files[0])} to {folder}\n"
    asked = len(source.requests)
    assert get(known, tmp_path) == folder
    assert len(source.requests) == asked


def test_what_the_user_has_is_taken(known, source: Source, tmp_path: Path) -> None:
    for name, content in CONTENTS.items():
        (tmp_path / "made" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / name).write_bytes(content)
    assert get(known, tmp_path) == tmp_path / "made"
    assert source.requests == []
    assert not (tmp_path / "downloads").exists()


def test_what_the_user_has_of_it_is_not_downloaded(files, source: Source, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_bytes(CONTENTS["a.txt"])
    assert state(Places(files, tmp_path)).word == "partly"
    assert holds(get(files, tmp_path)) == CONTENTS
    assert [path for path, _ in source.requests] == ["/deep/b.bin", "/LICENSE"]
    assert holds(tmp_path / "made") == {"a.txt": CONTENTS["a.txt"]}


def test_a_file_of_the_users_that_is_another_is_refused(known, source: Source, tmp_path: Path) -> None:
    get(known, tmp_path)
    source.requests.clear()
    own = tmp_path / "made" / "a.txt"
    own.parent.mkdir()
    for content, how in (
        (b"mine", "it has 4 bytes, not 1800"),
        (b"F" + CONTENTS["a.txt"][1:], "its sha256 is"),
    ):
        own.write_bytes(content)
        with pytest.raises(ValueError, match=f"is not the file of the set made .*{how}") as caught:
            get(known, tmp_path)
        assert str(caught.value).startswith(str(own))
        assert own.read_bytes() == content
        found = state(Places(known, tmp_path))
        assert (found.word, found.wrong) == ("damaged", (own,))
    assert source.requests == []


def test_a_damaged_download_is_made_again(known, tmp_path: Path) -> None:
    folder = get(known, tmp_path)
    (folder / "a.txt").write_bytes(b"cut")
    assert state(Places(known, tmp_path)).word == "damaged"
    assert holds(get(known, tmp_path)) == CONTENTS


def test_a_transfer_that_was_left_is_taken_up(files, source: Source, tmp_path: Path) -> None:
    source.script = [breaks(500), *[answers(500)] * 5]
    with pytest.raises(ValueError, match=r"made cannot be downloaded: .*500 .*5 times in a row") as caught:
        get(files, tmp_path)
    assert f"put {tmp_path / 'made' / 'a.txt'} there by hand, from {source.url}a.txt (and 2 more" in str(
        caught.value
    )
    source.requests.clear()
    assert holds(get(files, tmp_path)) == CONTENTS
    assert source.requests[0] == ("/a.txt", "bytes=500-")


def test_an_archive_that_breaks(archive, source: Source, tmp_path: Path) -> None:
    source.script = [breaks(50), chunked(60), breaks(70)]
    assert holds(get(archive, tmp_path)) == CONTENTS


def test_an_archive_that_was_whole_but_not_unpacked(archive, source: Source, tmp_path: Path) -> None:
    part = tmp_path / "downloads" / "made" / ".archive.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(source.files["it.zip"])
    assert holds(get(archive, tmp_path)) == CONTENTS
    assert [asked for _, asked in source.requests] == [f"bytes={len(source.files['it.zip'])}-"]


def test_a_part_of_another_archive_is_given_up(archive, source: Source, tmp_path: Path) -> None:
    part = tmp_path / "downloads" / "made" / ".archive.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 100)
    assert holds(get(archive, tmp_path)) == CONTENTS
    assert [asked for _, asked in source.requests] == ["bytes=100-", None]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>log in</html>", "no archive that can be read"),
        (b"", "no archive that can be read"),
        (packed({"a.txt": CONTENTS["a.txt"]}), "the archive holds no top/deep/b.bin"),
        (packed({**CONTENTS, "a.txt": CONTENTS["a.txt"][:-1]}), "a.txt in the archive is not the one"),
        (packed({**CONTENTS, "a.txt": b"first\n" * 10**6}), "a.txt in the archive is not the one"),
        (packed(CONTENTS)[:-30], "no archive that can be read"),
        (os.urandom(20_000), "the source has 20000 bytes, where at most 10000"),
    ],
    ids=["a page", "nothing", "a file less", "shorter", "a bomb", "cut", "too large"],
)
def test_a_wrong_archive_is_refused(
    archive, source: Source, tmp_path: Path, content: bytes, why: str
) -> None:
    source.files["it.zip"] = content
    with pytest.raises(ValueError, match=f"made cannot be downloaded: .*{why}"):
        get(archive, tmp_path)
    left = holds(tmp_path / "downloads").items()
    assert all(
        CONTENTS.get(name.removeprefix("made/")) == content for name, content in left if name != ".made.lock"
    )


def test_a_damaged_archive_in_pieces_is_tried_twice(archive, source: Source, tmp_path: Path) -> None:
    source.files["it.zip"] = b"x" * 500
    source.always = breaks(200)
    with pytest.raises(ValueError, match="no archive"):
        get(archive, tmp_path)
    assert [asked for _, asked in source.requests] == [None, "bytes=200-", "bytes=400-"] * 2


def test_of_several_at_once_one_downloads(known, source: Source, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(locked, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(locked, "_LOOK_SECONDS", 0.01)

    def slow(handler, content):
        time.sleep(0.1)
        honest(handler, content)

    source.always = slow
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(get(known, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / "downloads" / "made"] * 4
    assert holds(folders[0]) == CONTENTS
    assert len(source.requests) == (1 if known.is_archive else len(CONTENTS))
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("gatewise: downloading made") for line in lines) == 1
    assert sum("being downloaded by another process: waiting" in line for line in lines) == 3


def test_a_folder_that_cannot_be_written_is_one_line(known, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_text("a file")
    with pytest.raises(
        ValueError, match=r"made cannot be written: .*: set paths\.data_dir|make room"
    ) as caught:
        get(known, tmp_path)
    assert "\n" not in str(caught.value)


def test_names_in_an_address_are_quoted(source: Source, tmp_path: Path) -> None:
    contents = {"a b#c?.txt": b"x"}
    source.files = {"a%20b%23c%3F.txt": b"x"}
    assert holds(get(made_set(source.url, contents), tmp_path)) == contents


def test_a_page_in_place_of_a_file(files, source: Source, tmp_path: Path) -> None:
    """As of a network that wants its user to log in."""
    source.always = sends(b"<html>log in</html>")
    with pytest.raises(ValueError, match="made cannot be downloaded: the transfer ends after 19 bytes"):
        get(files, tmp_path)
    source.always = lambda handler, _: head(handler, 204)
    with pytest.raises(ValueError, match="the source answers 204"):
        get(files, tmp_path)
