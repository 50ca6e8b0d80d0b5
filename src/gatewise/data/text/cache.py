"""Prepared texts that are kept for the next training, by their content."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import time
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.data import flat
from gatewise.data.files import digest
from gatewise.data.kept import FORGOTTEN
from gatewise.data.locked import locked
from gatewise.data.text import coding, prepared, running
from gatewise.data.text.coding import Ids, Settings, smallest
from gatewise.data.text.prepared import Counted, InFolder, InMemory, Prepared, Store, prepare
from gatewise.data.text.running import Text
from gatewise.kinds import subwords, tokens
from gatewise.kinds import text as text_kind
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.text import TextFacts
from gatewise.settings.memory import in_words

log = logging.getLogger(__name__)

SHORT = 64 << 20
"""Bytes of a text that may be kept in memory where there is no cache."""
SETTLED = 2.0
"""Seconds that a file was left alone before its time of change tells whether it has changed since."""
CHECKED = 64
"""Places of a long array that its checksum is about."""
_PLACE = 1 << 18
_ABOUT = "prepared.json"


class Cache:
    """A folder with a folder for each prepared text, named by its key.

    A text is made by one process at a time and moved to its place whole. What is damaged is made anew.
    Whatever cannot be read or written raises OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "texts"

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file, computed once for as long as its size and time of change stay the same."""
        state = path.stat()
        known = {"size": state.st_size, "time": state.st_mtime_ns, "inode": state.st_ino}
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
        note = self.folder / "digests" / f"{name[:32]}.json"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            noted = json.loads(note.read_text(encoding="ascii"))
            found = noted.pop("sha256")
            if noted == known and isinstance(found, str):
                return found
        found = digest(path)
        if time.time_ns() - state.st_mtime_ns > SETTLED * 1e9:
            note.parent.mkdir(parents=True, exist_ok=True)
            part = note.with_name(f".{note.name}.{os.getpid()}")
            part.write_text(json.dumps({**known, "sha256": found}), encoding="ascii")
            part.replace(note)
        return found

    def find(self, key: str, tells: bool = False) -> Prepared | None:
        """The text with a key; None where there is none, or it is damaged, which it ``tells``."""
        folder = self.folder / key
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            found = _read(folder, key, about)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if tells:
                reason = (str(error).splitlines() or [""])[0]
                log.warning("%s is damaged (%s): the text is prepared anew", folder, reason)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # used last
        return found

    def make(self, key: str, prepare: Callable[[Store], Prepared]) -> Prepared:
        """The text with a key, made by ``prepare`` where no other process does so meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f".{key}.lock", "the text is being prepared"):
            found = self.find(key, tells=True)
            if found is not None:
                return found
            self._make_room(key)
            part = self.folder / f".{key}.{os.getpid()}.part"
            part.mkdir()
            try:
                made = prepare(InFolder(part))
                about = {
                    "key": key,
                    "facts": made.facts.to_dict(),
                    "counted": {name: asdict(counted) for name, counted in made.counted.items()},
                    "checks": {name: _check(ids) for name, ids in made.ids.items()},
                }
                (part / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
                part.rename(self.folder / key)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            return made

    def _make_room(self, key: str) -> None:
        """Remove the damaged text of this key, what killed processes have left, and what nobody has used."""
        shutil.rmtree(self.folder / key, ignore_errors=True)
        now = time.time()
        for entry in self.folder.iterdir():
            with contextlib.suppress(OSError):
                is_part = entry.name.startswith(f".{key}.") and entry.suffix == ".part"
                is_old = entry.name != "digests" and now - entry.stat().st_mtime > FORGOTTEN
                if is_part or is_old:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _read(folder: Path, key: str, about: Any) -> Prepared:
    """A text as it was written; raises ValueError, KeyError or TypeError where it is another or damaged."""
    if about["key"] != key:
        raise ValueError("it is another text's")
    facts = facts_from_dict(about["facts"])
    if not isinstance(facts, TextFacts):
        raise ValueError(f"it has facts of {facts.kind}")
    counted = {name: Counted(**values) for name, values in about["counted"].items()}
    store, ids = InFolder(folder), {}
    for name, check in about["checks"].items():
        ids[name] = store.array(name, smallest(len(facts.vocabulary)))
        if _check(ids[name]) != check:
            raise ValueError(f"the ids of {name} are not those that were written")
    return Prepared(facts, ids, counted)


def _check(ids: Ids) -> list[int]:
    """[bytes, checksum] of an array; of a long one the checksum of places at equal distances."""
    data: Any = ids.view(np.uint8)
    if len(data) <= CHECKED * _PLACE:
        return [len(data), zlib.crc32(data)]
    checksum = 0
    for start in np.linspace(0, len(data) - _PLACE, CHECKED).astype(np.int64):
        checksum = zlib.crc32(data[start : start + _PLACE], checksum)
    return [len(data), checksum]


def prepared_text(text: Text, settings: Settings, facts: TextFacts | None, folder: Path | None) -> Prepared:
    """A text with its ids in files of a cache in ``folder``, or in memory where that is None.

    Where the cache cannot be used, a short text is kept in memory as well, and a line says so. Raises
    ValueError for a text that cannot be used, and for a long one that no room is left for.
    """
    if folder is None:
        return prepare(text.parts(), settings, facts, InMemory())
    cache = Cache(folder)
    try:
        if facts is not None:
            # The training has prepared the same text, as a rule.
            trained = cache.find(_key(text, settings, None, cache.digest))
            if trained is not None and trained.facts == facts:
                return trained
        key = _key(text, settings, facts, cache.digest)
        return cache.find(key) or cache.make(key, lambda store: prepare(text.parts(), settings, facts, store))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "has no room left" if full else f"cannot be used ({(error.strerror or str(error)).lower()})"
        if text.size > SHORT:
            raise ValueError(
                f"{cache.folder} {why}, and the ids of {in_words(text.size)} of text go there: make room, or "
                f"set paths.cache_dir (GATEWISE_CACHE) to a folder with room, or to null for memory"
            ) from error
        log.warning("%s %s: the text is prepared in memory, and anew the next time", cache.folder, why)
    return prepare(text.parts(), settings, facts, InMemory())


def _key(text: Text, settings: Settings, facts: TextFacts | None, of_file: Callable[[Path], str]) -> str:
    """What a prepared text is known by: its content, what is done with it, and the code that does it."""
    about = {
        "content": text.content(of_file),
        "settings": asdict(settings),
        "facts": None if facts is None else facts.to_dict(),
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _code() -> list[str]:
    """The files that decide the ids, and the characters that Python knows."""
    modules = (flat, coding, prepared, running, subwords, tokens, text_kind)
    digests = [digest(Path(str(module.__file__))) for module in modules]
    return [*digests, unicodedata.unidata_version]
