"""Compilers that are none: another engine runs, and whoever asked for the native one is told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from gatewise.engine.native import library
from gatewise.engine.request import Unsupported
from gatewise.nn.compiled import check_engine

COMPILERS = ("gcc '", '"', "nonexistent", "true", "/", "cat", "gcc -E", "/dev/null", "cat -")


@pytest.fixture(autouse=True)
def _looked_up_anew(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library._compiler.cache_clear()
    yield
    library._compiler.cache_clear()


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_compiler_that_is_none(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler)
    started = time.monotonic()
    with pytest.raises(Unsupported):
        library.check_compiler()
    assert time.monotonic() - started < 20, "it waits for what the terminal says"
    with pytest.raises(
        ValueError, match=r"^model.engine=native: .*: install a C compiler or name one with CC"
    ):
        check_engine("native")
    check_engine("auto")
    check_engine(None)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(library, "shutil", SimpleNamespace(which=lambda _: None))
    with pytest.raises(ValueError, match="no C compiler"):
        check_engine("native")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("compiler", ["", "  ", "cc", "cc -g"])
def test_one_that_compiles(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler)
    check_engine("native")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_flags_are_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "int gw_answer(void) { return ANSWER; }\n"
    for answer in (7, 42):  # other flags are another library, not the one in the cache
        monkeypatch.setenv("CFLAGS", f"-O1 -DANSWER={answer}")
        assert library.load(source).gw_answer() == answer
    for flags in ("'", "--no-such-flag"):
        monkeypatch.setenv("CFLAGS", flags)
        with pytest.raises(Unsupported):
            library.load(source)
