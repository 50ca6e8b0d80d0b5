"""Tags in their schemes: every scheme says the same spans, and what none of its sentences has is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.kinds.tag_schemes import all_tags, allowed, count_illegal, has_prefix, span_tags

CLASSES = ("loc", "per")
READ_AS = {"iob1": "iob2", "iob2": "iob2", "iobes": "iobes"}
"""A scheme with the same prefixes, whose tags are listed."""


def tags_of(scheme):
    return all_tags(CLASSES, READ_AS[scheme])


def encoded(sentences, scheme):
    number = {tag: i for i, tag in enumerate(tags_of(scheme))}
    flat = [tag for sentence in sentences for tag in sentence]
    begins = np.zeros(len(flat), bool)
    begins[np.cumsum([0, *map(len, sentences)])[:-1]] = True
    return np.array([number[tag] for tag in flat], dtype=np.int64), begins


def converted(sentence, scheme, to):
    """A sentence of tags in another scheme."""
    ids, begins = encoded([sentence.split()], scheme)
    spans = span_tags(tags_of(scheme)).spans(ids, begins)
    written = span_tags(tags_of(to)).written(spans, begins, to)
    return " ".join(tags_of(to)[i] for i in written)


WRITTEN = [
    # iob1, iob2, iobes
    ("I-per O I-loc I-loc", "B-per O B-loc I-loc", "S-per O B-loc E-loc"),
    ("I-per B-per I-loc", "B-per B-per B-loc", "S-per S-per S-loc"),
    ("I-per I-per B-per I-per I-per", "B-per I-per B-per I-per I-per", "B-per E-per B-per I-per E-per"),
    ("O O", "O O", "O O"),
]


@pytest.mark.parametrize("row", WRITTEN)
def test_the_same_spans_in_every_scheme(row):
    texts = dict(zip(("iob1", "iob2", "iobes"), row, strict=True))
    for scheme, text in texts.items():
        for to, expected in texts.items():
            assert converted(text, scheme, to) == expected


def test_a_sentence_ends_a_span():
    ids, begins = encoded([["I-per"], ["I-per", "I-per"]], "iob1")
    spans = span_tags(tags_of("iob1")).spans(ids, begins)
    assert (spans.first.tolist(), spans.end.tolist()) == ([0, 1], [1, 3])
    tags = span_tags(tags_of("iob1"))
    assert tags.written(spans, begins, "iob1").tolist() == ids.tolist()


ANY_TAGS = st.lists(st.lists(st.sampled_from(tags_of("iobes")), min_size=1, max_size=7), max_size=4)


@given(ANY_TAGS, st.sampled_from(["iob1", "iob2", "iobes"]))
def test_whatever_is_read_is_written_by_the_rules_and_read_as_the_same(sentences, to):
    ids, begins = encoded(sentences, "iobes")
    spans = span_tags(tags_of("iobes")).spans(ids, begins)
    tags = span_tags(tags_of(to))
    written = tags.written(spans, begins, to)
    assert count_illegal(written, begins, allowed(tags, to)) == 0
    again = tags.spans(written, begins)
    assert [part.tolist() for part in again] == [part.tolist() for part in spans]


ILLEGAL = {
    "iob2": {"I-per": 1, "O I-loc": 1, "B-per I-loc": 1, "B-per I-per O": 0, "I-per I-per": 1},
    "iob1": {"B-per": 1, "O B-loc": 1, "I-per B-loc": 1, "I-per B-per": 0, "I-per I-loc": 0},
    # The beginning of one tag or the end of another: each pair that does not fit counts once.
    "iobes": {
        "B-per": 1,
        "S-per": 0,
        "I-per": 2,
        "B-per E-per": 0,
        "B-per O": 1,
        "B-per E-loc": 1,
        "O E-per": 1,
    },
}


@pytest.mark.parametrize(
    ("scheme", "text", "count"),
    [(scheme, text, count) for scheme, cases in ILLEGAL.items() for text, count in cases.items()],
)
def test_what_a_scheme_does_not_allow_is_counted(scheme, text, count):
    ids, begins = encoded([["O"], text.split(), ["O", "O"]], scheme)
    assert count_illegal(ids, begins, allowed(span_tags(tags_of(scheme)), scheme)) == count


def test_forms_of_tags():
    assert has_prefix("B-creative-work", "iob2")
    assert not has_prefix("S-per", "iob2")
    assert has_prefix("S-per", "iobes")
    for wrong in ("NN", "B", "B-", "-per", "X-per", "b-per"):
        assert not has_prefix(wrong, "iobes")
        with pytest.raises(ValueError, match="neither O nor a prefix and a class"):
            span_tags(["O", wrong])
    assert span_tags(["O", "B-creative-work"]).names == ("creative-work",)
