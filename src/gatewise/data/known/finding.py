"""Where the files of known sets are on this machine, and whether they are right.

A set lies in ``paths.data_dir``, where whoever has it already puts it, or below its folder ``downloads``,
where Gatewise puts it. The checksum says which file is right: a user's own of another content is refused and
never replaced, a download is made again.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewise.data.known.sets import SETS, KnownFile, KnownSet, known_set
from gatewise.settings import did_you_mean, one_line
from gatewise.settings.checks import short
from gatewise.settings.memory import in_words

PREFIX = "known:"
"""What the name of a known file begins with, where a setting names a file: ``known:mr/rt-polarity.pos``."""
DOWNLOADS = "downloads"
"""The folder in ``paths.data_dir`` for what Gatewise has downloaded."""
_BLOCK = 2**20


def checksum(path: Path) -> str:
    """The sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_right(path: Path, file: KnownFile) -> bool | None:
    """Whether ``path`` holds this very file; None where nothing is there."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False if os.path.lexists(path) else None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: correct that, or set paths.data_dir") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        return False
    try:
        return checksum(path) == file.sha256
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Places:
    """The two folders that a set may lie in."""

    known: KnownSet
    data_dir: Path

    @property
    def own(self) -> Path:
        """Where the user puts it."""
        return self.data_dir / self.known.place

    @property
    def downloads(self) -> Path:
        """Where Gatewise puts it."""
        return self.data_dir / DOWNLOADS / self.known.place

    @property
    def command(self) -> str:
        """What the user types to have the set downloaded, to this folder."""
        usual = Path(os.environ.get("GATEWISE_DATA") or Path.cwd() / "data")
        place = "" if self.data_dir == usual else f" {shlex.quote(f'paths.data_dir={self.data_dir}')}"
        return f"gatewise data get {self.known.name}{place}"

    def refused(self, path: Path, file: KnownFile) -> str:
        """The line about a user's file that is not the one of the set."""
        return (
            f"{path} is not the file of the set {self.known.name} ({_how_it_differs(path, file)}): move it "
            f"away and run: {self.command}"
        )

    def by_hand(self, file: KnownFile) -> str:
        """Where a file is to be put by someone without a network."""
        origin = "out of" if self.known.is_archive else "from"
        return f"put {self.own / file.path} there by hand, {origin} {self.known.url(file)}"


def _how_it_differs(path: Path, file: KnownFile) -> str:
    if not path.is_file():
        return "it is no file"
    size = path.stat().st_size
    if size != file.size:
        return f"it has {size} bytes, not {file.size}"
    return f"its sha256 is {checksum(path)[:12]}..., not {file.sha256[:12]}..."


@dataclass(frozen=True)
class State:
    """What there is of a set."""

    word: str
    """``here``, ``partly``, ``not here`` or ``damaged``."""
    folder: Path | None
    """Where it is, or the part of it."""
    right: int
    """How many of its files are there and right."""
    wrong: tuple[Path, ...]


def state(places: Places) -> State:
    """Look at every file of a set, and read those of the right size."""
    own = _state_in(places.own, places.known)
    if own.word in ("here", "damaged"):  # a wrong file of the user's is refused, whatever was downloaded
        return own
    downloaded = _state_in(places.downloads, places.known)
    return max(own, downloaded, key=lambda each: (each.wrong != (), each.right))


def _state_in(folder: Path, known: KnownSet) -> State:
    looked = [(folder / file.path, is_right(folder / file.path, file)) for file in known.files]
    right = sum(each is True for _, each in looked)
    wrong = tuple(path for path, each in looked if each is False)
    if right == len(looked):
        return State("here", folder, right, ())
    if wrong:
        return State("damaged", folder, right, wrong)
    return State("partly", folder, right, ()) if right else State("not here", None, 0, ())


def data_folder(folders: Sequence[str | Path]) -> Path:
    """The folder that known sets lie in: the last of those in which a DataModule looks for files."""
    return Path(folders[-1]) if folders else Path.cwd()


def named(text: str, key: str) -> tuple[KnownSet, KnownFile]:
    """The set and the file that ``known:SET/FILE`` names; ValueError if there is none of that name."""
    name, _, path = text.removeprefix(PREFIX).partition("/")
    where = f"{key}={PREFIX}"
    known = known_set(name, where)
    files = {file.path: file for file in known.files}
    if path not in files:
        some = ", ".join(list(files)[:20]) + (f" ... ({len(files)} files)" if len(files) > 20 else "")
        shown = one_line(short(path))
        raise ValueError(
            f"{where}{name}/{shown}: the set has no such file{did_you_mean(path, files)}; it has: {some}"
        )
    return known, files[path]


def find_known(text: str, folders: Sequence[str | Path], key: str) -> Path:
    """The path of the file that the setting ``key`` names as ``known:SET/FILE``, its checksum compared.

    Raises ValueError where there is no such file in the table, or on this machine, or it is another one.
    """
    known, file = named(text, key)
    places = Places(known, data_folder(folders))
    own, downloaded = places.own / file.path, places.downloads / file.path
    right = is_right(own, file)
    if right is False:
        raise ValueError(f"{key}={text}: {places.refused(own, file)}")
    if right:
        return own
    if is_right(downloaded, file):
        return downloaded
    raise ValueError(
        f"{key}={text}: {known.name} is not here: {places.command} downloads it "
        f"({in_words(known.size)}) to {places.downloads}; or {places.by_hand(file)}"
    )


def find_set(name: str, folders: Sequence[str | Path], key: str) -> Path:
    """The folder that holds every file of a set, all checksums compared; ValueError where there is none."""
    known = known_set(name, f"{key}={PREFIX}")
    places = Places(known, data_folder(folders))
    found = state(places)
    if found.word == "here" and found.folder is not None:
        return found.folder
    what = f"{len(known.files) - found.right} of its {len(known.files)} files are missing or wrong"
    raise ValueError(
        f"{key}={PREFIX}{name}: the set is {found.word} ({what}): {places.command} downloads it "
        f"({in_words(known.size)}) to {places.downloads}"
    )


def all_states(data_dir: Path) -> dict[str, State]:
    """The state of every set that is downloaded, by its name."""
    return {name: state(Places(known, data_dir)) for name, known in SETS.items()}
