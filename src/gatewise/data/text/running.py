"""Running text that is read piece by piece, as often as it is needed, so that it may be of any size."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.data.files import read_blocks

CHUNK = 1 << 20
"""Characters of a chunk at least, but for the last of a text."""
MOST_HELD = 1 << 24
"""Characters without a place to cut them at which a chunk is cut anywhere."""
_TAIL = 1 << 16
_BEFORE_A_SPACE = re.compile(r"(?<=\S) ")


class Chunk(NamedTuple):
    """A piece of a text, which ends after a line end, or before a space, or where the text does."""

    text: str
    begins_line: bool
    """Whether the piece before ended with a line end."""


@dataclass(frozen=True)
class Source:
    """Files that are one text, one after the other, or a text that is there already."""

    files: tuple[Path, ...] = ()
    setting: str = ""
    """The setting that names the files, for messages."""
    text: str = ""

    def blocks(self) -> Iterator[str]:
        """The text from start to end; it ends with a line end, and so does each file.

        Raises ValueError for a file without text, or with bytes that are not UTF-8.
        """
        if not self.files:
            yield from (self.text[start : start + CHUNK] for start in range(0, len(self.text), CHUNK))
            if not self.text.endswith("\n"):
                yield "\n"
        for path in self.files:
            is_blank, last = True, ""
            for block in read_blocks(path):
                is_blank = is_blank and not block.strip()
                last = block[-1]
                yield block
            if is_blank:
                raise ValueError(f"{path} holds no text: fill it, or leave it out of data.{self.setting}")
            if last != "\n":  # or it would run into the next file
                yield "\n"

    @property
    def size(self) -> int:
        """Its bytes, or characters of a text that is there already."""
        return sum(path.stat().st_size for path in self.files) if self.files else len(self.text)

    def longest_line(self) -> tuple[str, int]:
        """(``file:line`` of its longest line, or ``line 3`` where there is no file; its characters)."""
        longest, place = 0, ""
        for path in self.files or (None,):
            source = Source((path,) if path else (), self.setting, self.text)
            number, length = 1, 0
            for block in source.blocks():
                *ended, left = block.split("\n")
                for line in ended:
                    if length + len(line) > longest:
                        longest, place = length + len(line), f"{path}:{number}" if path else f"line {number}"
                    number, length = number + 1, 0
                length += len(left)
        return place, longest

    def digests(self, of_file: Callable[[Path], str]) -> list[str]:
        """What its content is known by; ``of_file`` gives the SHA-256 of a file."""
        if self.files:
            return [of_file(path) for path in self.files]
        return [hashlib.sha256(self.text.encode()).hexdigest()]


@dataclass(frozen=True)
class Part:
    """The training, validation or test part: a source from one character to another."""

    source: Source
    start: int = 0
    stop: int | None = None

    def chunks(self) -> Iterator[Chunk]:
        """The text of the part from start to end."""
        return chunked(_between(self.source.blocks(), self.start, self.stop))

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return self.source.size if self.stop is None else self.stop - self.start


@dataclass(frozen=True)
class Text:
    """The parts of a text: sources of their own, and those that one source is cut into."""

    own: Mapping[str, Source]
    """The parts by name that have a source of their own."""
    whole: Source | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    """By name the share of the whole's characters at which each other part starts, the first at 0."""

    def parts(self) -> dict[str, Part]:
        """Every part, those of the whole first; it is read to find where they begin."""
        parts = {} if self.whole is None else split(self.whole, self.shares)
        return parts | {name: Part(source) for name, source in self.own.items()}

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(source.size for source in (*self.own.values(), *([self.whole] if self.whole else [])))

    def content(self, of_file: Callable[[Path], str]) -> list[Any]:
        """What it is known by, as plain values; ``of_file`` gives the SHA-256 of a file."""
        own = [[name, source.digests(of_file)] for name, source in self.own.items()]
        return [own, None if self.whole is None else [self.whole.digests(of_file), list(self.shares.items())]]


def split(source: Source, parts: Mapping[str, float]) -> dict[str, Part]:
    """A source cut in order after the line in which each part's share of the characters is reached.

    ``parts`` has, by name, the share at which each part starts, the first at 0.
    """
    total = sum(map(len, source.blocks()))
    starts = [0, *_line_ends(source, [round(share * total) for share in list(parts.values())[1:]])]
    stops = [*starts[1:], total]
    return {name: Part(source, start, stop) for name, start, stop in zip(parts, starts, stops, strict=True)}


def chunked(blocks: Iterable[str], size: int = CHUNK, most: int = MOST_HELD) -> Iterator[Chunk]:
    """A text cut where neither words nor lines are cut; a run of ``most`` characters without a space is."""
    held, begins_line = "", True
    for block in blocks:
        held += block
        while len(held) >= size and (cut := _cut(held, most)):
            yield Chunk(held[:cut], begins_line)
            begins_line, held = held[cut - 1] == "\n", held[cut:]
    if held:
        yield Chunk(held, begins_line)


def _cut(text: str, most: int) -> int:
    """The last place to cut a text at; 0 where there is none yet."""
    line_end = text.rfind("\n") + 1
    if line_end:
        return line_end
    for start in (max(len(text) - _TAIL, 0), 0):
        if places := [found.start() for found in _BEFORE_A_SPACE.finditer(text, start)]:
            return places[-1]
    return len(text) if len(text) >= most else 0


def _between(blocks: Iterable[str], start: int, stop: int | None) -> Iterator[str]:
    """The characters from ``start`` to ``stop`` of a text."""
    place = 0
    for block in blocks:
        part = block[max(start - place, 0) : None if stop is None else max(stop - place, 0)]
        place += len(block)
        if part:
            yield part
        if stop is not None and place >= stop:
            return


def _line_ends(source: Source, places: Sequence[int]) -> list[int]:
    """Where the line of each character of a text ends, as the place after it."""
    ends: list[int] = []
    start = 0
    for block in source.blocks():
        while len(ends) < len(places):
            end = block.find("\n", max(places[len(ends)] - start, 0))
            if end < 0:
                break
            ends.append(start + end + 1)
        start += len(block)
    return [*ends, *[start] * (len(places) - len(ends))]
