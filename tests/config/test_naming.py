"""What a run is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.config.compose import compose
from gatewise.runs.folders import check_name

MINE = """# @package _global_
defaults:
  - override /task: forecasting
  - override /data: csv
data: {file: a.csv, time_column: t}
"""

NAMES = {
    "": "speech/japanese_vowels",
    "model=gru": "speech/japanese_vowels",
    "task=forecasting data=sunspots": "forecasting/sunspots",
    "task=forecasting data=sunspots data.lookback=24": "forecasting/sunspots",
    "data=japanese_vowels": "speech/japanese_vowels",
    "~experiment task=forecasting data=sunspots": "forecasting/sunspots",
    "experiment=series/csv": "series/csv",
    "experiment=series/csv data=csv data.file=x/sales.csv": "series/csv/sales",
    "experiment=series/csv data.file=null data.dataset=sunspots_monthly": "series/csv",
    "experiment=series/sunspots data=csv data.file=x.csv": "forecasting/csv/x",
    "experiment=text/files data.files=[a.txt,b.txt,c.txt]": "text/files/a+2",
    "experiment=text/files data.files=['my\\book,1.txt']": "text/files/my_book_1",
    "data.test_file=other.ts": "speech/japanese_vowels/other",
    "experiment=mine": "mine",
    "experiment=mine data.file=b.csv": "mine/b",
    "name=hello data=sunspots": "hello",
    "name=hello debug=one_batch": "debug/hello",
    "debug=overfit": "debug/speech/japanese_vowels",
}


@pytest.fixture(autouse=True)
def _work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("command", "name"), NAMES.items())
def test_the_name_follows_the_choices_and_the_files(command: str, name: str) -> None:
    assert compose("train", [word.replace("\\", " ") for word in command.split()]).name == name


def test_a_name_among_ones_own_defaults_stays(tmp_path: Path) -> None:
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "local" / "default.yaml").write_text("name: mine/own\n")
    assert compose("train", ["task=forecasting", "data=sunspots"]).name == "mine/own"


@pytest.mark.parametrize(
    "name", ["a", "a/b", "x" * 255, "Zürich", "lr=0.1, b $x's", "./a", "hi \u0915\u093f"]
)
def test_names_that_are_folders(name: str, tmp_path: Path) -> None:
    check_name(name, tmp_path)
    (tmp_path / name).mkdir(parents=True)


@pytest.mark.parametrize(
    "name",
    [None, 3, "", ".", "..", "a/..", "/a", "x" * 256, "ü" * 128, "a\0b", "a\nb", "last", "last/a", ".jobs"],
)
def test_names_that_are_not(name: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name"):
        check_name(name, tmp_path)
