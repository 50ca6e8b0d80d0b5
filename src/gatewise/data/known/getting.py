"""Getting a known set: what is missing of it is downloaded, checked, and moved into its place whole."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gatewise.data.known.finding import Places, is_right, state
from gatewise.data.known.progress import bar, tell
from gatewise.data.known.sets import KnownFile, KnownSet
from gatewise.data.known.transfer import Transfer, TransferError
from gatewise.data.locked import locked
from gatewise.settings.memory import in_words


def get(known: KnownSet, data_dir: Path) -> Path:
    """The folder with every file of the set, downloaded where it is not on this machine yet.

    Files that the user has put into ``data_dir`` are taken as they are. Raises ValueError, with what to do,
    where one of them is another file, where nothing can be downloaded, or nothing be written.
    """
    places = Places(known, data_dir)
    for file in known.files:
        if is_right(places.own / file.path, file) is False:
            raise ValueError(places.refused(places.own / file.path, file))
    found = state(places)
    if found.word == "here" and found.folder is not None:
        return found.folder
    folder = places.downloads
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Where there are no locks, what is in its place is right all the same.
        with locked(folder.with_name(f".{folder.name}.lock"), f"{known.name} is being downloaded"):
            _complete(places)
    except TransferError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing came at all
        missing = [file for file in known.files if not is_right(folder / file.path, file)]
        more = f" (and {len(missing) - 1} more files)" if len(missing) > 1 else ""
        raise ValueError(
            f"{known.name} cannot be downloaded: {error}: try again, and it goes on from there, or "
            f"{places.by_hand(missing[0])}{more}"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{known.name} cannot be written: {error.filename or folder}: {error.strerror}: make room or "
            f"set paths.data_dir to a folder of yours (GATEWISE_DATA)"
        ) from None
    return folder


def _complete(places: Places) -> None:
    """Fill the folder of downloads; another process may have done so meanwhile."""
    known, folder = places.known, places.downloads
    missing = []
    for file in known.files:
        if is_right(folder / file.path, file):
            continue
        if is_right(places.own / file.path, file):
            _put((places.own / file.path).read_bytes(), folder / file.path)
        else:
            missing.append(file)
    if not missing:
        return
    size = sum(file.size for file in missing)
    tell(f"downloading {known.name} ({in_words(size)}) from {known.url(missing[0])} to {folder}")
    if known.is_archive:
        _get_archive(known, missing, folder)
    else:
        _get_files(known, missing, folder, size)


def _get_files(known: KnownSet, files: Sequence[KnownFile], folder: Path, size: int) -> None:
    done = 0
    with bar(known.name, size) as show:
        for file in files:
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            part = _part(place)
            came = partial(_sum, show, done)
            Transfer(known.url(file), part, file.size, file.size, file.sha256, came).run()
            part.replace(place)
            done += file.size


def _sum(show: Callable[[int], None], before: int, now: int) -> None:
    show(before + now)


def _get_archive(known: KnownSet, files: Sequence[KnownFile], folder: Path) -> None:
    """Download the archive and take the files out of it; one that came in pieces is given a second chance."""
    part = _part(folder / "archive.zip")
    for may_fail in (True, False):
        with bar(known.name, None) as show:
            in_pieces = Transfer(known.source, part, known.most_bytes, came=show).run()
        try:
            _unpack(part, known, files, folder)
            return
        except TransferError:
            if not (in_pieces and may_fail):
                raise
        finally:
            part.unlink()


def _unpack(archive: Path, known: KnownSet, files: Sequence[KnownFile], folder: Path) -> None:
    """Put files of an archive into their places. Only names and sizes of the table are asked for."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for file in files:
                with opened.open(known.inside + file.path) as member:
                    content = member.read(file.size + 1)
                if hashlib.sha256(content).hexdigest() != file.sha256:
                    raise TransferError(
                        f"{file.path} in the archive is not the one that the table of known sets was written "
                        f"for"
                    )
                _put(content, folder / file.path)
    except KeyError:
        raise TransferError(f"the archive holds no {known.inside + file.path}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TransferError(f"the source sends no archive that can be read ({error})") from None


def _put(content: bytes, place: Path) -> None:
    """Write a file whole. It is not synced: after a power cut the checksum tells."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = _part(place)
    part.write_bytes(content)
    part.replace(place)


def _part(place: Path) -> Path:
    """Where a file grows, before it is moved to its place."""
    return place.with_name(f".{place.name}.part")
