"""Tables that may be larger than memory: a CSV file read once, in blocks, into arrays that lie in files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.files import digest, read_blocks
from gatewise.data.known.finding import checksum
from gatewise.data.known.progress import tell
from gatewise.data.locked import locked
from gatewise.data.series import csv, numbers, table, time_column, times
from gatewise.data.series.panel import Panel, Roles
from gatewise.data.series.parquet import PARQUET
from gatewise.data.series.style import CHARACTERS, Reading
from gatewise.settings.memory import in_words

log = logging.getLogger(__name__)

LARGE = 64 << 20
"""Bytes from which on a file is read in blocks, if there is a folder for its arrays."""
BLOCK = 4 << 20
"""Bytes of a file, and numbers of a table, that are worked on at once."""
FORGOTTEN = 60 * 24 * 60 * 60
"""Seconds after which a table that no training has used makes room."""
_ABOUT = "table.json"


class NotPlainError(Exception):
    """A file that is not read in blocks: cells in quotes, blank rows, series whose rows lie apart."""


def stored_table(
    path: Path, roles: Roles, reading: Reading, may_miss: bool, folder: Path | None
) -> tuple[Panel, str] | None:
    """What :func:`gatewise.data.series.table.read_table` gives, with its arrays in files below ``folder``.

    None where there is no such folder, or for a file that is better read whole: a small one, Parquet, one of
    a place's clocks or with static columns, or one that is not plain. Raises ValueError as that does.
    """
    large = path.suffix.lower() not in PARQUET and path.stat().st_size >= LARGE
    whole = bool(roles.static or roles.static_categories) or roles.may_be_one
    if folder is None or not large or whole or reading.style.time_zone is not None:
        return None
    try:
        return _once(path, roles, reading, may_miss, folder / "series")
    except NotPlainError as reason:
        log.warning("%s: %s, and so it is read into memory whole", path, reason)
    except OSError as error:
        log.warning("%s cannot be used (%s): %s is read into memory whole", folder, error.strerror, path)
    return None


def scratch(rows: int, columns: int, folder: Path) -> NDArray[np.float32] | None:
    """An array [rows, columns] in a file without a name, which is gone when nothing uses it any more.

    None, with a line that says why, where there is no room for it.
    """
    try:
        place = folder / "series"
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            file.truncate(4 * rows * columns)
            if hasattr(os, "posix_fallocate"):  # reserved now: a disk full later would end the process
                os.posix_fallocate(file.fileno(), 0, 4 * rows * columns)
            return np.asarray(np.memmap(file, np.float32, "r+", shape=(rows, columns)))
    except OSError as error:
        log.warning("%s cannot be used (%s): the table is kept in memory", folder, error.strerror)
    return None


def _once(path: Path, roles: Roles, reading: Reading, may_miss: bool, folder: Path) -> tuple[Panel, str]:
    """The table as an earlier training has stored it, or stored now."""
    folder.mkdir(parents=True, exist_ok=True)
    code = [checksum(Path(str(m.__file__))) for m in (csv, numbers, table, time_column, times)]
    about = [digest(path), checksum(Path(__file__)), code, repr(roles), repr(reading), may_miss]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    place = folder / key
    with locked(folder / f".{key}.lock", f"{path.name} is being read"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = _opened(place, str(path), roles)
            os.utime(place)  # used last
            return found
        _make_room(folder, key)
        tell(f"{path.name}: {in_words(path.stat().st_size)} are read once, into {folder}")
        part = folder / f".{key}.{os.getpid()}.part"
        part.mkdir()
        try:
            _store(path, roles, reading, may_miss, part)
            part.rename(place)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return _opened(place, str(path), roles)


def _make_room(folder: Path, key: str) -> None:
    """Remove the damaged table of this key, what killed processes have left, and what nobody has used."""
    for entry in folder.iterdir():
        own = entry.name.lstrip(".").startswith(key) and entry.suffix != ".lock"
        with contextlib.suppress(OSError):
            if own or time.time() - entry.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@dataclass
class _Files:
    """The files of a table while it is written, and what of it is small."""

    values: BinaryIO
    times: BinaryIO
    columns: list[str] = field(default_factory=list)
    categories: dict[str, tuple[BinaryIO, dict[str, int]]] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    last: str | None = None
    """The series of the rows before."""
    starts: list[int] = field(default_factory=list)
    rows: int = 0
    time_format: str = ""
    dtype: str = ""


def _store(path: Path, roles: Roles, reading: Reading, may_miss: bool, folder: Path) -> None:
    with ExitStack() as stack:

        def opened(name: str) -> BinaryIO:
            return stack.enter_context((folder / name).open("wb"))

        files = _Files(opened("values"), opened("times"))
        files.categories = {n: (opened(f"category{i}"), {}) for i, n in enumerate(roles.categories)}
        first = 0
        for cells, nameless in _blocks(path, roles.time, reading):
            if not files.columns:
                files.columns = table.columns_of(cells, nameless, roles, reading, path)
                first = int(cells.index[0])
            _add(files, cells, roles, reading, may_miss, path)
    about = {
        "rows": files.rows, "columns": files.columns, "names": list(files.names), "starts": files.starts,
        "first": first, "time_format": files.time_format, "dtype": files.dtype,
        "labels": {name: list(labels) for name, (_, labels) in files.categories.items()},
    }  # fmt: skip
    _check_rising(folder, about, path, roles, reading)
    (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _blocks(path: Path, time_column: str, reading: Reading) -> Iterator[tuple[pd.DataFrame, list[str]]]:
    """The cells of a plain file, some lines at a time, and the names made for nameless columns."""
    header, names, nameless, line, held = "", [""], [""], 0, ""
    for block in itertools.chain(read_blocks(path, BLOCK), ("\n",)):
        lines, _, held_next = (held + block).rpartition("\n")
        if not lines:
            held = held_next
            continue
        if not header:
            header, _, lines = lines.partition("\n")
            found = csv.header_of(header, path, time_column, reading)
            names, nameless, line = found.names, found.nameless, found.line + 1
        held = held_next
        if not lines.strip("\n"):
            continue
        columns = csv.plain_columns(lines, 0, CHARACTERS[reading.style.separator], len(names))
        if columns is None:
            raise NotPlainError(f"not every row from line {line} on is plain cells without quotes")
        index = pd.RangeIndex(line, line + len(columns[0]))
        line += len(columns[0])
        series = (pd.Series(column, index, dtype=object) for column in columns)
        yield pd.DataFrame(dict(zip(names, series, strict=True)), copy=False), nameless


def _add(
    files: _Files, cells: pd.DataFrame, roles: Roles, reading: Reading, may_miss: bool, path: Path
) -> None:
    """Add the rows of a block."""
    owners = None
    if roles.series is not None:
        changes = table.by_series(cells, roles.series, path)
        if not changes[0].index.equals(cells.index):
            raise NotPlainError("the rows of a series do not lie together")
        _, names, owners = changes
        for name, start in zip(names, owners, strict=False):
            if name in files.names and name != files.last:
                raise NotPlainError(f"the rows of series {name!r} do not lie together")
            if name not in files.names:
                files.names[name] = None
                files.starts.append(files.rows + int(start))
            files.last = name
    elif not files.starts:
        files.names[""] = None
        files.starts.append(0)
    style = reading.style.with_times(files.time_format) if files.time_format else reading.style
    within = Reading(style, reading.verb, bool(files.time_format) or reading.fixed_format)
    found, time_format = time_column.read_times(cells[roles.time], str(path), roles.time, within, owners)
    # Dates as what they are apart from 1970, in UTC; the offset is kept in the type.
    if files.dtype and str(found.dtype) != files.dtype:
        if isinstance(found, pd.DatetimeIndex) or files.dtype.startswith("datetime"):
            raise NotPlainError("the times of later rows are of another kind")
        raise NotPlainError("the times are whole numbers at first and others later")
    files.dtype, files.time_format = str(found.dtype), time_format
    raw = found.asi8 if isinstance(found, pd.DatetimeIndex) else found.to_numpy()
    files.times.write(np.ascontiguousarray(raw).tobytes())
    values = table.numbers_of(cells, files.columns, str(path), reading, may_miss)
    files.values.write(values.tobytes())
    for name, (file, labels) in files.categories.items():
        codes, distinct = pd.factorize(cells[name])
        places = np.array([labels.setdefault(str(each), len(labels)) for each in distinct], dtype=np.int32)
        file.write(places[codes].tobytes())
    files.rows += len(cells)


def _opened(folder: Path, source: str, roles: Roles) -> tuple[Panel, str]:
    """A stored table; raises OSError, ValueError, KeyError or TypeError where it is not whole."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    rows, columns = about["rows"], about["columns"]
    values = _array(folder / "values", np.float64, (rows, len(columns)))
    categories = {
        name: np.array(about["labels"][name], dtype=object)[
            _array(folder / f"category{i}", np.int32, (rows,))
        ]
        for i, name in enumerate(roles.categories)
    }
    panel = Panel(
        source,
        _times(folder, about, roles),
        values,
        tuple(columns),
        np.array([*about["starts"], rows], dtype=np.int64),
        tuple(about["names"]),
        categories,
        lines=np.arange(about["first"], about["first"] + rows),
    )
    return panel, str(about["time_format"])


def _times(folder: Path, about: dict[str, Any], roles: Roles) -> pd.Index:
    dtype = str(about["dtype"])
    is_date = dtype.startswith("datetime64")
    raw = np.array(_array(folder / "times", np.int64 if is_date else np.dtype(dtype), (about["rows"],)))
    if not is_date:
        index: pd.Index = pd.Index(raw, name=roles.time)
        return index
    unit, _, zone = dtype.removeprefix("datetime64[").rstrip("]").partition(", ")
    found = pd.DatetimeIndex(raw.view(f"datetime64[{unit}]"), name=roles.time)
    dates: pd.Index = found.tz_localize("UTC").tz_convert(zone) if zone else found
    return dates


def _array(path: Path, dtype: Any, shape: Sequence[int]) -> NDArray[Any]:
    """An array in a file, which is never written to again."""
    if path.stat().st_size != int(np.prod(shape)) * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} is not whole")
    return np.asarray(np.memmap(path, dtype, "r+", shape=tuple(shape)))


def _check_rising(folder: Path, about: dict[str, Any], path: Path, roles: Roles, reading: Reading) -> None:
    """Raise ValueError, naming the line, for a time that does not come after the one of the block before."""
    found = _times(folder, about, roles)
    starts = np.array([*about["starts"], about["rows"]])
    back = times.not_rising(found, starts)
    if len(back):
        at = slice(int(back[0]), int(back[0]) + 2)
        text = times.write_times(found[at], about["time_format"])
        cells = pd.Series(text, np.arange(at.start, at.stop) + about["first"], dtype=object)
        several = None if roles.series is None else np.array([0, 2])
        time_column.check_rising(found[at], cells, str(path), reading, several)
