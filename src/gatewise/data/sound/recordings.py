"""Lists of recordings: a manifest, a folder for each class, or a known set; what each is and who speaks.

``.csv``, ``.tsv``  a header line with the names of the columns, then a recording a row: its path, what is
                    said (a label or a text), and where there are such columns its speaker and its part.
``.jsonl``          the same, an object a line, as in ``{"path": "a.wav", "label": "yes"}``.
a folder            one folder for each class in it, with a file for each recording.

A relative path in a manifest begins in the manifest's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import digest, find_file
from gatewise.data.sound.reading import SUFFIXES, Sound, read_sound
from gatewise.data.text.tables import TABLES, table_rows
from gatewise.kinds.sound import SoundForm
from gatewise.settings.checks import shown

if TYPE_CHECKING:
    from typing import Self

PARTS_BY_NAME = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
"""What a manifest may call the parts."""


@dataclass(frozen=True)
class Columns:
    """The columns of a manifest."""

    path: str = "path"
    label: str = "label"
    speaker: str = "speaker"
    split: str = "split"
    setting: str = "label_column"
    """The setting that names the column of labels."""


@dataclass(frozen=True)
class Recordings:
    """N recordings; what is not known of one is ""."""

    paths: list[Path]
    places: list[str]
    """``file:line`` of each in its manifest, or its own path, for messages."""
    labels: list[str]
    """What is said: a class, or a text."""
    speakers: list[str]
    splits: list[str]
    """The part that the source gives it: train, validation or test."""

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Iterable[int]) -> Self:
        """Those of some indices."""
        numbers = [int(i) for i in indices]
        return type(self)(*([getattr(self, each.name)[i] for i in numbers] for each in fields(self)))

    def joined(self, *others: Self) -> Self:
        """These and others after them."""
        return type(self)(
            *(
                [item for part in (self, *others) for item in getattr(part, each.name)]
                for each in fields(self)
            )
        )

    def read(self, number: int, form: SoundForm, is_trained: bool = False) -> Sound:
        """The sound of one; ValueError where it cannot be used, see :func:`read_sound`."""
        return read_sound(self.paths[number], form, is_trained)

    def content(self) -> Any:
        """What decides their sound, beside how it is read: plain values."""
        return list(map(digest, self.paths))

    def save(self, number: int, folder: Path, name: str, form: SoundForm) -> Path:  # noqa: ARG002
        """Write one as a file of this name and the right suffix; returns its path."""
        first = self.paths[number]
        path = folder / f"{name}{first.suffix.lower()}"
        path.write_bytes(first.read_bytes())
        return path

    def known_speakers(self, why: str) -> NDArray[np.str_]:
        """[N]; ValueError where one is not known, which ``why`` needs."""
        for speaker, place in zip(self.speakers, self.places, strict=True):
            if not speaker:
                raise ValueError(f"{place}: no speaker is named, but {why}: name it in the manifest")
        return np.array(self.speakers)


class _Collected:
    """Recordings in the making."""

    def __init__(self) -> None:
        self.found = Recordings([], [], [], [], [])

    def add(self, path: Path, place: str, label: str, speaker: str = "", split: str = "") -> None:
        found = self.found
        for items, item in zip(
            (found.paths, found.places, found.labels, found.speakers, found.splits),
            (path, place, label, speaker, split),
            strict=True,
        ):
            items.append(item)  # type: ignore[attr-defined]


def read_manifests(
    paths: Sequence[Path], columns: Columns, folders: Sequence[str | Path] = (), needs_label: bool = True
) -> Recordings:
    """The recordings of manifests; ``folders`` are searched as well for the files that they name.

    Raises ValueError, with file and line, where a manifest does not follow its format, a recording is not
    there, a part is unknown, or, with ``needs_label``, a label is missing.
    """
    collected = _Collected()
    for path in paths:
        if path.suffix.lower() not in TABLES:
            raise ValueError(
                f"{path} is no manifest: give a table of recordings ({', '.join(TABLES)}), or a folder for "
                f"each class with data.folder"
            )
        needed = {columns.path: "path_column"} | ({columns.label: columns.setting} if needs_label else {})
        before = len(collected.found)
        rows = table_rows(path, needed, (columns.label, columns.speaker, columns.split))
        for line, row in rows:
            place = f"{path}:{line}"
            named = row[columns.path].strip()
            if not named:
                raise ValueError(f"{place}: {columns.path} is empty: name a file, or drop the row")
            sound = find_file(named, (path.parent, *folders), f"{place}: {columns.path}")
            label = row.get(columns.label, "").strip()
            if needs_label and not label:
                raise ValueError(f"{place}: {columns.label} is empty: fill it in, or drop the row")
            if not label.isprintable():
                raise ValueError(
                    f"{place}: {columns.label} {shown(label)} has a character that cannot be seen: remove it"
                )
            split = row.get(columns.split, "").strip()
            if split and split.lower() not in PARTS_BY_NAME:
                raise ValueError(
                    f"{place}: {columns.split} must be train, validation or test, got {shown(split)}"
                )
            speaker = row.get(columns.speaker, "").strip()
            collected.add(sound, place, label, speaker, PARTS_BY_NAME.get(split.lower(), ""))
        if len(collected.found) == before:
            raise ValueError(f"{path} names no recording below its columns: fill it, or leave it out")
    return collected.found


def read_folder(folder: Path) -> Recordings:
    """The recordings of a folder that holds a folder for each class.

    Names that begin with a point, and files that are no sound by their names, are left out.
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not classes:
        raise ValueError(
            f"{folder} holds no folder: it has to have one for each class, with the recordings in it"
        )
    collected = _Collected()
    for place in classes:
        files = sounds_in(place)
        if not files:
            raise ValueError(
                f"{place} holds no recording ({', '.join(SUFFIXES)}): fill the folder of this class, or "
                f"remove it"
            )
        for file in files:
            collected.add(file, str(file), place.name)
    return collected.found


def sounds_in(folder: Path) -> list[Path]:
    """The sound files in a folder and the folders in it, in order."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def read_plain(paths: Sequence[Path]) -> Recordings:
    """Recordings of which nothing else is known."""
    collected = _Collected()
    for path in paths:
        collected.add(path, str(path), "")
    return collected.found


def read_fsdd(folder: Path) -> Recordings:
    """The Free Spoken Digit Dataset: files ``digit_speaker_number.wav``; numbers 0 to 4 are the test part."""
    collected = _Collected()
    for path in sorted((folder / "recordings").glob("*.wav")):
        digit, speaker, number = path.stem.split("_")
        collected.add(path, str(path), digit, speaker, "test" if int(number) < 5 else "train")
    return collected.found


KNOWN: dict[str, Callable[[Path], Recordings]] = {"fsdd": read_fsdd}
"""Known sets of recordings by name."""
