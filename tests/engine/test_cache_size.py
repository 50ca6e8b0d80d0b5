"""The cache of compiled code stays within its limit, and keeps what is used."""

import os
import time

import pytest

from gatewise.engine import cache

DAY = 24 * 60 * 60


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "MOST_IN_ALL", 2000)
    return tmp_path / "gatewise" / "engine"


def age(folder, name, days):
    for file in (folder / name, folder / f"{name}.sha256"):
        os.utime(file, (time.time() - days * DAY,) * 2)


def test_what_was_not_used_for_longest_goes(folder):
    for number in range(4):  # each 400 bytes and a digest of 65
        cache.store(f"{number}.so", bytes([number]) * 400)
        age(folder, f"{number}.so", 10 - number)
    assert cache.place_and_size() == (folder, 4 * 465)
    assert cache.cached("0.so") == bytes(400)  # from now on the newest
    cache.store("4.so", b"4" * 400)
    assert [cache.cached(f"{number}.so") is not None for number in range(5)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 1000


def test_within_the_limit_nothing_goes(folder):
    for number in range(4):
        cache.store(f"{number}.so", b"x" * 400)
    assert len(list(folder.iterdir())) == 8


def test_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nowhere"))
    assert cache.place_and_size() is None
