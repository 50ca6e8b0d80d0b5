"""The user's ``matplotlibrc``, read once matplotlib is imported: what is wrong in it would end the import."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gatewise.launch.streams import say
from gatewise.runs.around import run_around
from gatewise.settings import first_line, one_line

_NAME = "matplotlibrc"
_MOST_BYTES = 1 << 20
_NOT_TAKEN = ("backend", "text.usetex", "text.latex.", "pgf.", "ps.", "animation.")
"""Settings, and beginnings of them, by which matplotlib starts programs or imports modules."""


def import_matplotlib() -> None:
    """Import matplotlib with its own settings, then take over those of the user's ``matplotlibrc``.

    A line is said on stderr where that cannot be used, or not all of it. One that lies in a run directory,
    from where matplotlib would take it if one works there, is not the user's.
    """
    if "matplotlib" in sys.modules:
        return
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return
    with _working_in(Path(found.origin).with_name("mpl-data")), _quiet():
        import matplotlib as mpl
    file = Path(_NAME)
    try:
        with _quiet():
            file = Path(mpl.matplotlib_fname())
        if file == Path(mpl.get_data_path(), _NAME) or run_around(file) is not None:
            return
        _check(file)
        with _quiet() as said:
            values = mpl.rc_params_from_file(file, use_default_template=False)
        mpl.rcParams.update({k: v for k, v in values.items() if not k.startswith(_NOT_TAKEN)})
    except (OSError, ValueError, RuntimeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        say(one_line(f"gatewise: {file}: is not used ({reason})"))
        return
    if said:
        more = f", and {len(said) - 1} more" if len(said) > 1 else ""
        say(one_line(f"gatewise: {file}: not all of it is used ({_shortly(said[0])}{more})"))


def _shortly(message: str) -> str:
    """The first line of a warning, without the file's name and without where to get another one."""
    line = message.strip().partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:180]}... ({len(line)} characters)"


def _check(file: Path) -> None:
    """Raise ValueError for what would be read for ever, or never."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no file")
    if found.st_size > _MOST_BYTES:
        raise ValueError(f"it has {found.st_size} bytes")


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Work in ``folder``; the one before is kept open, as it may have been removed."""
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep what matplotlib warns of to a list."""
    said: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger: Any = logging.getLogger("matplotlib")
    before = logger.handlers[:], logger.propagate
    logger.handlers[:], logger.propagate = [Keeper(logging.WARNING)], False
    try:
        yield said
    finally:
        logger.handlers[:], logger.propagate = before
