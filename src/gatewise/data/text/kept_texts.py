"""How prepared texts of a kind are kept for the next start, of a training or of an evaluation of its run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from gatewise.data.files import digest
from gatewise.data.kept import Arrays, found, key_of, made_once
from gatewise.kinds.kind import Facts


class HasFacts(Protocol):
    """Something prepared, with what is known of it."""

    @property
    def facts(self) -> Facts: ...


Prepared = TypeVar("Prepared", bound=HasFacts)


@dataclass(frozen=True)
class Kept(Generic[Prepared]):
    """How one kind of prepared texts is kept, in a folder of its own."""

    folder: str
    code: tuple[ModuleType, ...]
    """The files that decide what is made."""
    stored: Callable[[Prepared], tuple[Any, Arrays]]
    """Plain values and arrays to write."""
    read: Callable[[Any, Arrays], Prepared]
    """Inverse of ``stored``; raises ValueError, KeyError or TypeError for others."""

    def prepared_once(
        self,
        folder: Path,
        about: Any,
        facts: Facts | None,
        own: Iterable[ModuleType],
        prepare: Callable[[], Prepared],
    ) -> Prepared:
        """What ``prepare`` makes of the content and settings ``about``, kept in ``folder`` for the next time.

        With the ``facts`` of a run it is what its training has kept, where that has the same facts. ``own``
        are files that decide beside those of the kind.
        """
        code = [*self.code, *own]

        def place(known: Facts | None) -> Path:
            key = key_of([about, None if known is None else known.to_dict()], code)
            return folder / self.folder / f"{key}.npz"

        if facts is not None:
            trained = found(place(None), self.read)
            if trained is not None and trained.facts == facts:
                return trained
        return made_once(place(facts), prepare, self.stored, self.read)


def content_of(files: Mapping[str, Sequence[Path]]) -> dict[str, list[list[str]]]:
    """What files by part are known by; their names too, which may be those of classes or forms."""
    return {
        part: [[path.parent.name, path.name, digest(path)] for path in paths] for part, paths in files.items()
    }
