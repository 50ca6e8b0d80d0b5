"""Known files of a training: downloaded once all else is right, and by nothing but a training that begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.cli.main import main
from gatewise.config.check import check_parts
from gatewise.config.compose import compose
from gatewise.data.known.sets import SETS
from http_source import Source, made_set

ARGV = ["task=language_modelling", "data=text/tinyshakespeare", "model=lstm"]
TEXT = b"to be or not to be\n" * 200


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A source of the set, in place of the one that the table names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWISE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    served = Source()
    served.files = {"input.txt": TEXT}
    made = made_set(served.url, served.files, "tinyshakespeare", looked_at=("input.txt",))
    monkeypatch.setitem(SETS, "tinyshakespeare", made)
    yield served
    served.close()


def test_a_training_gets_what_is_not_here(source: Source, tmp_path: Path, capsys) -> None:
    config = compose("train", ARGV)
    with pytest.raises(ValueError, match=r"^data\.files=known:.*: tinyshakespeare is not here"):
        check_parts(config, {})
    assert source.requests == []
    check_parts(config, {}, download=True)
    place = tmp_path / "data" / "downloads" / "tinyshakespeare"
    assert (place / "input.txt").read_bytes() == TEXT
    line = f"gatewise: downloading tinyshakespeare (3.71 KiB) from {source.url}input.txt to {place}\n"
    assert capsys.readouterr().err == line
    check_parts(config, {}, download=True)
    assert len(source.requests) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "wrong", ["optimizer.lr=-1", pytest.param("data.files=[known:tiny/x]", marks=pytest.mark.slow)]
)
def test_nothing_is_downloaded_for_a_training_that_cannot_be(source: Source, wrong: str, capsys) -> None:
    assert main(["train", *ARGV, wrong]) == 1
    assert wrong.partition("=")[0] in capsys.readouterr().err
    assert source.requests == []


@pytest.mark.parametrize("words", [["--cfg", "job"], pytest.param(["--help"], marks=pytest.mark.slow)])
def test_nothing_is_downloaded_to_compose(source: Source, tmp_path: Path, words: list[str], capsys) -> None:
    assert main(["train", *ARGV, *words]) == 0
    assert "known:tinyshakespeare/input.txt" in capsys.readouterr().out
    assert source.requests == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("words", [[], pytest.param(["-m", "seed=1,2"], marks=pytest.mark.slow)])
def test_without_a_network_nothing_begins(source: Source, tmp_path: Path, words: list[str], capsys) -> None:
    source.close()
    assert main(["train", *ARGV, *words]) == 1
    begun, error = capsys.readouterr().err.splitlines()
    assert begun.startswith("gatewise: downloading tinyshakespeare")
    assert error.startswith("gatewise: error: tinyshakespeare cannot be downloaded: Connection refused")
    assert str(tmp_path / "data" / "tinyshakespeare" / "input.txt") in error
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "sweeps").exists()
