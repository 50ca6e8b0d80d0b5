"""Texts of any size: the ids of the whole text, counts by hand, and a cache that is never wrong."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data.files import read_blocks
from gatewise.data.text import LanguageText, cache, coding
from gatewise.data.text.coding import Settings, make_coder
from gatewise.data.text.prepared import InMemory, prepare
from gatewise.data.text.running import Part, Source, Text, chunked
from gatewise.kinds.text import TextFacts
from gatewise.kinds.tokens import Vocabulary, make_tokenizer

some_text = st.text(
    st.sampled_from("aàbΣσß'’-.,1 \n\t\u00a0\u0301\u200b\u200d\u3000日\x1c<unk>"), max_size=60
) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=40)


def blocks(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@given(some_text, st.integers(1, 9), st.integers(1, 20))
def test_chunks_are_the_text_cut_between_words(text: str, block: int, size: int) -> None:
    chunks = list(chunked(blocks(text, block), size))
    assert "".join(chunk.text for chunk in chunks) == text
    assert all(chunk.text for chunk in chunks)
    for before, chunk in itertools.pairwise(chunks):
        assert chunk.begins_line == before.text.endswith("\n")
        assert chunk.begins_line or (chunk.text[0] == " " and not before.text[-1].isspace())


def test_a_run_without_a_space_is_cut_where_it_is_too_long() -> None:
    chunks = list(chunked(blocks("x" * 100 + " y", 7), 10, 30))
    assert [len(chunk.text) for chunk in chunks] == [35, 35, 30, 2]


SETTINGS = Settings("word", False, None, 1, None, None)


@given(
    some_text,
    st.integers(1, 9),
    st.sampled_from(["word", "whitespace", "char"]),
    st.booleans(),
    st.sampled_from([None, "NFC", "NFKC"]),
)
@settings(deadline=None, max_examples=300)
def test_ids_are_those_of_the_whole_text(text: str, size: int, name: str, lower: bool, form) -> None:
    """The oracle splits the text in one go, and numbers its tokens one by one."""
    text += "\n"
    tokens = make_tokenizer(name, lower, form).tokenize(text)
    vocabulary = Vocabulary.build(tokens, make_tokenizer(name).specials, 1)
    facts = TextFacts(vocabulary.tokens, vocabulary.counts, name, lower, form, marks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "MOST_RUNS", 3)  # forgotten after nearly every chunk
        coder = make_coder(SETTINGS, facts)
        ids = [coder.code(chunk) for chunk in chunked(blocks(text, size), size)]
    assert np.concatenate(ids).tolist() == vocabulary.encode(tokens).tolist()


@given(
    st.lists(some_text, min_size=3, max_size=3),
    st.sampled_from(["word", "whitespace", "char"]),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_a_prepared_text_has_the_counts_of_its_tokens(texts: list[str], name: str, least: int) -> None:
    texts = [f"a a a\n{text}\n" for text in texts]
    tokenizer = make_tokenizer(name)
    tokens = [tokenizer.tokenize(text) for text in texts]
    names = ("train", "validation", "test")
    parts = {part: Part(Source(text=text)) for part, text in zip(names, texts, strict=True)}
    made = prepare(parts, Settings(name, False, None, least, None, 5), None, InMemory())
    vocabulary = Vocabulary.build(tokens[0][:5], tokenizer.specials, least)
    assert (made.facts.vocabulary, made.facts.counts) == (vocabulary.tokens, vocabulary.counts)
    assert made.ids["train"].tolist() == vocabulary.encode(tokens[0][:5]).tolist()
    for part, text, split in list(zip(names, texts, tokens, strict=True))[1:]:
        ids, counted = made.ids[part], made.counted[part]
        assert ids.tolist() == vocabulary.encode(split).tolist()
        assert counted.tokens == len(split)
        assert counted.unknown == int((ids == 0).sum())
        assert counted.characters == len(text)
        assert counted.words == sum(len(line.split()) + 1 for line in text.split("\n") if line.split())
        assert counted.first == 1


TEXT = "The cat sat on the mat, and the dog sat on the log.\n\nÀ bientôt !\n" * 60


def made_text(tmp_path: Path, text: str | bytes = TEXT, name: str = "a.txt", **given) -> LanguageText:
    path = tmp_path / name
    content = text if isinstance(text, bytes) else text.encode()
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    options = {
        "files": [name],
        "folders": [tmp_path],
        "batch_size": 4,
        "cache_dir": tmp_path / "cache",
        **given,
    }
    module = LanguageText(**options)
    module.setup()
    return module


def folders(tmp_path: Path) -> list[Path]:
    return [entry for entry in (tmp_path / "cache" / "texts").glob("*") if len(entry.name) == 32]


@pytest.mark.parametrize("tokenizer", ["word", "char", "whitespace", "subword"])
def test_files_and_memory_give_the_same(tmp_path: Path, tokenizer: str, monkeypatch) -> None:
    in_memory = made_text(tmp_path, tokenizer=tokenizer, cache_dir=None)
    written = made_text(tmp_path, tokenizer=tokenizer)
    monkeypatch.setattr(cache, "prepare", lambda *_: pytest.fail("prepared a second time"))
    read = made_text(tmp_path, tokenizer=tokenizer)
    for module in (written, read):
        assert (module.facts, module.counted) == (in_memory.facts, in_memory.counted)
        for part in ("train_ids", "validation_ids", "test_ids"):
            assert getattr(module, part).tolist() == getattr(in_memory, part).tolist()
    assert isinstance(np.asarray(read.test_ids).base, object)
    trained = LanguageText(files=["a.txt"], folders=[tmp_path], batch_size=4, cache_dir=tmp_path / "cache")
    trained.facts = read.facts
    trained.tokenizer = tokenizer
    trained.setup("test")  # an evaluation reads what the training has prepared
    assert trained.test_ids.tolist() == read.test_ids.tolist()


def test_subwords_give_the_text_back(tmp_path: Path) -> None:
    module = made_text(tmp_path, tokenizer="subword", max_vocabulary=280)
    parts = (module.train_ids, module.validation_ids, module.test_ids)
    assert "".join(module.facts.decoded(ids.tolist()) for ids in parts) == TEXT
    assert len(module.facts.vocabulary) == 280
    assert module.facts.counts == tuple(np.bincount(module.train_ids, minlength=280))
    counted = module.counted["test"]
    text = module.facts.decoded(module.test_ids.tolist())
    assert counted.characters == len(text)
    first = module.facts.decoded(module.test_ids[:1].tolist())
    assert counted.sizes[0] * (len(module.test_ids) - 1) == pytest.approx(len(text) - len(first))


def test_other_content_or_settings_are_another_text(tmp_path: Path) -> None:
    made_text(tmp_path)
    made_text(tmp_path)
    assert len(folders(tmp_path)) == 1
    made_text(tmp_path, min_count=2)
    made_text(tmp_path, validation_fraction=0.1)
    other = made_text(tmp_path, TEXT.replace("cat", "cow"))  # of the same size, and just now
    assert len(folders(tmp_path)) == 4
    assert "cow" in other.facts.vocabulary
    made_text(tmp_path, TEXT, "b.txt")  # the same text by another name
    assert len(folders(tmp_path)) == 4


def test_a_digest_is_kept_while_the_file_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc")
    kept = cache.Cache(tmp_path)
    assert (
        kept.digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2
    path.write_text("abd")  # within the time that a file system may not tell apart
    assert kept.digest(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    before = time.time() - 100
    os.utime(path, (before, before))
    found = kept.digest(path)
    monkeypatch.setattr(cache, "digest", lambda _: pytest.fail("read again"))
    assert kept.digest(path) == found
    (note,) = (tmp_path / "texts" / "digests").iterdir()
    note.write_text("{")
    with pytest.raises(pytest.fail.Exception):
        kept.digest(path)


def truncate(folder: Path) -> None:
    with (folder / "train").open("r+b") as file:
        file.truncate(5)


def flip(folder: Path) -> None:
    data = bytearray((folder / "test").read_bytes())
    data[7] ^= 1
    (folder / "test").write_bytes(data)


def of_another(folder: Path) -> None:
    about = (folder / "prepared.json").read_text()
    (folder / "prepared.json").write_text(about.replace(folder.name, "0" * 32))


def emptied(folder: Path) -> None:
    (folder / "prepared.json").write_text("")


def lost(folder: Path) -> None:
    (folder / "validation").unlink()


def edited(folder: Path) -> None:
    about = (folder / "prepared.json").read_text()
    (folder / "prepared.json").write_text(about.replace('"tokens"', '"takens"', 1))


@pytest.mark.parametrize("damage", [truncate, flip, of_another, emptied, lost, edited])
def test_a_damaged_text_is_made_anew(tmp_path: Path, damage, caplog) -> None:
    whole = made_text(tmp_path)
    expected = whole.train_ids.tolist(), whole.test_ids.tolist()
    del whole
    (folder,) = folders(tmp_path)
    damage(folder)
    again = made_text(tmp_path)
    assert (again.train_ids.tolist(), again.test_ids.tolist()) == expected
    assert (len(caplog.records) == 1 and "prepared anew" in caplog.text) or damage is lost
    caplog.clear()
    made_text(tmp_path)
    assert not caplog.records


def test_what_was_left_by_a_killed_process_is_removed(tmp_path: Path) -> None:
    made_text(tmp_path)
    (folder,) = folders(tmp_path)
    left = folder.with_name(f".{folder.name}.1.part")
    left.mkdir()
    old = folder.with_name("0" * 32)
    old.mkdir()
    os.utime(old, (0, 0))
    emptied(folder)
    made_text(tmp_path)
    assert folders(tmp_path) == [folder]
    assert not left.exists()


def test_two_at_once_prepare_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    text = Text({"test": Source((tmp_path / "a.txt",), "test_files")})
    facts = made_text(tmp_path, cache_dir=None).facts
    times = []

    def run() -> None:
        def slowly(*given):
            times.append(time.monotonic())
            time.sleep(0.5)
            return prepare(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache, "prepare", slowly)
            made = cache.prepared_text(text, SETTINGS, facts, tmp_path / "shared")
        os._exit(0 if len(made.ids["test"]) > 100 and len(times) < 2 else 1)

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                run()
            os._exit(2)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert len([e for e in (tmp_path / "shared" / "texts").iterdir() if len(e.name) == 32]) == 1


def full(*_):
    raise OSError(28, "No space left on device", "train")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(
        cache, "prepare", lambda *given: full() if isinstance(given[3], cache.InFolder) else prepare(*given)
    )
    module = made_text(tmp_path)
    assert len(module.train_ids) > 100
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/cache/texts has no room left: the text is prepared in memory, and anew the next time"
    ]
    monkeypatch.setattr(cache, "SHORT", 100)
    with pytest.raises(
        ValueError, match=r"texts has no room left, and the ids of 3\.93 KiB of text go there: make"
    ) as told:
        made_text(tmp_path)
    assert "\n" not in str(told.value)
    assert not folders(tmp_path)
    assert not list((tmp_path / "cache" / "texts").glob("*.part"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, caplog) -> None:
    (tmp_path / "cache").write_text("a file")
    assert len(made_text(tmp_path).train_ids) > 100
    assert "cannot be used (not a directory): the text is prepared in memory" in caplog.text


BAD = {
    "a NUL byte": (
        b"a b\nc\0d\n",
        r"a\.txt:2: a NUL byte at offset 5, which no text has: save the file as UTF-8",
    ),
    "Latin-1 in UTF-8": (
        "é\n".encode() * 9 + b"caf\xe9\n",
        r"a\.txt:10: byte 0xe9 at offset 30 is not UTF-8: save",
    ),
    "UTF-16": (
        "abc\n".encode("utf-16"),
        r"a\.txt:1: byte 0xff at offset 0 is not UTF-8 \(this looks like UTF-16\)",
    ),
    "cut in a character": ("abc\né".encode()[:-1], r"a\.txt:2: byte 0xc3 at offset 4 is not UTF-8"),
    "empty": (b"", r"a\.txt holds no text: fill it, or leave it out of data\.files"),
    "blank": (b"\xef\xbb\xbf \r\n\t\n", r"a\.txt holds no text: fill it"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_told_in_one_line_and_leave_nothing(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as told:
        made_text(tmp_path, content)
    assert "\n" not in str(told.value)
    assert not folders(tmp_path)


@pytest.mark.parametrize("tokenizer", ["word", "char", "whitespace", "subword"])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path: Path, tokenizer: str) -> None:
    plain = made_text(tmp_path, tokenizer=tokenizer)
    odd = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    other = made_text(tmp_path, odd, "b.txt", tokenizer=tokenizer)
    assert (other.facts, other.counted) == (plain.facts, plain.counted)
    assert other.test_ids.tolist() == plain.test_ids.tolist()


@pytest.mark.parametrize("tokenizer", ["word", "char", "whitespace", "subword"])
@pytest.mark.parametrize("size", [1_500_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_a_line_of_megabytes(tmp_path: Path, tokenizer: str, size: int) -> None:
    (tmp_path / "short.txt").write_text(TEXT)
    parts = {"files": None, "train_files": ["a.txt"], "validation_files": ["short.txt"]}
    parts |= {"test_files": ["short.txt"], "tokenizer": tokenizer, "min_count": 2}
    text = TEXT + "x" * size + "\n" + TEXT
    module = made_text(tmp_path, text, cache_dir=None, **parts)
    assert max(map(len, module.facts.vocabulary)) <= 256
    assert module.counted["train"].characters == len(text)
    if tokenizer == "char":
        assert len(module.train_ids) == len(text)


def peak_of(path: Path, size: int, monkeypatch) -> int:
    """Bytes that preparing a text of about so many characters takes at most, of Python's and numpy's."""
    path.mkdir()
    (path / "a.txt").write_text(TEXT * (size // len(TEXT)))
    monkeypatch.setattr(read_blocks, "__defaults__", (1 << 14,))
    monkeypatch.setattr(chunked, "__defaults__", (1 << 14, 1 << 18))
    part = Part(Source((path / "a.txt",)))
    tracemalloc.start()
    prepare({"train": part}, SETTINGS, None, cache.InFolder(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch) -> None:
    peaks = [peak_of(tmp_path / str(size), size, monkeypatch) for size in (1 << 17, 1 << 19)]
    assert peaks[1] < 1.1 * peaks[0]
