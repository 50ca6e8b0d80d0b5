"""Transcripts as units, and which of them fit into their frames."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data import transcripts


def place(number: int) -> str:
    return f"mine.csv:{number + 2}"


def encoded(*rows: list[int]) -> list[transcripts.Units]:
    return [np.array(row, np.int64) for row in rows]


@pytest.mark.parametrize(
    ("units", "expected"),
    [("words", ("2", "10", "a", "no")), ("characters", ("0", "1", "2", " ", "a", "n", "o"))],
)
def test_units_are_learnt_in_order(units: transcripts.UnitName, expected: tuple[str, ...]) -> None:
    learnt = transcripts.learnt(["a  no 2", "10", "a no\t2"], units)
    assert learnt["units"] == expected
    text = learnt["joiner"].join(expected[unit] for unit in learnt["usual"])
    assert text == "a no 2", "the most frequent, with one space for any white space"


def test_an_alphabet_is_taken_as_it_is() -> None:
    assert transcripts.learnt(["b"], "characters", "ab c")["units"] == ("a", "b", " ", "c")
    assert transcripts.learnt(["b"], "phonemes", "AH  B")["units"] == ("AH", "B")


@given(st.lists(st.text("ab ", max_size=6), min_size=1, max_size=4))
def test_characters_come_back(texts: list[str]) -> None:
    units = ("a", "b", " ")
    rows = transcripts.encoded(texts, units, "", place)
    assert ["".join(units[unit] for unit in row) for row in rows] == [
        " ".join(text.split()) for text in texts
    ]


def test_a_unit_outside_the_alphabet_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^mine.csv:3: the transcript has the character 'é', .*'a', 'b'$"):
        transcripts.encoded(["ab", "ae\u0301"], ("a", "b"), "", place)
    with pytest.raises(ValueError, match=r"^mine.csv:2: .* word or phoneme 'fore', .*did you mean 'four'"):
        transcripts.encoded(["two fore"], ("two", "four"), " ", place)


def test_too_long_transcripts_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """Three units with two equal neighbours take four steps; seven frames by two are four, six are three."""
    rows, frames = encoded([0, 1, 1], [0, 1, 1], [], [2]), np.array([7, 6, 1, 1])
    with pytest.raises(ValueError, match=r"^mine.csv:3: its transcript takes 4 steps .* 6 frames \(2 of"):
        transcripts.fitting(rows, frames, 2, "refuse", place)
    with caplog.at_level(logging.WARNING):
        assert transcripts.fitting(rows, frames, 2, "leave_out", place).tolist() == [0, 2, 3]
    assert "1 of 4 transcripts are left out" in caplog.text
    assert "mine.csv:3" in caplog.text
    with pytest.raises(ValueError, match="all others are too long as well"):
        transcripts.fitting(rows[:1], frames[1:2], 2, "leave_out", place)


def test_units_in_a_row_are_counted_with_both_ends() -> None:
    counted = transcripts.ngrams(encoded([0, 1], [0]), 2)
    assert counted == ((-1, 0, 2), (0, -1, 1), (0, 1, 1), (1, -1, 1))
    assert transcripts.ngrams(encoded([0, 1], [0]), 1) == ((-1, 2), (0, 2), (1, 1))


def test_rows_are_padded() -> None:
    padded = transcripts.PaddedUnits(encoded([3, 4], [], [5]))
    units, lengths = padded.padded([2, 0, 1], -100)
    assert units.tolist() == [[5, -100], [3, 4], [-100, -100]]
    assert lengths.tolist() == [1, 2, 0]
