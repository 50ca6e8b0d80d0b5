"""W&B's own process has a place for its log, whatever home and cache there are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import wandb  # makes folders as it is imported

from gatewise.config.wandb import with_cache

CACHE = wandb.env.CACHE_DIR


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("gatewise.runs.left_behind.atexit.register", lambda *_: None)


def test_one_that_can_be_written_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with with_cache():
        assert CACHE not in os.environ
    assert (tmp_path / "cache/wandb/logs").is_dir()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("value", [None, "/dev/null", "/dev/null/x", "file"])
def test_else_it_has_one_of_its_own(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    if value is None:
        monkeypatch.delenv(CACHE, raising=False)
    else:
        monkeypatch.setenv(CACHE, value)
    with with_cache():
        assert Path(os.environ[CACHE]).parent == tmp_path / "tmp"
    assert os.environ.get(CACHE) == value


def test_what_fails_in_it_is_raised() -> None:
    with pytest.raises(OSError, match="of the body"), with_cache():
        raise OSError("of the body")
