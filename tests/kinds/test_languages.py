"""Texts to ids and back, in every unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.text.parallel_set import numbered
from gatewise.data.text.vocabularies import languages
from gatewise.kinds.parallel_text import END_ID, SPECIALS, START_ID, UNKNOWN_ID, Language

SENTENCES = ["Ein Mann geht .", "Der Hund, ein Mann", "<s> ist </s> kein <unk>", "über"]
TEXTS = st.lists(st.text(st.sampled_from("ab ü<s>/é\u0301\u2028"), max_size=12), min_size=1, max_size=5)


def made(units, texts=SENTENCES, size=400, **settings):
    settings = {"joint": True, "min_count": 1, "lowercase": False, "normalize": None, **settings}
    return languages((texts, texts), ("de", "de"), (units, units), size=size, **settings)[0]


@given(TEXTS, st.sampled_from(["subword", "word", "whitespace", "char"]))
def test_texts_at_once_are_numbered_as_one_by_one_and_end(texts, units):
    language = made(units)
    numbers = numbered(texts, language)
    assert numbers.lengths.sum() == len(numbers.ids)
    for text, start, length in zip(texts, numbers.starts, numbers.lengths, strict=True):
        own = numbers.ids[start : start + length].tolist()
        assert own == [*language.ids(text).tolist(), END_ID]
        assert len(language.split(text)) == length - 1
        assert START_ID not in own
        assert own.count(END_ID) == 1


@pytest.mark.parametrize("units", ["subword", "char"])
@given(st.text(st.sampled_from("EinMa Hud.,"), max_size=20))
def test_subwords_and_characters_give_the_text_back_but_for_more_than_one_space(units, text):
    language = made(units)
    assert language.joined(language.ids(text)) == " ".join(text.split())


@pytest.mark.parametrize("units", ["subword", "word", "whitespace", "char"])
def test_a_text_of_white_space_has_no_token(units):
    assert made(units).split("  \t\u2028 \n ") == []


def test_what_a_text_writes_as_a_mark_is_unknown():
    language = made("whitespace")
    assert language.ids("<s> ist </s>").tolist() == [0, language.vocabulary.index("ist"), 0]
    assert [language.vocabulary.count(special) for special in SPECIALS] == [1, 1, 1]


def test_an_unknown_word_is_replaced_by_the_copied_one_and_the_end_ends():
    language = Language("en", (*SPECIALS, "A", "man", "."), "word", False, None)
    ids = [START_ID, 3, UNKNOWN_ID, 4, 5, END_ID, 3, 3]
    assert language.joined(ids) == "A <unk> man."
    assert language.joined(ids, ["", "", "Welsh", "", "", "", "x", "y"]) == "A Welsh man."
    assert language.joined([END_ID]) == ""


def test_case_and_normal_form_are_those_of_the_vocabulary():
    language = made("word", lowercase=True, normalize="NFC")
    assert language.split("U\u0308BER Mann") == ["über", "mann"]
    assert UNKNOWN_ID not in language.ids("U\u0308BER Mann")
