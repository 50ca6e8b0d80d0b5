"""Read UNIPEN files (I. Guyon et al., UNIPEN project of on-line data exchange, ICPR 1994).

Read are the strokes (``.PEN_DOWN`` to ``.PEN_UP``), the columns that ``.COORD`` names, the segments of one
level with their labels, and the writer: that of ``.WRITER_ID``, or the second number of a ``.COMMENT`` of
three whose first is the label, as PenDigits has it. Other keywords are passed over; no other file is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatewise.data.strokes.drawings import Drawings, Stroke
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

_SEGMENT = re.compile(
    r'\.SEGMENT\s+(?P<level>\S+)\s+(?P<parts>\S+)(?:\s+(?P<quality>[^\s"]+))?(?:\s+"(?P<label>(?:[^"\\]|\\.)*)")?\s*'
)
_PARTS = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*")
_COMMENT = re.compile(r"\.COMMENT\s+(\S+)\s+(\d+)\s+\d+\s*")
_MOST_PARTS = 100_000
"""Strokes of one segment."""


@dataclass
class _Segment:
    line: int
    level: str
    parts: str
    label: str | None
    writer: str | None


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.split("\n")
        self.columns, self.places = 2, (0, 1)
        self.components: list[Stroke | None] = []
        """By number; None for one with the pen in the air."""
        self.segments: list[_Segment] = []
        self.levels: list[str] = []
        self.writer: str | None = None

    def read(self, level: str) -> Drawings:
        starts = [number for number, line in enumerate(self.lines) if line.startswith(".")]
        begun: int | None = None
        for start, end in zip(starts, [*starts[1:], len(self.lines)], strict=True):
            word = self.lines[start].split(None, 1)[0]
            if begun is not None and word != ".PEN_UP":
                raise ValueError(
                    f"{self.path}:{start + 1}: {shown(word)} where .PEN_UP should end the stroke that begins "
                    f"in line {begun + 1}: the file seems to be cut here"
                )
            begun = start if word == ".PEN_DOWN" else None
            if word in (".PEN_DOWN", ".PEN_UP"):
                self._component(word, start + 1, end)
            else:
                self._keyword(word, start)
        if begun is not None:
            raise ValueError(
                f"{self.path}:{len(self.lines)}: the file ends in the middle of the stroke that begins in "
                f"line {begun + 1}, without .PEN_UP: it is cut, get it again"
            )
        return self._drawings(level)

    def _component(self, word: str, first: int, end: int) -> None:
        rows = [line for line in self.lines[first:end] if line.strip()]
        if not rows:
            if word == ".PEN_DOWN":
                raise ValueError(
                    f"{self.path}:{first}: a stroke without a point: the file seems to be cut here"
                )
            return
        words = " ".join(rows).split()
        try:
            numbers = np.array(words, np.float64)
        except ValueError:
            numbers = np.empty(0)
        if len(numbers) != len(rows) * self.columns or any(len(row.split()) != self.columns for row in rows):
            self._find_wrong(first, end)
        points = numbers.reshape(len(rows), self.columns)[:, self.places]
        self.components.append(points if word == ".PEN_DOWN" else None)

    def _find_wrong(self, first: int, end: int) -> None:
        for number in range(first, end):
            words = self.lines[number].split()
            try:
                is_right = len(words) in (0, self.columns) and len([float(word) for word in words]) >= 0
            except ValueError:
                is_right = False
            if not is_right:
                raise ValueError(
                    f"{self.path}:{number + 1}: {shown(self.lines[number].strip())} where a point of "
                    f"{self.columns} numbers should stand: correct the line, or get a file that is not cut"
                )

    def _keyword(self, word: str, number: int) -> None:
        line = self.lines[number]
        if word == ".COORD":
            names = line.split()[1:]
            if "X" not in names or "Y" not in names:
                raise ValueError(f"{self.path}:{number + 1}: .COORD has to name X and Y, got {shown(line)}")
            self.columns, self.places = len(names), (names.index("X"), names.index("Y"))
        elif word == ".WRITER_ID":
            self.writer = line.partition(" ")[2].strip() or None
        elif word == ".HIERARCHY":
            self.levels = line.split()[1:]
        elif word == ".COMMENT" and self.segments:
            found, segment = _COMMENT.fullmatch(line), self.segments[-1]
            if found and found[1] == segment.label and segment.writer is None:
                segment.writer = found[2]
        elif word == ".SEGMENT":
            found = _SEGMENT.fullmatch(line)
            if found is None or not _PARTS.fullmatch(found["parts"]):
                raise ValueError(
                    f'{self.path}:{number + 1}: a segment has to be written as .SEGMENT DIGIT 6-7 ? "4", of '
                    f"whole strokes, got {shown(line)}"
                )
            label = found["label"] and re.sub(r"\\(.)", r"\1", found["label"])
            self.segments.append(_Segment(number + 1, found["level"], found["parts"], label, self.writer))

    def _drawings(self, level: str) -> Drawings:
        made = Drawings()
        if not self.segments:
            strokes = [stroke for stroke in self.components if stroke is not None]
            if not strokes:
                raise ValueError(f"{self.path}: no stroke in it (.PEN_DOWN): is it a whole UNIPEN file?")
            made.add(strokes, None, self.writer, f"{self.path}:1")
            return made
        present = list(dict.fromkeys(segment.level for segment in self.segments))
        if level and level not in present:
            raise ValueError(
                f"{self.path}: no segments {level!r}{did_you_mean(level, present)} (data.segments); it has "
                f"{', '.join(present)}"
            )
        lowest = [name for name in self.levels if name in present] or present
        wanted = level or lowest[-1]
        for segment in self.segments:
            if segment.level == wanted:
                place = f"{self.path}:{segment.line}"
                made.add(self._strokes(segment, place), segment.label, segment.writer, place)
        return made

    def _strokes(self, segment: _Segment, place: str) -> list[Stroke]:
        strokes: list[Stroke] = []
        for part in segment.parts.split(","):
            first, _, last = part.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            if not 0 < len(numbers) <= _MOST_PARTS:
                raise ValueError(f"{place}: the strokes {part} are none, or too many: correct the segment")
            if numbers[-1] >= len(self.components):
                raise ValueError(
                    f"{place}: the segment is of the strokes {segment.parts}, but the file ends after "
                    f"{len(self.components)} (counted from 0): it is cut, get it again"
                )
            strokes += [stroke for number in numbers if (stroke := self.components[number]) is not None]
        return strokes


def read_unipen(path: Path, text: str, level: str = "") -> Drawings:
    """The segments of a ``level`` of a UNIPEN file, of the lowest where none is named.

    A file without segments is one drawing without a label. Raises ValueError, with file and line, for a file
    that is cut or cannot be read.
    """
    return _Reader(path, text.rstrip()).read(level)
