"""A cache of compiled code in which somebody else could have put theirs: none of it is loaded."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewise.engine import cache
from gatewise.engine.native import library

pytestmark = pytest.mark.skipif(
    os.name != "posix" or shutil.which("cc") is None, reason="folders with modes, and a C compiler"
)

GOOD = "int answer(void) { return 42; }"
EVIL = "int answer(void) { return 666; }"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's folder of caches, with the good library in Gatewise's; nothing was said yet."""
    home = tmp_path / "caches"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(library, "FLAGS", ("-shared", "-fPIC", "-w"))
    monkeypatch.setattr(cache, "_said", set())
    library._native_flags.cache_clear()
    answer()
    yield home
    library._native_flags.cache_clear()


def answer() -> int:
    return int(library.load(GOOD).answer())


def engine(home: Path) -> Path:
    return home / "gatewise" / "engine"


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("evil")
    (folder / "evil.c").write_text(EVIL)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "evil.so", folder / "evil.c"], check=True)
    return (folder / "evil.so").read_bytes()


def plant(home: Path, evil: bytes) -> None:
    """Put the evil library and its digest in the place of the good one."""
    (path,) = engine(home).glob("*.so")
    path.write_bytes(evil)
    path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(evil).hexdigest() + "\n")


def test_what_is_well_kept_is_loaded(place: Path, evil: bytes) -> None:
    """Else the tests below would show nothing."""
    plant(place, evil)
    assert answer() == 666


def moved(path: Path) -> Path:
    """The path, of which a link is left at its place."""
    there = path.with_name(f"{path.name}-of-somebody")
    path.rename(there)
    path.symlink_to(there)
    return there


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def listening(path: Path) -> None:
    path.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def library_file(home: Path) -> Path:
    return next(iter(engine(home).glob("*.so")))


PLANTED: dict[str, Callable[[Path], object]] = {
    "folder of caches open to all": lambda home: home.chmod(0o777),
    "folder of caches open to a group": lambda home: home.chmod(0o770),
    "gatewise open to all": lambda home: (home / "gatewise").chmod(0o707),
    "gatewise open and sticky": lambda home: (home / "gatewise").chmod(0o1777),
    "engine open to all": lambda home: engine(home).chmod(0o777),
    "engine open to a group": lambda home: engine(home).chmod(0o720),
    "folder above open to all": lambda home: home.parent.chmod(0o777),
    "gatewise a link": lambda home: moved(home / "gatewise"),
    "engine a link": lambda home: moved(engine(home)),
    "library a link": lambda home: moved(library_file(home)),
    "library open to all": lambda home: library_file(home).chmod(0o666),
    "library open to a group": lambda home: library_file(home).chmod(0o620),
    "digest open to all": lambda home: library_file(home).with_suffix(".so.sha256").chmod(0o602),
    "digest a link": lambda home: moved(library_file(home).with_suffix(".so.sha256")),
    "library a pipe": lambda home: fifo(library_file(home)),
    "digest a pipe": lambda home: fifo(library_file(home).with_suffix(".so.sha256")),
    "library a socket": lambda home: listening(library_file(home)),
}
OF_ANOTHER: dict[str, Callable[[Path], Path]] = {
    "folder of caches": lambda home: home,
    "gatewise": lambda home: home / "gatewise",
    "engine": engine,
    "library": library_file,
    "digest": lambda home: library_file(home).with_suffix(".so.sha256"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", PLANTED)
def test_what_others_could_have_put_there_is_not_loaded(
    place: Path, evil: bytes, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    plant(place, evil)
    PLANTED[how](place)
    with caplog.at_level(logging.INFO, "gatewise"):
        assert answer() == 42
        cache.cached("another.so")
    lines = [record.getMessage() for record in caplog.records]
    if "socket" not in how:  # which cannot be opened at all
        assert len(lines) == 1
        assert lines[0].startswith("the cache of compiled code is not used: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", OF_ANOTHER)
def test_what_belongs_to_another_user_is_not_loaded(place: Path, evil: bytes, what: str) -> None:
    plant(place, evil)
    path = OF_ANOTHER[what](place)
    path.chmod(0o755 if path.is_dir() else 0o644)
    os.chown(path, 12345, 12345)
    assert answer() == 42


def test_a_link_of_the_users_own_folder_of_caches_is_followed(place: Path, evil: bytes) -> None:
    """As on clusters, where it leads from the home to a larger disk."""
    there = moved(place)
    plant(place, evil)
    assert answer() == 666
    there.chmod(0o777)
    assert answer() == 42, "and where it leads to is checked as well"


def test_below_a_shared_folder_that_keeps_what_is_ones_own(
    evil: bytes, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``/tmp``."""
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder, "tmp")
        shared.mkdir()
        shared.chmod(0o1777)
        home = shared / "mine"
        shutil.copytree(place, home)
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        plant(home, evil)
        assert answer() == 666
        (shared / "link").symlink_to(home)
        monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "link"))
        assert answer() == 42


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_whatever_the_umask_only_the_user_can_write(tmp_path: Path, monkeypatch, umask: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new" / "er"))
    before = os.umask(umask)
    try:
        cache.store("x.json", b"{}")
        assert cache.cached("x.json") == b"{}"
    finally:
        os.umask(before)
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("home", ["caches", "./caches", "../caches", ""])
def test_a_relative_folder_of_caches_is_ignored(tmp_path: Path, monkeypatch, home: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache.store("x.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["work", "home"] or not list(work.iterdir())
    assert not (tmp_path / "caches").exists()
    assert (tmp_path / "home" / ".cache" / "gatewise" / "engine" / "x.json").is_file()


def test_what_is_checked_is_what_is_loaded(place: Path, evil: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever exchanges the file after it was read, and before the system's loader opens it."""
    path, load = library_file(place), ctypes.CDLL

    def late(name: str, *rest: object) -> ctypes.CDLL:
        path.write_bytes(evil)
        return load(name, *rest)

    monkeypatch.setattr(library.ctypes, "CDLL", late)
    assert answer() == 42


def test_two_libraries_one_after_the_other(place: Path) -> None:  # noqa: ARG001
    """The system's loader knows libraries by their names: those of memory must differ."""
    other = GOOD.replace("42", "43")
    library.load(other)
    assert [int(library.load(text).answer()) for text in (GOOD, other, GOOD, other)] == [42, 43, 42, 43]
