"""Read files of pen strokes: UNIPEN, JSONL, and rows of points with a label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.data.files import read_text
from gatewise.data.strokes.drawings import Drawings, Stroke
from gatewise.data.strokes.unipen import read_unipen
from gatewise.settings.checks import shown

KEYS = ("strokes", "label", "text", "writer")
"""What an object of a JSONL file may have; ``text`` is another name of ``label``."""
LONGEST = 100_000
"""Points of one drawing."""


def read_drawings(path: Path, y_down: bool = False, level: str = "") -> Drawings:
    """The drawings of a file, whose beginning says how it is written.

    ``.`` begins a UNIPEN file and ``{`` a JSONL file, a line of which is ``{"strokes": [[[x, y], ...], ...],
    "label": "7", "writer": "12"}``; of a file of numbers, each row has the points x, y of one stroke and the
    label behind them. Raises ValueError, with file and line, for a file that is cut or cannot be read.
    """
    text = read_text(path)
    begins = text.lstrip()[:1]
    if not begins:
        raise ValueError(f"{path} is empty: give a file of strokes")
    if begins == ".":
        return read_unipen(path, text, level)
    drawings = _objects(path, text, y_down) if begins == "{" else _rows(path, text)
    return drawings


def strokes_of(given: Any, y_down: bool = False) -> list[Stroke]:
    """Strokes as JSON has them, a list of lists of [x, y]; ValueError, without a place, for anything else.

    Further numbers of a point, such as its time, are passed over.
    """
    if not isinstance(given, list) or not given:
        raise ValueError(f"strokes must be a list of strokes [[x, y], ...], got {shown(given)}")
    strokes = []
    for number, points in enumerate(given, start=1):
        try:
            found = np.array(points)
        except ValueError:
            found = np.empty(0)
        if found.dtype.kind not in "iuf" or found.ndim != 2 or found.shape[1] < 2:
            raise ValueError(f"stroke {number} must be a list of points [x, y], got {shown(points)}")
        strokes.append(found[:, :2] * (1.0, -1.0 if y_down else 1.0))
    if sum(map(len, strokes)) > LONGEST:
        raise ValueError(f"more than {LONGEST:,} points: give fewer")
    return strokes


def _objects(path: Path, text: str, y_down: bool) -> Drawings:
    made = Drawings()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: no whole object of JSON ({error}): is the file cut here?") from None
        if not isinstance(entry, dict) or "strokes" not in entry:
            raise ValueError(f'{place}: not an object with "strokes" but {shown(entry)}')
        try:
            strokes = strokes_of(entry["strokes"], y_down)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        label = entry.get("label", entry.get("text"))
        made.add(strokes, _text(label, "label", place), _text(entry.get("writer"), "writer", place), place)
    return made


def _text(value: Any, name: str, place: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{place}: {name} must be text, got {shown(value)}")
    return str(value)


def _rows(path: Path, text: str) -> Drawings:
    made = Drawings()
    width = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        cells = [cell.strip() for cell in (line.split(",") if "," in line else line.split())]
        width = width or len(cells)
        points, label = (cells, None) if len(cells) % 2 == 0 else (cells[:-1], cells[-1])
        try:
            numbers = np.array(points, np.float64)
        except ValueError:
            numbers = np.empty(0)
        if not len(numbers):
            raise ValueError(
                f"{place}: {shown(line)} is neither UNIPEN, nor JSONL, nor a row of x,y,x,y,...,label: "
                f"give a file of strokes"
            )
        if len(cells) != width:
            raise ValueError(
                f"{place}: {len(cells)} numbers, but the first row has {width}: is the file cut here?"
            )
        made.add([numbers.reshape(-1, 2)], label, None, place)
    return made
