"""Whether a place lies in a run directory, which may have come from anywhere.

Needs nothing that Python has not loaded at its start, so that it can be asked before anything is imported.
"""

from __future__ import annotations

import os

MARKS = {
    "config.yaml": ("overrides.yaml", "facts.json", "status.json"),
    "sweep.yaml": ("study.journal",),
}
"""The file that every run and every sweep has, and those of which one is beside it at least."""
_named: set[str] = set()


def name_as_run(folder: str | os.PathLike[str]) -> None:
    """Count a folder as a run directory from now on, whatever is in it: it was named, or opened, as one."""
    _named.add(os.path.realpath(folder))


def forget_names() -> None:
    """Count no folder as a run directory by its name alone."""
    _named.clear()


def run_around(place: str | os.PathLike[str]) -> str | None:
    """The run or sweep directory that a file or folder lies in, links followed; None if it lies in none."""
    try:
        folder = os.path.realpath(place)
    except (OSError, ValueError):  # no name that the system takes
        return None
    while not _is_run(folder):
        above = os.path.dirname(folder)  # noqa: PTH120 - see above
        if above == folder:
            return None
        folder = above
    return folder


def _is_run(folder: str) -> bool:
    if folder in _named:
        return True
    return any(
        _has(folder, mark) and any(_has(folder, other) for other in others) for mark, others in MARKS.items()
    )


def _has(folder: str, name: str) -> bool:
    return os.path.lexists(os.path.join(folder, name))  # noqa: PTH118 - see above
