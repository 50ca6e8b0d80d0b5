"""What was prepared of data, kept in one file for the next training, by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatewise.data.known.finding import checksum

log = logging.getLogger(__name__)

FORGOTTEN = 60 * 24 * 60 * 60
"""Seconds after which what no training has used makes room."""
Arrays = Mapping[str, NDArray[Any]]
Made = TypeVar("Made")


def key_of(about: Any, code: Iterable[ModuleType]) -> str:
    """What something prepared is known by: plain values, the code that makes it, what Python knows."""
    digests = [checksum(Path(str(module.__file__))) for module in code]
    values = [about, digests, unicodedata.unidata_version]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def found(place: Path, read: Callable[[Any, Arrays], Made]) -> Made | None:
    """What is kept at ``place``; None where there is nothing, or it is damaged, which a line says."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        kept = read(json.loads(arrays.pop("about").tobytes()), arrays)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s): the data is prepared anew", place, str(error).split("\n", 1)[0])
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # used last
    return kept


def made_once(
    place: Path,
    make: Callable[[], Made],
    stored: Callable[[Made], tuple[Any, Arrays]],
    read: Callable[[Any, Arrays], Made],
) -> Made:
    """What ``make`` makes, kept at ``place`` for the next time as plain values and arrays.

    ``stored`` gives these, and ``read`` takes them; it raises ValueError, KeyError or TypeError for others.
    Where the file is damaged or cannot be written, a line says so.
    """
    kept = found(place, read)
    if kept is not None:
        return kept
    made = make()
    try:
        _write(place, *stored(made))
    except OSError as error:
        log.warning("%s cannot be used (%s): the data is prepared anew the next time", place.parent, error)
    return made


def _write(place: Path, about: Any, arrays: Arrays) -> None:
    """Put a file in its place whole, and remove what nobody has used for long."""
    make_room(place.parent)
    part_place = place.with_name(f".{place.stem}.{os.getpid()}.npz")
    values = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        np.savez(part_place, allow_pickle=False, about=values, **arrays)
        part_place.replace(place)
    finally:
        part_place.unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """Make the folder of a cache, or remove from it what nobody has used for long."""
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > FORGOTTEN:
                other.unlink()
