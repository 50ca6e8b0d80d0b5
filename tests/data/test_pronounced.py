"""Words as phonemes, by a pronouncing dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewise.data.pronounced import pronounced, read_lexicon

CMU = """;;; as CMU writes it
ONE  W AH1 N
ONE(2)  HH W AH1 N
d'artagnan D AH0 R T AE1 NG Y AH0 N # foreign french
zwei ts v aI2
"""


def lexicon(folder: Path, text: str = CMU) -> dict[str, str]:
    path = folder / "words.txt"
    path.write_text(text)
    return read_lexicon(path)


def test_cmus_lines_are_read_without_stress_variants_and_remarks(tmp_path: Path) -> None:
    assert lexicon(tmp_path) == {
        "one": "W AH N",
        "d'artagnan": "D AH R T AE NG Y AH N",
        "zwei": "ts v aI2",  # in another alphabet a number is no stress
    }


def test_words_are_found_whatever_their_letters_and_punctuation(tmp_path: Path) -> None:
    said = pronounced(["One,  one", "D'Artagnan!", ""], lexicon(tmp_path), str, "words.txt")
    assert said == ["W AH N W AH N", "D AH R T AE NG Y AH N", ""]


def test_words_that_are_missing_are_named_with_the_first_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^line 1: data.lexicon=words.txt lacks 'two', 'three': add a line"):
        pronounced(["one", "one two", "three"], lexicon(tmp_path), lambda n: f"line {n}", "words.txt")


@pytest.mark.parametrize(("text", "said"), [("one\n", "txt:1: 'one' has no phonemes"), ("", "has no words")])
def test_a_file_that_is_no_lexicon_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lexicon(tmp_path, text)
