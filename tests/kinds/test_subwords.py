"""Subwords: exact both ways, the same every time, and refused where their string is damaged."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.kinds.subwords import BYTES, Subwords

TEXT = (
    "In the beginning God created the heaven and the earth.\nAnd the earth was without form, and void;\n\n"
    "don't, l’état — 12,500 Äpfel; हिन्दी में ไทย 日本語 👩‍🚀\n"
) * 5


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.train([TEXT], 360, ("<s>", "</s>"))


any_text = st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab \n\t'é日\u0301\u200d.1")


@given(st.lists(any_text, max_size=4))
@settings(deadline=None)
def test_decoding_gives_every_text_back(subwords: Subwords, texts: list[str]) -> None:
    ids, lengths = subwords.encode(texts)
    assert [subwords.decode(part) for part in np.split(ids, lengths.cumsum())[:-1]] == texts
    assert (ids >= 2).all()  # no special token, whatever the text


white = st.text(
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2003\u200b\u2028\u3000\ufeffa.'1", max_size=40
)


@given(any_text | white, st.integers(0, 20))
@settings(deadline=None, max_examples=300)
def test_a_text_may_be_encoded_run_by_run_and_in_pieces(subwords: Subwords, text: str, number: int) -> None:
    whole = subwords.encode([text])[0].tolist()
    assert subwords.encode_runs(subwords.runs(text))[0].tolist() == whole
    blank = [character.isspace() for character in text]
    places = [i for i in range(1, len(text)) if (text[i] == " " and not blank[i - 1]) or text[i - 1] == "\n"]
    if places:
        cut = places[number % len(places)]
        runs = subwords.runs(text[:cut]) + subwords.runs(text[cut:], begins_line=text[cut - 1] == "\n")
        assert subwords.encode_runs(runs)[0].tolist() == whole


def test_reading_gives_the_same_and_training_too(subwords: Subwords) -> None:
    again = Subwords.read(subwords.stored())
    assert again == subwords == Subwords.train(iter(TEXT.splitlines(keepends=True)), 360, ("<s>", "</s>"))
    assert len(again) == 360 == len(set(again.pieces))
    assert again.encode([TEXT])[0].tolist() == subwords.encode([TEXT])[0].tolist()


def test_ids_are_those_of_the_library(subwords: Subwords) -> None:
    """An oracle: each id's bytes, as the library's decoder gives them, and the merges as it makes them."""
    from tokenizers import decoders

    made = subwords._tokenizer(0.0)
    made.decoder = decoders.ByteLevel()
    ids, _ = subwords.encode([TEXT])
    assert "".join(
        " " + line if line.strip() else line for line in TEXT.splitlines(keepends=True)
    ) == made.decode(ids.tolist())
    assert len(ids) < len(TEXT.encode()) / 2


def test_a_vocabulary_has_at_least_the_bytes() -> None:
    assert len(Subwords.train(["aaaa"], BYTES)) == BYTES
    assert len(Subwords.train(["ab ab ab"], 1000)) == BYTES + 2  # "ab", " ab"
    with pytest.raises(ValueError, match="256 bytes and 1 special tokens are 257"):
        Subwords.train(["a"], 256, ("<s>",))


def test_lower_case_and_normal_forms_are_stored() -> None:
    made = Subwords.read(Subwords.train(["ABC ABC"], 300, lowercase=True, normalize="NFKC").stored())
    assert made.decode(made.encode(["ＡBc Ω"])[0]) == "abc ω" == made.prepared("ＡBc Ω")


def test_the_library_is_imported_when_it_is_used() -> None:
    code = "import sys, gatewise.kinds.subwords; print('tokenizers' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_pieces_belong_to_words(subwords: Subwords) -> None:
    ids, _ = subwords.encode(["The earth's void;\nहिन्दी 👩‍🚀"])
    words = subwords.words([*ids, 0, *ids[:1]])
    texts: dict[int, list[int]] = {}
    for word, piece in zip(words, ids, strict=False):
        texts.setdefault(int(word), []).append(int(piece))
    assert [subwords.decode(pieces) for pieces in texts.values()] == [
        "The", "earth's", "void", ";", "\n", "हिन्दी", "👩‍🚀",
    ]  # fmt: skip
    assert words[-2:].tolist() == [words[-3] + 1, words[-3] + 2]


@given(st.lists(st.integers(0, 359), max_size=30))
@settings(deadline=None)
def test_any_ids_can_be_decoded_and_have_words(subwords: Subwords, ids: list[int]) -> None:
    assert isinstance(subwords.decode(ids), str)
    words = subwords.words(ids)
    assert len(words) == len(ids)
    assert np.isin(np.diff(words, prepend=-1)[1:], [0, 1]).all()
    assert words[:1].tolist() == [0] * len(ids[:1])


def test_dropout_gives_other_pieces_of_the_same_text(subwords: Subwords) -> None:
    whole, dropped = subwords.encode([TEXT])[0], subwords.encode([TEXT], dropout=0.5)[0]
    assert len(dropped) > len(whole)
    assert subwords.decode(dropped) == TEXT
    assert subwords.encode([TEXT], dropout=1.0)[0].tolist() != whole.tolist()


def damaged(**changed: object) -> str:
    values = {"format": 1, "specials": ["<s>"], "lowercase": False, "normalize": None, "merges": [[98, 99]]}
    return json.dumps({**values, **changed})


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ("{}", "it has no 'format'"),
        (damaged(format=2), "format 2, not 1"),
        (damaged(specials="<s>"), "special tokens are no names"),
        (damaged(specials=["<s>", "<s>"]), "a special token is there twice"),
        (damaged(normalize="NFX"), "normalize"),
        (damaged(merges=[[98, 99, 100]]), "not pairs"),
        (damaged(merges=[[98, 99], [98]]), "inhomogeneous"),
        (damaged(merges=[["a", "b"]]), "not pairs"),
        (damaged(merges=[[98, 257]]), "merge 1 is of a piece that there is not yet"),
        (damaged(merges=[[0, 98]]), "merge 1 is of a piece"),
        (damaged(merges=[[98, 99], [98, 99]]), "a merge is there twice"),
        (
            damaged(merges=[[98, 98], *([n, n] for n in range(257, 300))]),
            "merge 9 gives a piece of 512 bytes",
        ),
    ],
)
def test_a_damaged_string_is_refused_in_one_line(stored: str, reason: str) -> None:
    with pytest.raises(ValueError, match="the stored subwords are damaged: ") as caught:
        Subwords.read(stored)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Subwords.read(damaged()).pieces[-1] == "ab"


def test_text_of_no_utf8_is_refused(subwords: Subwords) -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        subwords.encode(["a\udcffb"])
