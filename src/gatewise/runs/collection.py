"""Many runs: found below folders, in sweeps or by patterns, and read one after the other."""

from __future__ import annotations

import csv
import glob
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatewise.runs.folders import LAST
from gatewise.runs.reading import is_there, read_text
from gatewise.runs.record import BROKEN, Record, read_record
from gatewise.settings import nearest, one_line
from gatewise.settings.checks import short

CONFIG, STATUS, SWEEP = "config.yaml", "status.json", "sweep.yaml"
_OF_A_RUN = ("task._target_", "data._target_", "model._target_")
MOST_FOLDERS = 200_000
"""Folders that are looked into before a place is called too large: the root of a disk, say."""


@dataclass(frozen=True)
class Place:
    """A run directory, and what is known of it from elsewhere."""

    folder: Path
    sweep: str | None = None
    """Name and id of the sweep that it belongs to."""
    trial: int | None = None


@dataclass
class Found:
    """The run directories of a command's words."""

    places: list[Place] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was named and is no run, a line each."""


def find(references: Sequence[str], runs_dir: Path, sweeps_dir: Path) -> Found:
    """The runs that are named: directories of runs and of sweeps, folders of them, patterns, and ``last``.

    Everything in ``runs_dir`` where nothing is named. Raises ValueError where a name leads nowhere, or a
    folder holds too much to be looked through.
    """
    found = Found()
    if not references:
        if runs_dir.is_dir():
            _below(runs_dir, found)
            found.problems += list(_without_runs(runs_dir, found))
        _note_sweeps(found, sweeps_dir)
    for reference in references:
        for folder in _named(reference, runs_dir):
            _below(folder, found)
    by_folder: dict[Path, Place] = {}
    for place in found.places:
        kept = by_folder.get(place.folder)
        if kept is None or kept.sweep is None:
            by_folder[place.folder] = place
    found.places = list(by_folder.values())
    return found


def read_all(places: Sequence[Place]) -> Iterator[tuple[Place, Record]]:
    """Every run, read; one whose folder is another program's, or was removed meanwhile, is broken."""
    for place in places:
        try:
            record = read_record(place.folder)
        except OSError as error:
            record = Record(place.folder, place.folder.parent.name, BROKEN, one_line(str(error)))
        if record.state == BROKEN and not is_there(place.folder / STATUS):
            if not any(key in record.settings for key in _OF_A_RUN):
                record.reason = "not a run of Gatewise: its config.yaml is another program's"
            else:
                record.reason = "it has no status.json: it was copied in part"
        yield place, record


def _named(reference: str, runs_dir: Path) -> list[Path]:
    if reference == LAST:
        pointer = runs_dir / LAST
        if not pointer.exists():
            raise ValueError(f"last: no run has been started in {runs_dir.resolve()}; train one first")
        return [pointer.resolve()]
    folder = Path(os.path.expanduser(reference))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    if folder.is_dir():
        return [folder.resolve()]
    if glob.has_magic(reference):
        matches = sorted(glob.glob(str(folder), recursive=True))  # noqa: PTH207 - takes absolute patterns
        folders = [Path(match).resolve() for match in matches if Path(match).is_dir()]
        if folders:
            return folders
        raise ValueError(f"{short(reference)}: no folder has such a name")
    if folder.exists():
        raise ValueError(f"{short(reference)}: is a file: name the directory of a run or sweep, or a folder")
    siblings = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
    close = nearest(folder.name, siblings)
    hint = "" if close is None else f"; did you mean {folder.parent / close}?"
    raise ValueError(f"{short(reference)}: there is no such folder{hint}")


def _below(top: Path, found: Found) -> None:
    """Add every run in a folder and the folders in it, and those of sweeps that lie there.

    Links are not followed, hidden folders are left out.
    """
    looked_at = 0
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        looked_at += 1
        if looked_at > MOST_FOLDERS:
            raise ValueError(f"{top}: has more than {MOST_FOLDERS:,} folders: name one that holds runs")
        try:
            with os.scandir(folder) as entries:
                inside = list(entries)
        except OSError as error:
            found.problems.append(one_line(f"{folder}: cannot be read ({error.strerror})"))
            continue
        names = {entry.name for entry in inside}
        if SWEEP in names:
            _of_sweep(folder, found)
            continue
        if CONFIG in names or STATUS in names:
            found.places.append(Place(folder))
            continue
        folders = [e.name for e in inside if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
        waiting += [folder / name for name in sorted(folders, reverse=True)]


def _without_runs(top: Path, found: Found) -> Iterator[str]:
    """A line for each folder right in ``top`` that holds no run, such as another program's."""
    runs = [place.folder.relative_to(top) for place in found.places if top in place.folder.parents]
    holding = {run.parts[0] for run in runs}
    for folder in sorted(top.iterdir()):
        if folder.name in holding or folder.name.startswith(".") or folder.is_symlink():
            continue
        named = any(line.startswith(str(folder)) for line in found.problems)
        if folder.is_dir() and not named:
            yield one_line(f"{folder}: no run of Gatewise is in it")


def _of_sweep(folder: Path, found: Found) -> None:
    """Add the runs that a sweep's table names."""
    name = f"{folder.parent.name}/{folder.name}"
    try:
        rows = _rows(folder / "runs.csv")
    except ValueError as error:
        found.problems.append(one_line(str(error)))
        return
    if not rows:
        found.problems.append(f"{folder}: no training of this sweep has started yet")
    for row in rows:
        run = Path(os.path.normpath(folder / row.get("run", "")))
        if not run.is_dir():
            found.problems.append(one_line(f"{run}: a run of this sweep that was removed"))
            continue
        trial = row.get("trial", "")
        found.places.append(Place(run, name, int(trial) if trial.isdecimal() else None))


def _note_sweeps(found: Found, sweeps_dir: Path) -> None:
    """Say of the runs that were found which sweep they belong to."""
    of_sweeps = Found()
    for path in sorted(sweeps_dir.glob(f"*/**/{SWEEP}")):
        _of_sweep(path.parent, of_sweeps)
    known = {place.folder: place for place in of_sweeps.places}
    found.places = [known.get(place.folder, place) for place in found.places]


def _rows(path: Path) -> list[dict[str, str]]:
    if not is_there(path):
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None
    return [{name: cell for name, cell in row.items() if name and isinstance(cell, str)} for row in rows]
