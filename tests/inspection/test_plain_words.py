"""What a memory did at chosen steps, in plain words with numbers."""

from __future__ import annotations

import numpy as np
import pytest

from gatewise.inspection.words import Kept, Marks, sentences

NAMES = ["Bob", "is", "a", "nice", "person", ".", "Dan", "on", "the", "other", "hand", "is", "evil"]


def layer(means: list[float], units: int = 4, where: str = "layer 1", reverse: bool = False) -> Kept:
    """Every unit keeps the same."""
    return Kept(where, np.tile(np.array(means)[:, None], (1, units)), reverse)


def test_a_full_stop_that_is_nothing_special() -> None:
    means = [0.8, 0.8, 0.8, 0.8, 0.8, 0.62, 0.5, 0.6, 0.8, 0.8, 0.8, 0.5, 0.8]
    first, second, third = sentences([layer(means)], NAMES, [5])
    assert first == (
        "At the full stop (step 5) layer 1 keeps 62 % of its memory, at the other steps 73 % on average: "
        "that is nothing special (3 of 12 other steps keep less)."
    )
    assert second == "No unit of layer 1 keeps less than 10 % at any step."
    # .62 · .5 · .6 · .8³ · .5 · .8 = .0381; with .733 for .62 it is .0451.
    assert third == (
        "Of what layer 1 held just before the full stop (step 4, “person”) 3.8 % is left at the end, on "
        "average over its units; with an ordinary step in the place of that full stop it would be 4.5 %. "
        "None of its 4 units have more than one half."
    )


def test_a_short_input_cannot_show_that_its_lowest_step_is_special() -> None:
    means = [0.9] * 13
    means[5], means[8] = 0.05, 0.7
    first, second, _ = sentences([layer(means)], NAMES, [5])
    assert first == (
        "At the full stop (step 5) layer 1 keeps 5 % of its memory, at the other steps 88 % on average: no "
        "other step keeps less (the next 70 %), but of 13 steps one has to, so this alone shows little."
    )
    assert second == (
        "There all its 4 units keep less than 10 %, at the other steps none on average "
        "(none of 12 other steps have as many)."
    )


def test_a_long_input_can() -> None:
    means = [0.9 - 0.001 * (t % 7) for t in range(60)]
    means[20] = 0.4
    first = sentences([layer(means)], ["a"] * 60, [20])[0]
    assert first.endswith("that is unusually little (p = 0.017).")
    means[20] = 1.3
    first = sentences([layer(means)], ["a"] * 60, [20])[0]
    assert "keeps 130 % of its memory" in first
    assert first.endswith("that is unusually much (p = 0.017).")
    # Of four layers one comes out as low by chance four times as often.
    others = [layer([0.9 - 0.001 * (t % 7) for t in range(60)], where=f"layer {n}") for n in (2, 3, 4)]
    first = sentences([layer(means), *others], ["a"] * 60, [20])[0]
    assert "no other step keeps more (the next 90 %), but of 60 steps one has to" in first


def test_several_full_stops() -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0.7, 0.9, (100, 8))
    stops = [9, 30, 41, 77]
    values[stops] = 0.05
    values[stops, 0] = 0.3
    first, second, third = sentences([Kept("the forward direction", values)], ["a"] * 100, stops)
    assert first.startswith(
        "At the 4 full stops (steps 9, 30, 41 and 77) the forward direction keeps 8.1 % of its memory "
    )
    assert " on average, at the other steps 80 %: that is unusually little (p = 0.01)." in first
    assert (
        second == "There 7 of its 8 units keep less than 10 % on average, at the other steps none (p = 0.01)."
    )
    assert third.startswith(
        "Of what the forward direction held just before the first full stop (step 8, “a”)"
    )
    assert "less than 0.1 % is left at the end" in third


def test_several_on_few_steps() -> None:
    means = [0.9] * 13
    means[5] = means[12] = 0.2
    first = sentences([layer(means)], NAMES, [5, 12])[0]
    assert first.endswith("13 steps are too few to tell that from chance (p = 0.077).")
    ordinary = [0.9, 0.3] * 6 + [0.6]
    first = sentences([layer(ordinary)], NAMES, [5, 12])[0]
    assert "that is nothing special (p = 0." in first


def test_many_full_stops_are_not_all_listed() -> None:
    values = np.random.default_rng(0).random((40, 3))
    first = sentences([Kept("layer 1", values)], ["a"] * 40, list(range(0, 40, 4)))[0]
    assert "the 10 full stops (steps 0, 4, 8, 12, 16 … 36)" in first


def test_reading_from_the_end() -> None:
    """There the full stop comes after the second sentence, and what is left is left at the beginning."""
    means = [0.5, 1.0, 1.0, 1.0, 0.5, 0.2] + [0.9] * 7
    third = sentences([layer(means, where="layer 1 (read from the end)", reverse=True)], NAMES, [5])[2]
    # .2 · .5 · .5 = .05; the other steps keep .858.
    assert third.startswith(
        "Of what layer 1 (read from the end) held just before the full stop (step 6, “Dan”) 5 % is left at "
        "the beginning, where it stops reading, on average over its units; with an ordinary step in "
        "the place of that full stop it would be 21 %."
    )


def test_full_stop_at_the_ends() -> None:
    means = [0.5, 0.6, 0.7]
    assert sentences([layer(means)], list("abc"), [0])[2] == (
        "Nothing comes before the full stop for layer 1, so there is no memory for it to cut."
    )
    last = sentences([layer(means)], list("abc"), [2])[2]
    assert "(step 1, “b”) 70 % is left after the full stop, the last step it reads, on average" in last
    assert last.endswith("All its 4 units have more than one half.")


def test_one_unit_and_two_steps() -> None:
    first, second, third = sentences([layer([0.05, 0.4], units=1)], ["a", "."], [1])
    assert first == (
        "At the full stop (step 1) layer 1 keeps 40 % of its memory, at the other step 5 %: no other step "
        "keeps more, but of 2 steps one has to, so this alone shows little."
    )
    assert second == (
        "There not even its only unit keeps less than 10 %, at the other step 1 (which is no fewer)."
    )
    assert "at the other step none (which is fewer)" in sentences([layer([0.05, 0.4])], ["a", "."], [0])[1]
    assert third.endswith("Not even its only unit has more than one half.")


def test_what_never_changes() -> None:
    first = sentences([layer([1.0] * 13)], NAMES, [5])[0]
    assert first == (
        "At the full stop (step 5) layer 1 keeps 100 % of its memory, at the other steps 100 % on average: "
        "it keeps the same at every step."
    )
    assert "(the same at every step)" in sentences([layer([0.01, 0.02, 0.03])], list("abc"), [0, 1])[1]


def test_no_full_stop_and_nothing_else() -> None:
    kept = [layer([0.5, 0.7, 0.6]), layer([0.999, 1.0, 0.9999], where="layer 2")]
    assert sentences(kept, list("abc"), []) == [
        "The input has no full stop, so there is none to compare with other steps."
    ]
    assert sentences(kept, list("..."), [0, 1, 2]) == [
        "All 3 steps are full stops, so there is no other step to compare with. "
        "Kept of the memory on average: layer 1 60 % and layer 2 nearly 100 %."
    ]
    assert sentences([layer([0.5])], ["."], [0])[0].startswith("The only step is a full stop, so")


def test_other_marks_and_names_of_any_kind() -> None:
    names = ["\x1b[31m" + "long" * 1000, "“", "c"]
    result = " ".join(sentences([layer([0.5, 0.6, 0.7])], names, [1], Marks("comma", "commas")))
    assert "At the comma (step 1)" in result
    assert "full stop" not in result
    assert "\x1b" not in result
    assert "“\\x1b[31mlonglonglonglon…”" in result


def test_negative_shares_count_by_size() -> None:
    assert (
        "keeps 50 % of its memory, at the other steps 70 %"
        in sentences([layer([-0.5, 0.7, -0.7])], list("abc"), [0])[0]
    )


@pytest.mark.parametrize("step", [-1, 13])
def test_marks_must_be_steps(step: int) -> None:
    with pytest.raises(ValueError, match=f"marked step {step} is none of the 13 steps: choose 0 to 12"):
        sentences([layer([0.5] * 13)], NAMES, [2, step])
