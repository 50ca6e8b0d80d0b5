"""Files that a user names to be written, as with ``output=``: checked before the work, written after it."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewise.launch.streams import note_lost
from gatewise.runs.around import run_around
from gatewise.runs.files import replacing
from gatewise.runs.left_behind import FILES, FILES_OF_A_SWEEP

SCREEN = "-"
"""As the name of an output: the standard output."""
PATIENCE_SECONDS = 5
"""How long a FIFO may take to have a reader."""
FORMATS = frozenset(
    (
        *(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".toml", ".xml", ".html", ".md"),
        *(".parquet", ".feather", ".arrow", ".orc", ".h5", ".hdf5", ".tex", ".mat", ".npy", ".npz", ".pkl"),
        *(".pickle", ".pt", ".ckpt", ".safetensors", ".sqlite", ".db", ".sql", ".dta", ".sav", ".rds"),
        *(".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt", ".pdf", ".png", ".jpg", ".svg", ".py", ".ipynb"),
        *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"),
    )
)
"""Suffixes that promise a format; any other may hold what is written."""
_SAME = (".yml", ".ndjson")
"""Other suffixes of a format."""
OWN_FILES = FILES | FILES_OF_A_SWEEP | {".lock", "study.journal"}
OWN_FOLDERS = frozenset(("checkpoints", "plots", "tables", "wandb", "tensorboard"))
"""What a run or a sweep writes into its directory, beside the following."""
_OWN_NAMES = re.compile(r"log.*\.txt|example\..*")


@dataclass(frozen=True)
class Output:
    """What a user names to be written: a file, new or there already, a link to one, a FIFO, or a device."""

    setting: str
    """As it was given, such as ``output=scores.json``."""
    path: Path

    @property
    def suffix(self) -> str:
        """That of the name, in small letters."""
        return self.path.suffix.lower()

    def is_standard(self, stream: int = 1) -> bool:
        """Whether it is what the standard output (1), or the standard error (2), goes to."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(stream))
        except OSError:  # there is no such file yet, or the stream is closed
            return False

    def write(self, content: str | bytes) -> None:
        """Write it: a file whole or not at all, a link's target in the link's place, anything else straight.

        An existing file keeps its mode and owner; another name of it (a hard link) keeps the old content.
        Raises ValueError, naming the setting, where not all of it could be written.
        """
        content = content.encode() if isinstance(content, str) else content
        try:
            for number, stream in ((1, sys.stdout), (2, sys.stderr)):
                if self.is_standard(number):
                    stream.flush()
                    _write_all(number, content)
                    return
        except BrokenPipeError as error:
            note_lost(number, error)
            raise  # as for anything else that is printed
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._write(content)
        except OSError as error:
            raise self._failed(error) from error

    @contextlib.contextmanager
    def pieces(self) -> Iterator[Callable[[bytes], None]]:
        """Give what writes one piece after the other; else as :meth:`write`, but to no standard stream."""

        def add(content: bytes) -> None:
            try:
                write(content)
            except OSError as error:
                raise self._failed(error) from error

        with contextlib.ExitStack() as stack:
            try:
                write = stack.enter_context(self._destination())
            except OSError as error:
                raise self._failed(error) from error
            yield add

    def _write(self, content: bytes) -> None:
        with self._destination() as write:
            write(content)

    @contextlib.contextmanager
    def _destination(self) -> Iterator[Callable[[bytes], object]]:
        found = self.path.stat() if self.path.exists() else None
        target = Path(os.path.realpath(self.path))
        if found is None or _can_be_replaced(target, found):
            with replacing(target, found) as file:
                yield file.write
        else:
            handle = self._opened()
            try:
                yield functools.partial(_write_all, handle)
            finally:
                os.close(handle)

    def _opened(self) -> int:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                # Without waiting: a FIFO that nobody reads would never open.
                handle = os.open(self.path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY)
                os.set_blocking(handle, True)
                return handle
            except OSError as error:
                if error.errno != errno.ENXIO or not self.path.is_fifo():
                    raise
                if time.monotonic() > end:
                    raise ValueError(f"{self.setting}: nobody reads it: start its reader first") from None
                time.sleep(0.05)

    def _failed(self, error: OSError) -> ValueError:
        return ValueError(f"{self.setting}: could not be written ({error.strerror})")


def find_output(key: str, given: object, takes: Collection[str], only: bool = False) -> Output | None:
    """The output that the setting ``key`` names, or None for none; ``takes`` are the suffixes it may have.

    With ``only``, a file has to have one of these; else any suffix that promises no other format will do.
    Raises ValueError where it is known that it cannot be written there.
    """
    if given is None:
        return None
    text = str(given)
    if isinstance(given, bool) or not isinstance(given, (str, int, float, Path)):
        raise ValueError(f"{key} must be the name of a file, got {_short(text)}")
    setting = f"{key}={_short(text)}"
    path = Path("/dev/stdout" if text == SCREEN else os.path.expanduser(text))  # noqa: PTH111 - ~nobody
    output = Output(setting, path)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except (OSError, ValueError) as error:  # too long, a loop of links, a file in a folder's place
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{setting}: cannot be written ({reason})") from None
    if text.endswith("/") or (found is not None and stat.S_ISDIR(found.st_mode)):
        raise ValueError(f"{setting}: is a folder: name a file in it")
    if found is None:
        _check_folder(setting, path)
    elif stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        kind = "disk" if stat.S_ISBLK(found.st_mode) else "socket"
        raise ValueError(f"{setting}: is a {kind}: name a file")
    elif not os.access(path, os.W_OK):
        raise ValueError(f"{setting}: may not be written: name another file")
    if _is_of_a_run(path, found):
        raise ValueError(f"{setting}: is a file of a run directory's own: name another")
    is_file = (found is None or stat.S_ISREG(found.st_mode)) and not output.is_standard()
    if output.suffix not in takes and (output.suffix in FORMATS or (only and is_file)):
        several = [suffix[1:].upper() for suffix in takes if suffix not in _SAME]
        formats = " or ".join([", ".join(several[:-1]), several[-1]] if several[1:] else several)
        while path.suffix.lower() in FORMATS | {".txt", ".htm"}:
            path = path.with_suffix("")
        raise ValueError(
            f"{setting}: is written as {formats}: name it {_short(path.name)}{next(iter(takes))}"
        )
    return output


def _is_of_a_run(path: Path, found: os.stat_result | None) -> bool:
    """Whether it is, links followed, where a run or a sweep writes a file itself."""
    if found is not None and not stat.S_ISREG(found.st_mode):
        return False
    target = Path(os.path.realpath(path))
    folder = run_around(target)
    if folder is None:
        return False
    first, *rest = target.relative_to(folder).parts
    return first in OWN_FOLDERS if rest else first in OWN_FILES or _OWN_NAMES.fullmatch(first) is not None


def _check_folder(setting: str, path: Path) -> None:
    """Raise ValueError where no file can be made at a path, or where the link there leads."""
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise ValueError(f"{setting}: there is no folder {_short(str(folder))}: make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{setting}: the folder {_short(str(folder))} may not be written: name another")


def _can_be_replaced(target: Path, found: os.stat_result) -> bool:
    """Whether a new file can stand in for the one ``found`` at ``target``, and still be its owner's."""
    try:
        same = os.path.samestat(target.stat(), found)  # else it is reached by a descriptor alone
    except OSError:
        return False
    own = os.geteuid() in (0, found.st_uid)
    return same and own and stat.S_ISREG(found.st_mode) and os.access(target.parent, os.W_OK | os.X_OK)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]}...({len(text)} characters)"
