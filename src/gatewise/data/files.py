"""Find and read the files that settings name."""

from __future__ import annotations

import codecs
import contextlib
import errno
import gzip
import importlib.util
import io
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatewise.data.known.finding import PREFIX, Places, checksum, data_folder, find_known, named, state
from gatewise.data.known.sets import known_set
from gatewise.settings import nearest
from gatewise.settings.checks import no_path, short
from gatewise.settings.memory import in_words, memory

PACKED = ".gz"
"""How the name of a text file ends that is unpacked as it is read."""


def find_file(path: str | Path, folders: Sequence[str | Path], key: str, package: str | None = None) -> Path:
    """The path of the file that the setting ``key`` names.

    An absolute path is used as it is. A relative one is looked for in each of ``folders`` in order (in the
    working folder if there are none), then in the installed ``package``. ``known:SET/FILE`` is a file of a
    known set, which lies in the last of ``folders``.

    Raises ValueError naming the key, the value, the folders tried and a file with a similar name.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise ValueError(f"{key} must name a file, got {path!r}")
    problem = no_path(str(path))
    if problem is not None:
        raise ValueError(f"{key}={short(str(path))}: {problem}")
    if isinstance(path, str) and path.startswith(PREFIX):
        return find_known(path, folders, key)
    wanted = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    places = [Path(folder) / wanted for folder in folders or (Path.cwd(),)]
    if wanted.is_absolute():
        places = [wanted]
    for place in places:
        if _is_file(place):
            return place
    for place in places:
        if os.path.lexists(place) and not _is_folder(place):
            raise ValueError(f"{key}={path}: {_what_it_is(place)}: name a regular file")
    if package is not None and not wanted.is_absolute():
        return installed_file(package, wanted, key=key, beside=folders or (Path.cwd(),))
    similar = _similar(wanted, places)
    if _is_folder(places[0]):
        raise ValueError(f"{key}={path} is a folder: name one file in it")
    if wanted.is_absolute():
        raise ValueError(f"{key}={path} does not exist{similar}")
    tried = ", ".join(dict.fromkeys(map(str, folders))) or str(Path.cwd())
    raise ValueError(
        f"{key}={path} was not found in {tried}{similar}; give an absolute path or the folder that holds it"
    )


def get_if_known(path: str | Path, folders: Sequence[str | Path], key: str) -> None:
    """Download the known set of the file that the setting ``key`` names, where it is not here; else nothing.

    Raises ValueError where that fails, or there is no such set or file.
    """
    if not isinstance(path, str) or not path.startswith(PREFIX):
        return
    known, _ = named(path, key)
    try:
        find_known(path, folders, key)
    except ValueError:
        # Imported here: most trainings have no use for it.
        from gatewise.data.known.getting import get

        get(known, data_folder(folders))


def get_set_if_known(name: str | None, folders: Sequence[str | Path]) -> None:
    """Download the known set of this name, where it is not here whole; else, and for None, nothing.

    Raises ValueError where that fails, or there is no such set.
    """
    if name is not None and state(Places(known_set(name), data_folder(folders))).word != "here":
        from gatewise.data.known.getting import get

        get(known_set(name), data_folder(folders))


def find_folder(path: str, folders: Sequence[str | Path], key: str) -> Path:
    """The path of the folder that the setting ``key`` names, looked for as files are.

    Raises ValueError naming the key, the value and the folders tried.
    """
    wanted = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    places = [Path(folder) / wanted for folder in folders or (Path.cwd(),)]
    if wanted.is_absolute():
        places = [wanted]
    for place in places:
        if _is_folder(place):
            return place
    if any(map(_is_file, places)):
        raise ValueError(f"{key}={path} is a file: name a folder")
    raise ValueError(
        f"{key}={path}: there is no such folder in {', '.join(str(place.parent) for place in places)}"
    )


def installed_file(
    package: str,
    relative: str | Path,
    distribution: str | None = None,
    key: str | None = None,
    beside: Sequence[str | Path] = (),
) -> Path:
    """The path of the file ``relative`` in an installed package, which is located but never imported.

    For the error messages, ``distribution`` is the package's name for pip if Gatewise chose the package,
    ``key`` the user's setting that names the file, and ``beside`` the folders that were searched before.
    Raises ValueError if the package or the file is missing.
    """
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):  # it lies in a run directory, or is no module with a place
        spec = None
    named = f"{key}={relative}: " if key else ""
    if spec is None or not spec.submodule_search_locations:
        if distribution is None:
            raise ValueError(
                f"{named}no package {package!r} is installed here: correct data.package, or set "
                f"it to null and give files of your own"
            )
        raise ValueError(f"{relative} is a file of the package {package}: pip install {distribution}")
    places = [Path(folder) / relative for folder in spec.submodule_search_locations]
    for place in places:
        if place.is_file():
            return place
    similar = _similar(Path(relative), places)
    raise ValueError(
        f"{named}the installed package {package} holds no file {relative}{similar}"
        + (f", nor do {', '.join(str(folder) for folder in beside)}" if beside else "")
        + (f"; if its version lacks it: pip install --upgrade {distribution}" if distribution else "")
    )


def _is_file(place: Path) -> bool:
    """Whether a regular file is there; a path that is too long for the system is none."""
    try:
        return place.is_file()
    except OSError:
        return False


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:
        return False


def _what_it_is(place: Path) -> str:
    """What stands in the place of a file: reading some of these would never end."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return "is a link to nothing"
    except OSError as error:
        return "is a link to itself" if error.errno == errno.ELOOP else str(error.strerror).lower()
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return f"is {next((kind for test, kind in kinds.items() if test(mode)), 'a device')}"


class TooLargeError(ValueError):
    """A file does not fit into this machine's memory."""


def check_size(path: Path, unpacked: int | None = None) -> None:
    """Raise TooLargeError for a file, or its ``unpacked`` bytes, that this machine's memory does not hold."""
    size = path.stat().st_size if unpacked is None else unpacked
    if size > memory():
        what = "a file of" if unpacked is None else "unpacks to"
        raise TooLargeError(
            f"{path}: {what} {in_words(size)}, and there are {in_words(memory())} of memory here: take a "
            f"part of it"
        )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with ``\\n`` line ends and without a byte-order mark; of ``.gz`` unpacked.

    Raises ValueError naming the file, line and byte offset of bytes that are not UTF-8, or of a NUL.
    """
    check_size(path)
    blocks: list[str] = []
    size = 0
    for block in read_blocks(path):
        blocks.append(block)
        size += len(block)
        if path.suffix == PACKED:
            check_size(path, size)
    return "".join(blocks)


def read_blocks(path: Path, size: int = 1 << 20) -> Iterator[str]:
    """What :func:`read_text` gives, from blocks of ``size`` bytes, so that the file may be of any size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line, start, held, is_first = 0, 1, b"", "", True
    with _opened(path, unpack=path.suffix == PACKED) as file:
        while True:
            data = file.read(size)
            start = start or data[:2]
            if (nul := data.find(b"\0")) >= 0:
                # Bytes that are no UTF-8 before it, as in UTF-16, say more about the file.
                data, rest = data[:nul], data[nul:]
            else:
                rest = b""
            try:
                text = held + decoder.decode(data, final=not data and not rest)
            except UnicodeDecodeError as error:
                at = offset + len(data) - len(error.object) + error.start
                line += error.object.count(b"\n", 0, error.start)
                utf16 = " (this looks like UTF-16)" if start in (b"\xff\xfe", b"\xfe\xff") else ""
                byte = f"byte 0x{error.object[error.start]:02x} at offset {at}"
                raise ValueError(
                    f"{path}:{line}: {byte} is not UTF-8{utf16}: save the file with UTF-8 encoding"
                ) from error
            line += data.count(b"\n")
            offset += len(data)
            if rest:
                raise ValueError(
                    f"{path}:{line}: a NUL byte at offset {offset}, which no text has: save the file as "
                    f"UTF-8 text"
                )
            # The other half of a line end may be in the next block.
            held = "\r" if data and text.endswith("\r") else ""
            text = text.removesuffix(held)
            if is_first and text:
                text, is_first = text.removeprefix("\ufeff"), False
            if text:
                yield text.replace("\r\n", "\n").replace("\r", "\n")
            if not data:
                return


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits; ValueError where it cannot be read."""
    try:
        return checksum(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _opened(path: Path, unpack: bool = False) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    try:
        with gzip.open(path) if unpack else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is no whole gzip file ({error}): get it again, or unpack it") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _files_in(folder: Path) -> list[str]:
    """Names of the files in a folder; none where there is no such folder, or it is closed to the user."""
    try:
        return [entry.name for entry in folder.iterdir() if _is_file(entry)]
    except OSError:
        return []


def _similar(wanted: Path, places: Sequence[Path]) -> str:
    """`` (did you mean 'x'?)`` for the file with the nearest name in the folders of ``places``, or "".

    The stems decide; the suffixes only choose between files with the same stem.
    """
    files = sorted({name for folder in {place.parent for place in places} for name in _files_in(folder)})
    close = nearest(wanted.stem, {Path(name).stem for name in files})
    same = {Path(name).suffix: name for name in files if Path(name).stem == close}
    if not same:
        return ""
    return f" (did you mean {same[nearest(wanted.suffix, same) or min(same)]!r}?)"
