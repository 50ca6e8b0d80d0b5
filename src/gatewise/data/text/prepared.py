"""Running text made ready for training: its ids in arrays, what was counted of it, and the facts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import DTypeLike

from gatewise.data.known.progress import tell
from gatewise.data.text.coding import Coder, Ids, Settings, make_coder, smallest
from gatewise.data.text.running import Part
from gatewise.kinds.text import TextFacts
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN
from gatewise.settings.memory import in_words

LONG = 64 << 20
"""Bytes of text from which on it is said that it is being prepared."""
_BLOCK = 1 << 20
"""Ids that are renumbered at once."""


@dataclass(frozen=True)
class Counted:
    """What was counted of a part of the text."""

    tokens: int
    """All of its tokens, with those that ``max_tokens`` leaves out."""
    unknown: int
    """Tokens that are ``<unk>``, of those that are not left out."""
    characters: int
    """Characters of the text, as it was before its case and normal form were changed."""
    words: int
    """What stands between spaces, and the end of every line that is not blank."""
    first: int
    """Characters up to the end of the first token, which nothing predicts."""

    @property
    def sizes(self) -> tuple[float, float]:
        """Mean characters and words of a token that is predicted, that is of every one but the first."""
        return (self.characters - self.first) / (self.tokens - 1), self.words / (self.tokens - 1)


@dataclass(frozen=True)
class Prepared:
    """The parts of a text by name: their ids, and what was counted."""

    facts: TextFacts
    ids: Mapping[str, Ids]
    counted: Mapping[str, Counted]


class Store(Protocol):
    """Where arrays of ids are written and then read."""

    def writer(self, name: str) -> Any:
        """A context with the file to write an array to."""

    def array(self, name: str, dtype: DTypeLike) -> Ids:
        """An array that was written."""

    def remove(self, name: str) -> None:
        """Forget an array."""


class InMemory:
    """Arrays that are kept in memory."""

    def __init__(self) -> None:
        self._files: dict[str, io.BytesIO] = {}

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        yield self._files.setdefault(name, io.BytesIO())

    def array(self, name: str, dtype: DTypeLike) -> Ids:
        return np.frombuffer(self._files[name].getbuffer(), dtype)

    def remove(self, name: str) -> None:
        del self._files[name]


class InFolder:
    """Arrays that are files, mapped into memory: the system reads what is used, and may forget it again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        with (self.folder / name).open("wb") as file:
            yield file

    def array(self, name: str, dtype: DTypeLike) -> Ids:
        path = self.folder / name
        if path.stat().st_size == 0:
            return np.empty(0, dtype)
        return np.memmap(path, dtype, mode="r")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


def prepare(parts: Mapping[str, Part], settings: Settings, facts: TextFacts | None, store: Store) -> Prepared:
    """Write the ids of every part into a store, under the part's name.

    With ``facts`` the vocabulary is theirs, else that of the part ``train``. Raises ValueError for a text
    that cannot be used.
    """
    size = sum(part.size for part in parts.values())
    if size > LONG:
        tell(f"preparing {in_words(size)} of text")
    coder = make_coder(settings, facts)
    if facts is None:
        coder.learn(parts["train"])
    tallies = {}
    for name, part in parts.items():
        with store.writer(name if coder.is_final else f"{name}.first") as file:
            tallies[name] = _write(file, coder, part, settings.max_tokens if name == "train" else None)
    renumbered = None
    if facts is None:
        facts, renumbered = coder.facts(tallies["train"].counts)
        if set(facts.vocabulary) <= {UNKNOWN, END_OF_LINE}:
            total = tallies["train"].counts.sum()
            raise ValueError(
                f"none of the {total} training tokens comes {settings.min_count} times or more, so that all "
                f"would be {UNKNOWN}: give more text or make data.min_count smaller"
            )
    dtype = smallest(len(facts.vocabulary))
    if renumbered is not None:
        for name in parts:
            _renumber(store, name, coder.provisional, renumbered.astype(dtype))
    counted = {name: tally.counted(renumbered) for name, tally in tallies.items()}
    return Prepared(facts, {name: store.array(name, dtype) for name in parts}, counted)


def _write(file: BinaryIO, coder: Coder, part: Part, limit: int | None) -> _Tally:
    """Write the ids of a part, but of no more than ``limit`` tokens, and count them."""
    tally = _Tally()
    for chunk in part.chunks():
        ids = coder.code(chunk)
        kept = ids if limit is None else ids[: max(limit - tally.tokens, 0)]
        file.write(kept.astype(coder.provisional, copy=False).tobytes())
        if not tally.tokens and len(ids):
            tally.first = tally.characters + coder.first_length(chunk.text)
        tally.add(chunk.text, len(ids), kept)
    return tally


def _renumber(store: Store, name: str, provisional: DTypeLike, ids: Ids) -> None:
    """Put the final ids in place of the provisional ones."""
    before = store.array(f"{name}.first", provisional)
    with store.writer(name) as file:
        for start in range(0, len(before), _BLOCK):
            file.write(ids[before[start : start + _BLOCK]].tobytes())
    del before
    store.remove(f"{name}.first")


class _Tally:
    """Counts of a part, a chunk at a time."""

    def __init__(self) -> None:
        self.tokens = self.characters = self.words = self.first = 0
        self.counts = np.zeros(0, np.int64)
        """How often each id comes among those that are kept."""
        self._has_words = False
        """Whether the line that goes on has a word."""

    def add(self, text: str, tokens: int, kept: Ids) -> None:
        self.tokens += tokens
        counts = np.bincount(kept, minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        self.characters += len(text)
        has_words = [bool(line) and not line.isspace() for line in text.split("\n")]
        has_words[0] |= self._has_words
        self.words += len(text.split()) + sum(has_words[:-1])
        self._has_words = has_words[-1]

    def counted(self, renumbered: Ids | None) -> Counted:
        """The counts, for ids that have been renumbered or not."""
        is_unknown = np.arange(len(self.counts)) if renumbered is None else renumbered[: len(self.counts)]
        unknown = int(self.counts[is_unknown == 0].sum())
        return Counted(self.tokens, unknown, self.characters, self.words, self.first)
