"""The cache of compiled code: a folder that nobody but this user can have written to.

Code that is loaded from a file runs with the user's rights. So every folder on the way and every file must
belong to the user or to root, and none may be open to others; links are not followed from the first folder on
that is the user's own. What was checked is what is read: each is opened from the folder before it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_ALWAYS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _ALWAYS
# A pipe would keep who opens it waiting.
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _ALWAYS
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS
MAX_BYTES = 64 << 20
"""Longest file that is read: a compiled cell takes a thousandth of it."""
MOST_LINKS = 40
MOST_IN_ALL = 512 << 20
"""Bytes that the cache may take. With more, what was not used for longest goes, down to half of it."""
A_DAY = 24 * 60 * 60
_OWN = ("gatewise", "engine")
"""The cache's own folders, below that of the user's caches."""

_said: set[str] = set()


class _NotTrustedError(Exception):
    """Somebody else could have written here; the message says where."""


def cached(name: str) -> bytes | None:
    """The content of a file in the cache, or None where it is missing, damaged or of somebody else."""
    with _folder(make=False) as (folder, path):
        if folder is None:
            return None
        try:
            expected = _read(folder, f"{name}.sha256", path).decode("ascii", "replace").strip()
            content = _read(folder, name, path)
        except OSError:
            return None
        except _NotTrustedError as error:
            _say(str(error))
            return None
    return content if hashlib.sha256(content).hexdigest() == expected else None


def store(name: str, content: bytes) -> None:
    """Put a file into the cache, complete or not at all. Where that fails, the next process does without."""
    digest = hashlib.sha256(content).hexdigest() + "\n"
    with _folder(make=True) as (folder, _), contextlib.suppress(OSError):
        if folder is not None:
            _write(folder, name, content)
            _write(folder, f"{name}.sha256", digest.encode())
            _trim(folder)


def place_and_size() -> tuple[Path, int] | None:
    """Where the cache lies and how many bytes it takes; None where there is none that is used."""
    with _folder(make=False) as (folder, path):
        return None if folder is None else (path, sum(size for _, size, _ in _files(folder)))


def _files(folder: int) -> list[tuple[float, int, str]]:
    """When each file was used, its size and its name, from the one that was not used for longest."""
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):  # another process removes it
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(state.st_mode):
                found.append((state.st_mtime, state.st_size, name))
    return sorted(found)


def _trim(folder: int) -> None:
    """Remove what was not used for longest where the cache is too large; running processes need none."""
    files = _files(folder)
    total = sum(size for _, size, _ in files)
    if total <= MOST_IN_ALL:
        return
    for _, size, name in files:
        if total <= MOST_IN_ALL // 2:
            break
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
            total -= size


def _cache_folder() -> Path | None:
    """Where the cache lies: below XDG_CACHE_HOME, which counts only where it is absolute, or the home."""
    home = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        base = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:  # the home directory is unknown
        return None
    return base.joinpath(*_OWN) if base.is_absolute() else None


@contextlib.contextmanager
def _folder(make: bool) -> Iterator[tuple[int | None, Path]]:
    """A descriptor of the cache's folder and its path; None where there is none to be trusted."""
    path = _cache_folder()
    if path is None or os.open not in os.supports_dir_fd:
        yield None, Path()
        return
    folder: int | None = None
    try:
        folder = _opened(path, make)
    except OSError:
        pass
    except _NotTrustedError as error:
        _say(str(error))
    try:
        yield folder, path
    finally:
        if folder is not None:
            os.close(folder)


def _opened(path: Path, make: bool) -> int:
    """A descriptor of a folder, to which every folder from the root on has been checked.

    Raises OSError where there is none, _NotTrustedError where others could have made or changed it.
    """
    where, parts, links = Path(path.anchor), list(path.parts[1:]), 0
    folder = os.open(where, _FOLDER)
    try:
        shared = _is_shared(os.fstat(folder), where)
        while parts:
            part, before = parts.pop(0), where
            where = where / part
            if make:
                _make(folder, part)
            state = os.stat(part, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(state.st_mode):
                # As trustworthy as who made it, where nobody else can replace it; in the cache there is none.
                links += 1
                if len(parts) < len(_OWN) or shared or state.st_uid not in _owners() or links > MOST_LINKS:
                    raise _NotTrustedError(f"{where} is a link")
                target = before / os.readlink(part, dir_fd=folder)
                os.close(folder)
                where, parts = Path(target.anchor), [*target.parts[1:], *parts]
                folder = os.open(where, _FOLDER)
            else:
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            shared = _is_shared(os.fstat(folder), where)
            if shared and len(parts) < len(_OWN):
                raise _NotTrustedError(f"{where} can be written by others")
        if os.fstat(folder).st_uid != os.getuid():
            raise _NotTrustedError(f"{where} belongs to another user")
    except BaseException:
        os.close(folder)
        raise
    return folder


def _make(folder: int, part: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=folder)
        os.chmod(part, 0o700, dir_fd=folder)  # whatever the umask


def _owners() -> tuple[int, int]:
    return 0, os.getuid()


def _is_shared(state: os.stat_result, where: Path) -> bool:
    """Whether others may put their files into a folder, beside those that they cannot replace (``/tmp``)."""
    if state.st_uid not in _owners():
        raise _NotTrustedError(f"{where} belongs to another user")
    if not state.st_mode & 0o022:
        return False
    if not state.st_mode & stat.S_ISVTX:
        raise _NotTrustedError(f"{where} can be written by others")
    return True


def _read(folder: int, name: str, path: Path) -> bytes:
    """A file in the folder at ``path``; raises _NotTrustedError where somebody else may have written it."""
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _NotTrustedError(f"{path / name} is a link") from None
        raise
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise _NotTrustedError(f"{path / name} is no regular file")
        if state.st_uid not in _owners():
            raise _NotTrustedError(f"{path / name} belongs to another user")
        if state.st_mode & 0o022:
            raise _NotTrustedError(f"{path / name} can be written by others")
        if time.time() - state.st_mtime > A_DAY:  # so that what is used stays when others go
            with contextlib.suppress(OSError):
                os.utime(handle)
        return file.read(MAX_BYTES)


def _write(folder: int, name: str, content: bytes) -> None:
    new = f".new-{os.getpid()}-{secrets.token_hex(4)}"
    handle = os.open(new, _NEW, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)  # whatever the umask
            file.write(content)
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(new, dir_fd=folder)
        raise


def _say(what: str) -> None:
    if what not in _said:
        _said.add(what)
        _log.warning("the cache of compiled code is not used: %s", what)
