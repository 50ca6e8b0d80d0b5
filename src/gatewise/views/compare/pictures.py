"""The pictures of runs that the page does not draw itself, as far as it has room for them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewise.runs.reading import read_bytes
from gatewise.runs.record import Record

DRAWN = ("learning_curves", "confusion_matrix", "forecasts")
"""Those that it draws from the curves and the test report."""
LARGEST_PICTURE, ALL_PICTURES = 400_000, 2_000_000
"""Bytes of one picture, and of all together."""
MOST_PICTURES = 20
"""Pictures of one run that are shown or named."""
MOST_PIXELS = 20_000_000
"""A file of a few bytes may hold a picture that fills a browser's memory."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pictures(records: Sequence[Record]) -> list[list[dict[str, Any]]]:
    """The pictures of each run: its name with its ``data`` in base64, or why it is not there.

    Only PNG files in ``plots/`` are taken: a drawing (SVG) or page from somebody else could hold a script.
    """
    room = ALL_PICTURES
    found = []
    for record in records:
        entries = []
        for path in _files(record.folder):
            try:
                content = _read(path, room)
            except ValueError as error:
                entries.append({"name": path.stem, "problem": f"{error}: see plots/{path.name}"})
                continue
            room -= len(content)
            entries.append({"name": path.stem, "data": base64.b64encode(content).decode()})
        found.append(entries)
    return found


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(path for path in (folder / "plots").glob("*.png") if path.stem not in DRAWN)
    except OSError:
        return []
    return files[:MOST_PICTURES]


def _read(path: Path, room: int) -> bytes:
    """A PNG file. Raises ValueError with the reason where the page cannot take it."""
    if path.is_symlink():
        raise ValueError("a link, which may lead anywhere")
    try:
        content = read_bytes(path, LARGEST_PICTURE)
    except (OSError, ValueError):
        raise ValueError("no file that can be read, or one too large for this page") from None
    if content[:8] != SIGNATURE or len(content) < 33:
        raise ValueError("no PNG file")
    width, height = struct.unpack(">II", content[16:24])
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many for this page")
    if len(content) > room:
        raise ValueError("this page has no room for more pictures")
    return content
