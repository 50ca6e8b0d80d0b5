"""Folders named after the time they were made: make one, find the last one or the one a user names."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from gatewise.settings import nearest
from gatewise.settings.checks import no_path, short

LAST = "last"
_LONGEST_NAME = 255
"""Bytes of one folder's name that common file systems take."""
_LONGEST_PATH = 4096 - 256
"""Bytes of a path that systems take, less what the paths inside a run directory add."""


def check_name(name: Any, parent: Path | None = None) -> None:
    """Raise ValueError for a run name that cannot be a folder below ``parent``, the folder of all runs."""
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or Path(name).is_absolute():
        raise ValueError(f"name must be a folder such as text/mine, got {name!r}")
    if not name.isprintable():
        raise ValueError(f"name must be letters, digits and signs that can be shown, got {name!r}")
    if parts[0] == LAST or parts[0].startswith("."):
        raise ValueError(f"name={name}: {parts[0]} is for Gatewise's own files: choose another")
    longest = max(parts, key=lambda part: len(os.fsencode(part)))
    if len(os.fsencode(longest)) > _LONGEST_NAME:
        raise ValueError(
            f"name={_cut(longest)}: a folder's name may have {_LONGEST_NAME} bytes, this one has "
            f"{len(os.fsencode(longest))}: choose a shorter one"
        )
    whole = len(os.fsencode(Path("" if parent is None else parent, name).absolute()))
    if whole > _LONGEST_PATH:
        raise ValueError(
            f"name={_cut(name)}: the path of its folder would have {whole} bytes, and the system takes "
            f"{_LONGEST_PATH}: choose a shorter name or another paths.runs_dir"
        )
    if parent is not None:
        for above in (Path(parent, *parts[: n + 1]) for n in range(len(parts))):
            if above.exists() and not above.is_dir():
                raise ValueError(f"name={name}: {above} is a file: choose another name")


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}...({len(text)} characters)"


def check_parent(key: str, value: Any, last: bool = True) -> None:
    """Raise ValueError where the folder of all runs, or of all sweeps, cannot be what setting ``key`` says.

    ``last``: whether something is made in it, and then the link to the newest.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must name a folder, got {value!r}")
    problem = no_path(value)
    if problem is not None:
        raise ValueError(f"{key}={short(value)}: {problem}")
    folder = Path(value)
    for place in (folder, *folder.absolute().parents):
        if os.path.lexists(place):
            if not _is_folder(place):
                raise ValueError(f"{key}={value}: {place} is no folder: choose another")
            break
    link = folder / LAST
    if last and os.path.lexists(link) and not link.is_symlink():
        kind = "folder" if _is_folder(link) else "file"
        raise ValueError(f"{link}: is a {kind}, and the link to the newest has that name: move it elsewhere")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def new_folder(parent: Path, name: str) -> Path:
    """Make the folder ``parent/name/<date_time_unique>``, however many processes start in the same second.

    Raises ValueError for a name that is not a folder below ``parent``.
    """
    while True:
        folder = free_folder(parent, name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def free_folder(parent: Path, name: str) -> Path:
    """A path as :func:`new_folder` would choose it, without making the folder."""
    check_name(name, parent)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return (parent / name).resolve() / f"{stamp}_{secrets.token_hex(3)}"


def point_last_to(folder: Path, parent: Path) -> None:
    """Make the link ``parent/last`` point to ``folder``, which is below ``parent``."""
    temporary = parent / f".{LAST}.{secrets.token_hex(3)}"
    temporary.symlink_to(folder.relative_to(parent.resolve()), target_is_directory=True)
    temporary.replace(parent / LAST)


def find_folder(reference: Any, parent: Path, marker: str, key: str, what: str) -> Path:
    """The folder that a user names and that has a file ``marker``; ``last`` means the newest in ``parent``.

    Raises ValueError, naming the setting ``key`` and ``what`` the folder should be, if there is none.
    """
    if str(reference) == LAST:
        pointer = parent / LAST
        if not pointer.exists():
            kind = what.split()[0]
            raise ValueError(f"{key}=last: no {kind} has been started in {parent.resolve()}; train one first")
        return pointer.resolve()
    problem = no_path(str(reference))
    if problem is not None:
        raise ValueError(f"{key}={short(str(reference))}: not a {what} ({problem}); give a {what} or last")
    folder = Path(os.path.expanduser(str(reference)))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    if not (folder / marker).is_file():
        problem = f"holds no {marker}" if folder.is_dir() else "there is no such folder"
        near = sorted(p.name for p in folder.parent.glob("*") if (p / marker).is_file())
        close = nearest(folder.name, near)
        hint = f"give a {what} or last" if close is None else f"did you mean {folder.parent / close}?"
        raise ValueError(f"{key}={reference}: not a {what} ({problem}); {hint}")
    return folder.resolve()
