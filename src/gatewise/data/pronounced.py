"""Words as the phonemes that a pronouncing dictionary has for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gatewise.data.files import read_text
from gatewise.data.transcripts import cleaned
from gatewise.settings import listed

_VARIANT = re.compile(r"\(\d+\)$")
"""The number behind a word that is said in several ways."""
_STRESS = re.compile(r"(?<=\b[A-Z]{2})[012]\b")
"""The mark of stress behind a vowel of ARPAbet, as in AH0."""
_NAMED = 10


def read_lexicon(path: Path) -> dict[str, str]:
    """How each word is said: the phonemes, with a space between two, by the word in small letters.

    A line is a word and its phonemes, as in CMU's dictionary: of several ways to say a word the first counts,
    marks of stress are left out, and so is what follows ``#`` or a line's ``;;;``. Raises ValueError for a
    word without phonemes and a file without words.
    """
    lexicon: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        entry = line.partition(" #")[0].strip()
        if not entry or entry.startswith(";;;"):
            continue
        word, *phonemes = cleaned(entry).split(" ")
        if not phonemes:
            raise ValueError(f"{path}:{number}: {word!r} has no phonemes: write them behind it")
        lexicon.setdefault(_VARIANT.sub("", word).casefold(), _STRESS.sub("", " ".join(phonemes)))
    if not lexicon:
        raise ValueError(f"{path} has no words: a line is a word and its phonemes, as in: one W AH N")
    return lexicon


def pronounced(
    texts: Sequence[str], lexicon: Mapping[str, str], place: Callable[[int], str], name: str
) -> list[str]:
    """The phonemes of each transcript of words, with a space between two.

    Punctuation around a word is left out. Raises ValueError, naming the words and the place of the first,
    where the lexicon ``name`` lacks some.
    """
    missing: dict[str, int] = {}
    said = []
    for number, text in enumerate(texts):
        phonemes = []
        for word in cleaned(text).casefold().split():
            found = lexicon.get(word) or lexicon.get(word.strip('.,;:!?"()[]…“”„«»'))
            if found is None:
                missing.setdefault(word, number)
            else:
                phonemes.append(found)
        said.append(" ".join(phonemes))
    if missing:
        first = next(iter(missing.values()))
        raise ValueError(
            f"{place(first)}: data.lexicon={name} lacks {listed(list(map(repr, missing)), _NAMED)}: add a "
            f"line with the phonemes of each word that is missing"
        )
    return said
