"""What was prepared of texts, kept in one file for the next start, by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatewise.data.known.finding import checksum
from gatewise.kinds.kind import Facts

log = logging.getLogger(__name__)

FORGOTTEN = 60 * 24 * 60 * 60
"""Seconds after which a text that no training has used makes room."""
Arrays = Mapping[str, NDArray[Any]]


class HasFacts(Protocol):
    """Something prepared, with what is known of it."""

    @property
    def facts(self) -> Facts: ...


Made = TypeVar("Made", bound=HasFacts)


@dataclass(frozen=True)
class Kept(Generic[Made]):
    """How one kind of prepared texts is kept, in a folder of its own."""

    folder: str
    code: tuple[ModuleType, ...]
    """The files that decide what is made."""
    stored: Callable[[Made], tuple[Any, Arrays]]
    """Plain values and arrays to write."""
    read: Callable[[Any, Arrays], Made]
    """Inverse of ``stored``; raises ValueError, KeyError or TypeError for others."""

    def prepared_once(
        self,
        folder: Path,
        about: Any,
        facts: Facts | None,
        own: Iterable[ModuleType],
        make: Callable[[], Made],
    ) -> Made:
        """What ``make`` makes of the content and settings ``about``, kept in ``folder`` for the next time.

        With the ``facts`` of a run it is what its training has kept, where that is the same. ``own`` code
        decides beside that of the kind. Where a file is damaged or cannot be written, a line says so.
        """
        code = [*self.code, *own]

        def place(known: Facts | None) -> Path:
            key = _key_of([about, None if known is None else known.to_dict()], code)
            return folder / self.folder / f"{key}.npz"

        if facts is not None:
            trained = self._found(place(None))
            if trained is not None and trained.facts == facts:
                return trained
        found = self._found(place(facts))
        if found is not None:
            return found
        made = make()
        try:
            _write(place(facts), *self.stored(made))
        except OSError as error:
            log.warning(
                "%s cannot be used (%s): the text is prepared anew the next time", folder / self.folder, error
            )
        return made

    def _found(self, place: Path) -> Made | None:
        """What is kept at a place; None where there is nothing, or it is damaged."""
        try:
            with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            found = self.read(json.loads(arrays.pop("about").tobytes()), arrays)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s): the text is prepared anew", place, str(error).split("\n", 1)[0])
            return None
        with contextlib.suppress(OSError):
            os.utime(place)  # used last
        return found


def content_of(files: Mapping[str, Sequence[Path]]) -> dict[str, list[list[str]]]:
    """What files by part are known by; their names too, which may be those of classes or forms."""
    return {
        part: [[path.parent.name, path.name, checksum(path)] for path in paths]
        for part, paths in files.items()
    }


def _key_of(about: Any, code: Iterable[ModuleType]) -> str:
    """What something prepared is known by: plain values, the code that makes it, what Python knows."""
    digests = [checksum(Path(str(module.__file__))) for module in code]
    values = [about, digests, unicodedata.unidata_version]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _write(place: Path, about: Any, arrays: Arrays) -> None:
    """Put a file in its place whole, and remove what nobody has used for long."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > FORGOTTEN:
                other.unlink()
    part_place = place.with_name(f".{place.stem}.{os.getpid()}.npz")
    values = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        np.savez(part_place, allow_pickle=False, about=values, **arrays)
        part_place.replace(place)
    finally:
        part_place.unlink(missing_ok=True)
