"""Facts whose values contradict each other, as in an edited file."""

import json
import math
from dataclasses import dataclass, fields
from inspect import signature
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.series.module import SeriesWindows
from gatewise.kinds.kind import Facts
from gatewise.kinds.labelled_text import LabelledTextFacts
from gatewise.kinds.parallel_text import SPECIALS, ParallelTextFacts
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.sequences import FeatureFacts
from gatewise.kinds.series import WRITTEN, SeriesFacts
from gatewise.kinds.subwords import Subwords
from gatewise.kinds.tagged_text import TaggedTextFacts
from gatewise.kinds.text import TextFacts
from gatewise.runs.run import Run

NAN, INF = math.nan, math.inf
SUBWORDS = Subwords.train(["a a a a"], 260, SPECIALS)
FACTS = {
    "features": FeatureFacts(2, ("a", "b"), (3, 0), (0.1, -2e17), (1.0, 1e-30)),
    "text": TextFacts(("<unk>", "a", "b"), (0, 2, 3), "char", True),
    "labelled_text": LabelledTextFacts(
        ("<unk>", "a", "b"), (0, 2, 3), "word", True, None, 5, "text", "label", ("neg", "pos"), (3, 0)
    ),
    "tagged_text": TaggedTextFacts(
        ("<unk>", "a", "b"),
        (0, 2, 3),
        True,
        False,
        ("<unk>", "a"),
        30,
        ("O", "B-x", "I-x"),
        (3, 1, 0),
        "iob1",
        "iob2",
        0,
        -1,
        "tab",
        None,
    ),
    "parallel_text": ParallelTextFacts(
        "de",
        "en",
        (*SPECIALS, "ein"),
        SUBWORDS.pieces,
        (0, 0, 2, 5),
        (0, 0, 2, *[1] * 257),
        "word",
        "subword",
        False,
        True,
        None,
        7,
        None,
        SUBWORDS.stored(),
        "de",
        "en",
    ),
    "series": SeriesFacts("t", ("x", "y"), ("y",), "D", 5, 2, 1, (0.0, 1.0), (1.0, 3.0)),
}
NUMBERS = [0, -1, 10**18 * 10, 10**400, 1.5, NAN, INF, "5", None, True, [], {}]
WRONG = {
    "features": {
        "feature_size": [*NUMBERS, 1, 3, 10**11],
        "classes": [[], ["a"], ["a", "a"], ["a", 5], "ab", None, ["a", None], {}],
        "class_counts": [[], [1], [0, 0], [1, -1], [10**30, 1], [2**63 - 1, 1], [1.5, 1], [True, 1], 5],
        "mean": [[], [0.0], [0.0] * 3, [NAN, 0.0], [10**400, 0.0], ["x", 0.0], None],
        "std": [[], [1.0], [0.0, 1.0], [-1.0, 1.0], [INF, 1.0], [True, 1.0]],
    },
    "text": {
        "vocabulary": [[], ["a"], ["a", "a", "b"], ["a", "b", 5], None],
        "counts": [[], [-1], [1, 2], [1, 2, -3], [0, 0, 0], [10**30] * 3, [1, 2, 3, 4]],
        "tokenizer": ["nope", "", 5, None],
        "lowercase": [5, None, "x"],
        "normalize": ["NFD", "", 5],
        "marks": [None, 5],
    },
    "labelled_text": {
        "vocabulary": [[], ["a"], ["a", "a", "b"], ["a", "b", 5], None],
        "counts": [[], [1, 2], [1, 2, -3], [0, 0, 0], [10**30] * 3],
        "tokenizer": ["nope", "", 5, None],
        "lowercase": [5, None],
        "normalize": ["NFD", "", 5],
        "max_length": [0, -1, 1.5, "5", 10**30],
        "text_column": ["", 5, None],
        "label_column": ["", None],
        "classes": [[], ["a"], ["a", "a"], ["a", 5], "ab", None],
        "class_counts": [[], [1], [0, 0], [1, -1], [1.5, 1]],
    },
    "tagged_text": {
        "vocabulary": [[], ["a"], ["a", "a", "b"], ["a", "b", 5], None],
        "counts": [[], [1, 2], [1, 2, -3], [0, 0, 0], [10**30] * 3],
        "lowercase": [5, None],
        "zero_digits": [5, None],
        "characters": [[], ["a", "a"], [5], None, "ab"],
        "longest_word": [0, -1, 1.5, "5", None, 10**30],
        "tags": [[], ["O"], ["O", "B-x", "B-x"], ["O", "B-x", "E-x"], ["O", "B-x", "NN"], ["O", "B-x", 5]],
        "tag_counts": [[], [1], [0, 0, 0], [1, -1, 0], [1.5, 1, 1]],
        "scheme": ["nope", "", None, "plain"],
        "tagged_as": ["nope", "iob1", None, "plain"],
        "word_column": [None, 1.5, "0", 10**30],
        "tag_column": [None, 1.5, "0"],
        "separator": ["nope", "", None],
        "comment": ["", 5],
    },
    "parallel_text": {
        "source_language": [5, None],
        "source_vocabulary": [[], ["<unk>", "a"], [*SPECIALS, "a", "a"], ["a", *SPECIALS], None],
        "target_vocabulary": [[*SPECIALS, "a"], [*SPECIALS[::-1], *SUBWORDS.pieces[3:]]],
        "source_counts": [[], [1, 2], [0, 0, 0, 0], [1, 1, 1, -1]],
        "source_units": ["nope", "subword", "", 5, None],
        "target_units": ["word", "nope"],
        "joint": [True, 5, None],
        "lowercase": [5, None],
        "normalize": ["NFD", "", 5],
        "longest_target": [0, -1, 1.5, "5", 10**30],
        "source_subwords": ["", "{}", SUBWORDS.stored(), 5],
        "target_subwords": [None, "", "{}", SUBWORDS.stored()[:-3], 5],
        "source_column": ["", 5, None],
        "target_column": ["", None],
    },
    "series": {
        "time_column": [5, None, []],
        "columns": [[], ["x"], ["x", "x"], ["x", "z"], ["x", "y", "z"], "xy"],
        "targets": [[], ["z"], ["y", "y"], "y", None],
        "frequency": [
            5,
            "",
            "xx",
            "0D",
            "D D",
            "-1D",
            "1" * 30 + "D",
            "9" * 20 + " months on day 15",
            "2 months on day 99",
            "2 months on day 0",
        ],
        "lookback": NUMBERS,
        "horizon": NUMBERS,
        "season": NUMBERS,
        "mean": [[], [0.0], [NAN, 0.0], [10**400, 0.0]],
        "std": [[], [1.0], [0.0, 1.0], [-1.0, 1.0]],
        "time_format": ["", "x" * 10_000, 5],
        "separator": ["nope", "", None, ","],
        "decimal": ["nope", "", None],
        "thousands": ["nope", "", 5],
    },
}
CASES = [(kind, name, value) for kind in WRONG for name, values in WRONG[kind].items() for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=lambda value: str(value)[:20])
def test_facts_that_cannot_be(kind, name, value, tmp_path):
    stored = {**FACTS[kind].to_dict(), name: value}
    try:
        (tmp_path / "facts.json").write_text(json.dumps(stored))
    except ValueError:
        pytest.skip("JSON has no such number")
    with pytest.raises(ValueError, match=r"facts.json(:\d+)?: ") as caught:
        Run(tmp_path).facts()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("kind", FACTS)
def test_those_that_can_be_are_read(kind):
    assert facts_from_dict(json.loads(json.dumps(FACTS[kind].to_dict()))) == FACTS[kind]


FREQUENCIES = ["D", "h", "15min", "MS", "ME", "QS-OCT", "QE-DEC", "BQE-DEC", "W-SUN", "YE-DEC", "YS-JAN", "B"]
FREQUENCIES += [
    "WOM-2TUE",
    "LWOM-FRI",
    "M",
    "Q-DEC",
    "A-DEC",
    "AS-JAN",
    "H",
    "T",
    "10s",
    "250ms",
    "BMS",
    "bh",
]
FREQUENCIES += ["2 months on day 15", "1 month on day 31", "BYE-DEC", "2D", "3h", "100us", "5ns", "SMS-15"]


@pytest.mark.parametrize("frequency", [*FREQUENCIES, None])
def test_every_time_step_that_was_ever_written_is_read(frequency):
    facts_from_dict({**FACTS["series"].to_dict(), "frequency": frequency})


def test_how_a_series_is_written_is_what_its_data_takes():
    hints = get_type_hints(SeriesWindows.__init__)
    for name, known in WRITTEN.items():
        assert name in signature(SeriesWindows).parameters
        parts = [get_args(part) or (None,) for part in get_args(hints[name]) if not isinstance(part, str)]
        assert {*known} == ({*sum(parts, ())} or {*get_args(hints[name])})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.sampled_from(sorted(FACTS)), st.data())
def test_any_value_is_refused_in_one_line_or_facts_are_whole(kind, data):
    stored = FACTS[kind].to_dict()
    for name in data.draw(st.sets(st.sampled_from(sorted(stored)), min_size=1, max_size=3)):
        stored[name] = data.draw(VALUES)
    try:
        facts = facts_from_dict(stored)
    except ValueError as error:
        line = str(error)
        if "\n" in line:
            raise AssertionError(line) from error
        return
    facts.check()
    assert {field.name for field in fields(facts)} <= {*facts.to_dict()}


@dataclass(frozen=True)
class OwnFacts(Facts):
    kind = "own of test_facts"
    summary = "numbers up to a limit"

    limit: int
    numbers: tuple[int, ...]

    def check(self):
        if max(self.numbers, default=0) > self.limit:
            raise self.wrong("numbers", f"must be at most {self.limit}")


def test_a_users_own_facts_have_checks_too(tmp_path):
    run = Run(tmp_path)
    run.save_facts(OwnFacts(3, (1, 2)))
    assert run.facts() == OwnFacts(3, (1, 2))
    with pytest.raises(ValueError, match=r"numbers must be at most 3, got \(5,\)"):
        run.save_facts(OwnFacts(3, (5,)))
    (tmp_path / "facts.json").write_text('{"kind": "own of test_facts", "limit": 3, "numbers": [5]}')
    with pytest.raises(ValueError, match=r"facts.json: own of test_facts facts: numbers must be at most 3"):
        run.facts()
