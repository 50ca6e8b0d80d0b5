"""Read files of captions: COCO's, Flickr's, or a table of your own.

``.json``   as COCO: ``images`` with ``id`` and ``file_name``, ``annotations`` with ``image_id``, ``caption``.
table       ``.csv``, or a file that begins with the line ``image,caption``: a picture and a caption a row, as
            Flickr8k's ``captions.txt``.
other text  as ``Flickr8k.token.txt``: ``name.jpg#0``, a tab and a caption a line.

A picture has all captions of its rows, in their order.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewise.data.files import read_text
from gatewise.data.text.documents import LONGEST_TEXT
from gatewise.kinds.parallel_text import in_one_line

HEADER = ("image", "caption")
_NUMBERED = re.compile(r"(?P<name>[^\t]+?)#\d+")


@dataclass(frozen=True)
class Described:
    """A picture that a file of captions names."""

    name: str
    place: str
    """The file, and the line or the entry, of its first caption."""
    captions: list[str] = field(default_factory=list)


def read_captions(path: Path) -> list[Described]:
    """The pictures of a file, in their order, with one caption or more each.

    Raises ValueError, with file and line or entry, where something cannot be read or a caption is empty.
    """
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path} holds no captions: fill it, or leave it out")
    if path.suffix.lower() == ".json":
        pairs = _of_coco(text, path)
    elif path.suffix.lower() == ".csv" or text.lstrip().lower().startswith(",".join(HEADER)):
        pairs = _of_table(text, path)
    else:
        pairs = _of_tokens(text, path)
    found: dict[str, Described] = {}
    for name, caption, place in pairs:
        caption = in_one_line(caption)
        if not caption:
            raise ValueError(f"{place}: an empty caption of {name}: write one, or remove it")
        if len(caption) > LONGEST_TEXT:
            raise ValueError(
                f"{place}: a caption of {len(caption):,} characters: at most {LONGEST_TEXT:,} are read"
            )
        found.setdefault(name, Described(name, place)).captions.append(caption)
    if not found:
        raise ValueError(f"{path} holds no captions: fill it, or leave it out")
    return list(found.values())


def _of_coco(text: str, path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: this is no JSON ({error.msg}): correct it") from None
    except RecursionError:
        raise ValueError(f"{path}: brackets too deep in one another") from None
    parts = [whole.get(name) if isinstance(whole, Mapping) else None for name in ("images", "annotations")]
    if not all(isinstance(part, list) for part in parts):
        raise ValueError(f"{path}: no lists 'images' and 'annotations', as COCO's captions_*.json have them")
    images, annotations = parts
    assert images is not None
    assert annotations is not None
    names: dict[Any, str] = {}
    for number, image in enumerate(images):
        place = f"{path}: images[{number}]"
        name = _entry(image, "file_name", str, place)
        names[_entry(image, "id", (int, str), place)] = name
    for number, annotation in enumerate(annotations):
        place = f"{path}: annotations[{number}]"
        image = _entry(annotation, "image_id", (int, str), place)
        if image not in names:
            raise ValueError(f"{place}: image_id {image!r} is the id of none of the images: correct it")
        yield names[image], _entry(annotation, "caption", str, place), place


def _entry(values: Any, name: str, kinds: Any, place: str) -> Any:
    """A value of an entry of COCO's lists; ValueError where it is not there, or of another kind."""
    value = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(value, kinds) or isinstance(value, bool) or value == "":
        raise ValueError(f"{place} has no {name}: give it one")
    return value


def _of_table(text: str, path: Path) -> Iterator[tuple[str, str, str]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(rows)
        if [name.strip().lower() for name in header] != list(HEADER):
            raise ValueError(
                f"{path}:1: the first line must be {','.join(HEADER)}, got {','.join(header)[:60]}"
            )
        before = rows.line_num
        for row in rows:
            place = f"{path}:{before + 1}"
            before = rows.line_num
            if not row:
                continue
            if len(row) != len(HEADER):
                raise ValueError(
                    f"{place}: {len(row)} fields, where there are {len(HEADER)}: put a caption with commas "
                    f'in "quotes"'
                )
            if not row[0].strip():
                raise ValueError(f"{place}: no name of a picture before the comma")
            yield row[0].strip(), row[1], place
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num}: {error}") from None


def _of_tokens(text: str, path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        numbered = _NUMBERED.fullmatch(name.strip())
        if not tab or numbered is None:
            raise ValueError(
                f"{path}:{number}: {line[:40]!r} is no caption: a line is name.jpg#0, a tab and the "
                f"caption; a table begins with the line {','.join(HEADER)}"
            )
        yield numbered["name"], caption, f"{path}:{number}"


def read_names(path: Path) -> dict[str, str]:
    """The names of pictures in a list, a line each, with the place of each."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    names = {line.strip(): f"{path}:{number}" for number, line in lines if line.strip()}
    if not names:
        raise ValueError(f"{path} names no picture: fill it, or leave it out")
    return names
