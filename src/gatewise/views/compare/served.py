"""The page of a comparison served on this machine, always of the runs as they are now."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from gatewise.runs.collection import Found, Place, read_all
from gatewise.runs.record import Record
from gatewise.views.compare.page import page
from gatewise.views.compare.payload import payload
from gatewise.views.offline import local
from gatewise.views.offline.local import Shown

WATCHED_FILES = ("status.json", "metrics.csv", "validations.csv", "times.csv", "summary.json", "config.yaml")


class Watched:
    """Runs that are looked at again and again: only those whose files have changed are read anew."""

    def __init__(self, find: Callable[[], Found], title: str) -> None:
        self._find, self._title = find, title
        self._records: dict[Path, tuple[str, Record]] = {}
        self._looking = threading.Lock()
        self._made = ("", "")

    def version(self) -> str:
        """What changes whenever one of the runs does."""
        with self._looking:
            return _version(self._find())

    def page(self) -> str:
        """The page of now."""
        with self._looking:
            found = self._find()
            version = _version(found)
            if self._made[0] != version:
                runs = [self._read(place) for place in found.places]
                self._made = (version, page(payload(runs, found, self._title), watched=True))
            return self._made[1]

    def _read(self, place: Place) -> tuple[Place, Record]:
        state = _state(place.folder)
        kept = self._records.get(place.folder)
        # A run that trains may be killed without a file of it changing.
        if kept is None or kept[0] != state or kept[1].state in ("created", "running"):
            ((_, record),) = read_all([place])
            kept = self._records[place.folder] = (state, record)
        return place, kept[1]


def _version(found: Found) -> str:
    states = "\n".join(f"{place.folder}\0{_state(place.folder)}" for place in found.places)
    return hashlib.sha256(states.encode(errors="surrogateescape")).hexdigest()


def _state(folder: Path) -> str:
    """Times and sizes of the files of a run that are read."""
    states = []
    for name in WATCHED_FILES:
        try:
            found = (folder / name).stat()
            states.append(f"{found.st_mtime_ns}.{found.st_size}")
        except OSError:
            states.append("-")
    return ",".join(states)


def serve(watched: Watched, port: int) -> None:
    """Serve the page, and its version, until Ctrl-C; ValueError where no port is free from ``port`` on."""
    local.serve({"": Shown("text/html", watched.page), "version": Shown("text/plain", watched.version)}, port)
