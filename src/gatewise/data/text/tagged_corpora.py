"""Public tagged texts from pip packages."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatewise.data.files import installed_file, read_text
from gatewise.data.text.columns import Sentences

log = logging.getLogger(__name__)

GREEK_SHA256 = "f95833b147bb182786750700423625528dcb38f1508ea7585bce52e730a352f9"
_BOOKS = (
    *("61-Mt", "62-Mk", "63-Lk", "64-Jn", "65-Ac", "66-Ro", "67-1Co", "68-2Co", "69-Ga", "70-Eph", "71-Php"),
    *("72-Col", "73-1Th", "74-2Th", "75-1Ti", "76-2Ti", "77-Tit", "78-Phm", "79-Heb", "80-Jas", "81-1Pe"),
    *("82-2Pe", "83-1Jn", "84-2Jn", "85-3Jn", "86-Jud", "87-Re"),
)
_VERSE, _PART, _WORD = 0, 1, 5
"""Columns of a file of MorphGNT."""


def greek_files() -> list[Path]:
    """The file of every book; ValueError where one is missing."""
    return [installed_file("pysblgnt", f"sblgnt/{book}-morphgnt.txt", "py-sblgnt==0.10") for book in _BOOKS]


def greek_new_testament() -> Sentences:
    """The Greek New Testament (SBLGNT), 137,554 words with one of 13 parts of speech; a verse is a sentence.

    The words are without punctuation. From MorphGNT's files in the package ``py-sblgnt``, which are read as
    text and never imported. Raises ValueError if one is missing or another one.
    """
    words: list[str] = []
    tags: list[str] = []
    verses: list[str] = []
    lines: list[int] = []
    files = []
    digest = hashlib.sha256()
    for book, path in zip(_BOOKS, greek_files(), strict=True):
        text = read_text(path)
        digest.update(text.encode())
        rows = [line.split(" ") for line in text.splitlines()]
        wrong = next((number for number, row in enumerate(rows, start=1) if len(row) <= _WORD), None)
        if wrong is not None or not rows:
            raise ValueError(f"{path}:{wrong or 1}: not a word of MorphGNT: pip install py-sblgnt==0.10")
        files.append((len(words), path))
        verses += [f"{book} {row[_VERSE]}" for row in rows]
        words += [row[_WORD] for row in rows]
        tags += [row[_PART] for row in rows]
        lines += range(1, len(rows) + 1)
    if digest.hexdigest() != GREEK_SHA256:
        log.warning(
            "%s: the texts are not those of py-sblgnt 0.10: results will not be comparable",
            files[0][1].parent,
        )
    places = np.array(verses)
    ends = np.append(np.flatnonzero(places[1:] != places[:-1]) + 1, len(words))
    return Sentences(words, tags, np.diff(ends, prepend=0), files, lines)


class TaggedCorpus(NamedTuple):
    """Tagged sentences that come with pip."""

    read: Callable[[], Sentences]
    files: Callable[[], list[Path]]


TAGGED = {"greek_new_testament": TaggedCorpus(greek_new_testament, greek_files)}
