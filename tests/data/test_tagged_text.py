"""Column files: how they are written, their schemes and parts, and one line for what is wrong."""

import codecs
import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.text import TaggedText
from gatewise.data.text.columns import Columns, read_columns
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.tagged_text import words_of

SENTENCES = [
    (["Ann", "left", "New", "York"], ["B-per", "O", "B-loc", "I-loc"]),
    (["It", "rained"], ["O", "O"]),
    (["Bob", "Ann", "and", "I", "met", "in", "Rome"], ["B-per", "B-per", "O", "O", "O", "O", "B-loc"]),
    (["Rome"], ["B-loc"]),
] * 5  # fmt: skip


def columns_of(sentences, separator="\t", end="\n"):
    return (end + end).join(
        end.join(f"{word}{separator}{tag}" for word, tag in zip(words, tags, strict=True))
        for words, tags in sentences
    ) + end


def make(place, **settings):
    data = TaggedText(**{"files": ["mine.conll"], "folders": [place], "seed": 3, **settings})
    data.setup()
    return data


def write(place, content, name="mine.conll"):
    path = place / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_back(data, facts):
    """(words, tags) of every sentence of a part, from its batches."""
    found = []
    for i in range(len(data)):
        batch = data[[i]]
        words = [facts.vocabulary[w] for w in batch.words[0].tolist()]
        found.append((words, [facts.tags[t] for t in batch.targets[0].tolist()]))
    return found


FORMS = {
    "tabs": (columns_of(SENTENCES), {}),
    "spaces": (columns_of(SENTENCES, " "), {"separator": "space"}),
    "any white space": (columns_of(SENTENCES, "  \t "), {}),
    "CRLF and a mark": (codecs.BOM_UTF8 + columns_of(SENTENCES, end="\r\n").encode(), {"separator": "tab"}),
    "documents": ("-DOCSTART- -X- O\n\n" + columns_of(SENTENCES) + "-DOCSTART-\tO\n", {}),
    "comments": ("# a text\n" + columns_of(SENTENCES).replace("\n\n", "\n\n# the next\n"), {"comment": "# "}),
    "blank lines of white space": (columns_of(SENTENCES).replace("\n\n", "\n \t\n\n\n"), {}),
    "four columns": (columns_of(SENTENCES, " NN I-NP "), {}),
    "tags first": (
        columns_of([(tags, words) for words, tags in SENTENCES]), {"word_column": -1, "tag_column": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "settings"), FORMS.values(), ids=FORMS)
def test_forms_of_files(content, settings, tmp_path):
    write(tmp_path, content)
    write(tmp_path, columns_of(SENTENCES[:2]), "plain.conll")
    data = make(
        tmp_path, lowercase=False, tagged_as="iob2", validation_fraction=0.2, test_fraction=0.2, **settings
    )
    parts = [data.train_data, data.validation_data, data.test_data]
    found = [sentence for part in parts for sentence in read_back(part, data.facts)]
    unknown = {word for words, _ in SENTENCES for word in words} - {*data.facts.vocabulary}
    expected = [([("<unk>" if w in unknown else w) for w in words], tags) for words, tags in SENTENCES]
    assert sorted(found) == sorted(expected)
    assert [len(part) for part in parts] == [12, 4, 4]
    assert facts_from_dict(data.facts.to_dict()) == data.facts


def test_a_hashtag_is_no_comment(tmp_path):
    write(tmp_path, "#fun\tO\n#more\tO\n")
    found = read_columns([tmp_path / "mine.conll"], Columns(0, -1, "tab", None))
    assert found.words == ["#fun", "#more"]


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(["a", "b#", "-x"]), min_size=1, max_size=4), st.integers(1, 3))
    )
)
def test_gaps_are_where_sentences_end(tmp_path_factory, rows):
    if not rows:
        return
    path = tmp_path_factory.mktemp("columns") / "mine.conll"
    path.write_text("\n".join(
        "".join(f"{word}\tO\n" for word in words) + "\n" * gap for words, gap in rows
    ))  # fmt: skip
    found = read_columns([path], Columns(0, -1, "tab", None))
    assert found.texts() == [words for words, _ in rows]
    lines = path.read_text().split("\n")
    assert [lines[line - 1].split("\t")[0] for line in found.lines] == found.words


def test_schemes_of_files(tmp_path, caplog):
    """The same spans from each of them, learnt in each; what is not allowed is told."""
    same = {
        "iob1": "Ann I-per\nBob B-per\nin O\nRome I-loc\nO O\n\n",
        "iob2": "Ann B-per\nBob B-per\nin O\nRome B-loc\nO O\n\n",
        "iobes": "Ann S-per\nBob S-per\nin O\nRome S-loc\nO O\n\n",
    }
    found = []
    for scheme, text in same.items():
        write(tmp_path, 10 * text)
        data = make(tmp_path, scheme=scheme)
        assert data.facts.tags == (
            "O", "B-loc", "I-loc", "E-loc", "S-loc", "B-per", "I-per", "E-per", "S-per"
        )  # fmt: skip
        found.append(read_back(data.train_data, data.facts))
    assert found[0] == found[1] == found[2]
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        write(tmp_path, 9 * same["iob2"] + "in O\nNew I-loc\nYork I-loc\n")
        data = make(tmp_path)
    assert [m for m in caplog.messages if "1 tag(s) are not allowed where they are in the scheme iob2" in m]
    everything = [tags for part in (data.train_data, data.validation_data, data.test_data)
                  for _, tags in read_back(part, data.facts)]  # fmt: skip
    assert ["O", "B-loc", "E-loc"] in everything


def test_words_and_spellings(tmp_path):
    content = "".join(f"{word} X\n" for word in ("Straße", "STRASSE", "A1", "a2", "cafe\u0301", "n-n"))
    write(tmp_path, 9 * (content + "\nlong Y\n\n"))
    data = make(tmp_path, scheme="plain", longest_word=5)
    facts = data.facts
    assert set(facts.vocabulary) == {"<unk>", "straße", "strasse", "a0", "café", "n-n", "long"}
    assert facts.counts[facts.vocabulary.index("a0")] == 2 * (facts.counts[facts.vocabulary.index("café")])
    batch = data.train_data[[0, 1]]
    for row in range(2):
        for step in range(int(batch.lengths[row])):
            spelling = int(batch.spelled[row, step])
            length = int(batch.spelling_lengths[spelling])
            ids = batch.spellings[spelling]
            letters = "".join(facts.characters[i] for i in ids[:length].tolist())
            word = facts.vocabulary[int(batch.words[row, step])]
            assert word.startswith(facts.looked_up(letters)), "as in the file, cut"
            assert ids[length:].tolist() == [0] * (len(ids) - length)
    kept = make(tmp_path, scheme="plain", lowercase=False, zero_digits=False).facts
    assert {"Straße", "A1", "a2", "café"} <= set(kept.vocabulary)


def test_batches_hold_every_training_word_once(tmp_path):
    write(tmp_path, columns_of(SENTENCES))
    data = make(tmp_path, batch_size=4, batch_tokens=8)
    batches = list(data.train_dataloader())
    assert sum(int(batch.lengths.sum()) for batch in batches) == len(data.train_data.words)
    for batch in batches:
        assert len(batch.lengths) <= 4
        assert batch.words.numel() <= 8 or len(batch.lengths) == 1
        padding = torch.arange(batch.words.shape[1]) >= batch.lengths[:, None]
        assert bool((batch.targets[padding] == IGNORED).all())
        assert bool((batch.targets[~padding] != IGNORED).all())


def test_the_usual_tag_of_a_word_stands_beside_the_test(tmp_path):
    write(tmp_path, 8 * "may MD\nwill MD\n\n" + 4 * "May NN\nmay NN\n\n" + 2 * "will NN\n\n")
    write(tmp_path, "may MD\nMay NN\nnever MD\n", "test.conll")
    data = make(tmp_path, scheme="plain", test_files=["test.conll"], validation_fraction=0.1)
    (batch,) = data.test_dataloader()
    assert batch.texts == [["may", "May", "never"]]
    assert [data.facts.tags[i] for i in batch.usual[0].tolist()] == ["MD", "NN", "MD"]


def test_an_evaluation_needs_the_test_file_alone(tmp_path):
    write(tmp_path, columns_of(SENTENCES))
    facts = make(tmp_path).facts
    write(tmp_path, columns_of(SENTENCES[:3]), "test.conll")
    data = TaggedText(files=["gone.conll"], test_files=["test.conll"], folders=[tmp_path])
    data.facts = facts
    data.setup("test")
    (batch,) = data.test_dataloader()
    assert sorted(batch.texts) == sorted(words for words, _ in SENTENCES[:3])
    assert batch.usual is None


INPUTS = {
    "mine.conll": ("Ann O\nin O\n\nRome B-loc\n", [["Ann", "in"], ["Rome"]], ["O", "O", "B-loc"]),
    "words.tsv": ("Ann\nin\n\nRome\n", [["Ann", "in"], ["Rome"]], None),
    "mine.txt": ("Ann, in Rome.\n\n@bob!", [["Ann", ",", "in", "Rome", "."], ["@bob", "!"]], None),
}


@pytest.mark.parametrize("name", INPUTS)
def test_files_to_predict_for(name, tmp_path):
    content, sentences, tags = INPUTS[name]
    write(tmp_path, columns_of([*SENTENCES, (["."], ["O"])] * 2))
    facts = make(tmp_path).facts
    given = TaggedText.read_input(write(tmp_path, content, name), facts)
    assert given.batch.texts == sentences
    assert given.columns == ({"tag in the file": tags} if tags else {})
    assert bool((given.batch.targets == IGNORED).all())


def test_a_word_without_end_is_told_where_it_is(tmp_path):
    write(tmp_path, columns_of(SENTENCES))
    facts = make(tmp_path).facts
    with pytest.raises(
        ValueError, match=r"long\.txt:2: a word of 20,000 characters; at most 10,000 are read"
    ):
        TaggedText.read_input(write(tmp_path, "Ann\n" + "x" * 20_000, "long.txt"), facts)


def test_a_sentence_that_was_typed(tmp_path):
    write(tmp_path, columns_of([*SENTENCES, (["."], ["O"])] * 2))
    with_signs = make(tmp_path).facts
    write(tmp_path, columns_of(SENTENCES))
    without = make(tmp_path).facts
    typed = "In Rome, at https://a.b/c?d. #fun"
    expected = [["In", "Rome", ",", "at", "https://a.b/c?d.", "#fun"]]
    assert TaggedText.read_input(typed, with_signs).batch.texts == expected
    # No word of this training text is a sign.
    assert TaggedText.read_input(typed, without).batch.texts == [[w for w in expected[0] if w != ","]]
    assert words_of("“No,” he said; it's 3.5 %") == [
        "“",
        "No",
        ",",
        "”",
        "he",
        "said",
        ";",
        "it's",
        "3.5",
        "%",
    ]
    for nothing in (" ", ",.", "\udc80"):
        with pytest.raises(ValueError, match="input="):
            TaggedText.read_input(nothing, without)


GOOD = columns_of(SENTENCES)
BAD = {
    "missing column": (GOOD + "alone\n", {}, r":90: 1 column\(s\) in 'alone', but .* need 2, sep"),
    "other separator": (GOOD.replace("\t", " "), {"separator": "tab"}, r":1: 1 column\(s\) in 'Ann B"),
    "a column less": (
        GOOD.replace("\t", " NN I-NP ") + "Ann NN I-NP\n", {}, r":90: 3 column\(s\) .* line 1 has 4",
    ),
    "a column more": (GOOD + "New York O\n", {}, r"mine.conll:90: 3 column\(s\) in .* line 1 has 2"),
    "empty word": (GOOD + "\tO\n", {"separator": "tab"}, r"mine.conll:90: the word is empty"),
    "empty tag": (GOOD + "a\t \n", {"separator": "tab"}, r"mine.conll:90: the tag is empty"),
    "odd tag": (GOOD + "a\tO\x07\n", {}, r"mine.conll:90: the tag .* has a character that cannot be seen"),
    "empty file": ("", {}, r"mine.conll holds no word"),
    "blank file": ("\n \n-DOCSTART- O\n", {}, r"mine.conll holds no word"),
    "NUL": (GOOD + "a\0b\tO\n", {}, r"mine.conll:90: a NUL byte"),
    "mixed encodings": (GOOD.encode() + b"\xe9\tO\n", {}, r"mine.conll:90: byte 0xe9 .* is not UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), {}, r"mine.conll:1: byte .*UTF-16"),
    "no prefixes": (GOOD.replace("B-loc", "NN"), {}, r":3: tag 'NN' does not fit to data.scheme=iob2"),
    "other prefixes": (GOOD.replace("B-l", "S-l"), {}, r":3: tag 'S-loc' .* set data.scheme=iobes"),
    "iob1": (GOOD.replace("B-", "I-"), {}, r"conll: \d+ of its tags are not .* set data.scheme=iob1$"),
    "one tag": ("a\tX\n\n" * 30, {"scheme": "plain"}, r"data.files: every word to train on has the tag 'X'"),
    "no span": ("a\tO\n\n" * 30, {}, r"data.files: every word to train on has the tag 'O'"),
    "one sentence": ("a\tO\nb\tB-x\n", {}, r"data.test_fraction=0.1 of 1 sentence\(s\) leaves none for test"),
    "rare words": (GOOD, {"min_count": 99}, r"none of the \d+ training words comes 99 times"),
    "one column": (GOOD, {"tag_column": 0}, r"word_column=0 and tag_column=0 are one column"),
    "two sources": (GOOD, {"corpus": "greek_new_testament"}, r"give one of corpus .* got both"),
    "no source": (GOOD, {"files": None}, r"give one of corpus .* got neither"),
    "a long word": (GOOD + "a" * 20_000 + "\tO\n", {}, r"mine.conll:90: a word of 20,000 characters"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "settings", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(content, settings, message, tmp_path):
    write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        make(tmp_path, **settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_tag_that_training_does_not_have(tmp_path):
    write(tmp_path, GOOD)
    write(tmp_path, "a\tO\nb\tI-lok\n", "test.conll")
    with pytest.raises(
        ValueError, match=r"test.conll:2: tag 'I-lok' is not among the classes .*'loc'\?\): loc, per$"
    ):
        make(tmp_path, test_files=["test.conll"])
    write(tmp_path, "a\tX\nb\tY\n\n" * 20)
    write(tmp_path, "a\tX\nb\tZ\n", "test.conll")
    with pytest.raises(ValueError, match=r"test.conll:2: tag 'Z' is not among the tags .*: X, Y$"):
        make(tmp_path, scheme="plain", test_files=["test.conll"])


def test_the_greek_new_testament():
    data = TaggedText(corpus="greek_new_testament", seed=1)
    data.setup()
    parts = (data.train_data, data.validation_data, data.test_data)
    assert sum(len(part.words) for part in parts) == 137_554
    assert len(data.facts.tags) == 13
    assert data.facts.scheme == "plain"
    sizes = np.array([len(part) for part in parts])
    assert (sizes / sizes.sum()).round(2).tolist() == [0.8, 0.1, 0.1]
    # Its first verse, wherever it is: "The book of the genealogy of Jesus Christ, the son of David …"
    first = ["Βίβλος", "γενέσεως", "Ἰησοῦ", "χριστοῦ", "υἱοῦ", "Δαυὶδ", "υἱοῦ", "Ἀβραάμ"]
    vocabulary = data.facts.vocabulary
    every = {tuple(vocabulary[w] for w in words.tolist()) for part in parts
             for words in part.words.split(part.lengths.tolist())}  # fmt: skip
    known = tuple(word.lower() if word.lower() in vocabulary else "<unk>" for word in first)
    assert known in every


def test_the_description_says_what_is_there(tmp_path):
    write(tmp_path, columns_of(SENTENCES))
    write(tmp_path, columns_of(SENTENCES[3:4]), "test.conll")
    rows = make(tmp_path, test_files=["test.conll"], validation_fraction=0.2).describe()
    assert rows["test"] == "1 sentences, 1 words"
    assert rows["scheme"] == "iob2, learnt as iobes"
    assert rows["not in test"] == "per"
    assert rows["also in training"] == "1 of the test sentences, word for word"
    assert rows["words not in training"].endswith("0.00% of test")
