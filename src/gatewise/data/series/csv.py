"""Read and check a user's CSV file of a time series, as a data frame indexed by time.

Every reader in this folder returns the same kind of frame: float64 columns and a strictly increasing index of
dates (``DatetimeIndex``) or numbers (such as years), with the name of the time column.
"""

from __future__ import annotations

import csv
import io
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gatewise.data.files import read_text
from gatewise.data.series.numbers import numbers, what_is_wrong
from gatewise.data.series.style import CHARACTERS, Reading
from gatewise.data.series.time_column import read_times
from gatewise.settings import did_you_mean

log = logging.getLogger(__name__)

SEPARATORS = ("comma", "semicolon", "tab", "pipe")
LONGEST_NAME = 200
"""Characters of a column's name; a longer one is a row of something else."""


def read_csv(
    path: Path, time_column: str, columns: Sequence[str] | None = None, reading: Reading | None = None
) -> tuple[pd.DataFrame, str]:
    """Read ``columns`` (None: all but the time), indexed by time; returns them and the times' format.

    Raises ValueError, naming ``file:line`` if there is one, for a column that is missing or has no name, a
    cell that is missing or no number, a time that cannot be read or can be read in two ways, and times that
    do not strictly increase.
    """
    reading = reading or Reading()
    cells, nameless = _read_cells(path, time_column, reading)
    for column in (time_column, *(columns or ())):
        if column not in cells.columns:
            raise ValueError(f"{path}:1: " + _no_such_column(column, time_column, cells, reading))
    if columns is not None and time_column in columns:
        raise ValueError(f"data.columns names the time column {time_column!r}: leave it out")
    if columns is None:
        columns = _named_columns(cells.drop(columns=time_column), nameless, path)
    # Times first: a wrong time column is the more basic mistake.
    index, time_format = read_times(cells[time_column], str(path), time_column, reading)
    style, where = reading.style, str(path)
    text = {name: cells[name].str.strip() for name in columns}
    values = {name: numbers(column, style.decimal, style.thousands) for name, column in text.items()}
    whole = [name for name in columns if not np.isnan(values[name]).any()]
    if not whole and reading.verb == "train" and all(map(_is_text, text.values())):
        raise ValueError(
            f"{path}: no numeric column among {_listed(list(columns))}: give one with data.columns"
        )
    for name in columns:
        if np.isnan(values[name]).any():
            raise ValueError(what_is_wrong(text[name], values[name], where, name, whole, reading))
    frame: pd.DataFrame = pd.DataFrame(values, index=index)
    return frame, time_format


def _rows(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it starts in."""
    text = read_text(path)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}:{line}: a NUL byte: save the file as plain text (UTF-8)")
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=CHARACTERS[separator],
        skipinitialspace=separator != "tab",
        strict=True,
    )
    line = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"{path}:{line}: {error}: correct the quotes of this row") from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row
        line = rows.line_num + 1


def _read_cells(path: Path, time_column: str, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    """All cells as text, indexed by the line they stand in, and the names made for columns without one."""
    rows = _rows(path, reading.style.separator)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path} is empty: it needs a header line and rows")
    header_line, header = first[0], [name.strip() for name in first[1]]
    _check_separator(path, time_column, header_line, header, reading)
    where = f"{path}:{header_line}"
    # As pandas calls a column without a name.
    names = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    counts = Counter(names)
    for name in names:
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
            raise ValueError(f"{where}: the column name {name[:80]!r} has a control character: rename it")
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"{where}: a column name of {len(name)} characters ({name[:20]!r}...): name the columns in "
                f"the first line, in at most {LONGEST_NAME} characters"
            )
        if counts[name] > 1:
            raise ValueError(f"{where}: the header names {name!r} twice: give every column its own name")
    lines, table = [], []
    for line, row in rows:
        if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
            raise ValueError(
                f"{path}:{line}: {len(row)} cells, but the header names {len(names)}: give every row as many "
                f"cells as the header (a cell with a {reading.style.separator} in it stands in quotes)"
            )
        lines.append(line)
        table.append((row + [""] * len(names))[: len(names)])
    if not table:
        raise ValueError(f"{path} holds no row below its header")
    cells = pd.DataFrame(table, index=lines, columns=names, dtype=object)
    return cells, [name for name, given in zip(names, header, strict=True) if not given]


def _check_separator(path: Path, time_column: str, line: int, header: list[str], reading: Reading) -> None:
    """Raise ValueError where another separator finds the time column, or more than one column at all."""
    if time_column in header and len(header) > 1:
        return
    for separator in SEPARATORS:
        if separator == reading.style.separator:
            continue
        try:
            _, other = next(_rows(path, separator))
        except ValueError:
            continue
        other = [name.strip() for name in other]
        if len(other) > 1 and (time_column in other or len(header) == 1):
            own = reading.style.separator
            raise ValueError(
                f"{path}:{line}: the cells are separated by a {separator} and not by a {own}: "
                + reading.advice(f"write a {own}", f"data.separator={separator}")
            )


def _no_such_column(column: str, time_column: str, cells: pd.DataFrame, reading: Reading) -> str:
    names = list(cells.columns)
    said = f"no column {column!r}{did_you_mean(column, names)}; it has {_listed(names)}"
    if not any(any(c.isalpha() for c in name) for name in names):
        said += ": the first line has to name the columns"
    elif reading.verb == "predict" or (reading.verb == "evaluate" and column != time_column):
        said += ": the run was trained on a column of that name"
    else:
        said += f": set data.{'time_column' if column == time_column else 'columns'} to what it has"
    return said


def _named_columns(cells: pd.DataFrame, nameless: list[str], path: Path) -> list[str]:
    """All columns but pandas' row numbers and empty ones without a name, which a line says are left out."""
    left_out = []
    for name in cells.columns:
        if not name.startswith("Unnamed: "):
            continue
        column = cells[name].str.strip()
        if name in nameless and (column == "").all():
            left_out.append(name)
        elif _counts_rows(column):
            left_out.append(name)
            log.warning("%s: column %r only numbers the rows and is left out", path, name)
        elif name in nameless:
            raise ValueError(
                f"{path}:1: a column without a name (its first cell is {column.iloc[0]!r}): name it "
                f"in the header, or choose columns with data.columns"
            )
    kept = [name for name in cells.columns if name not in left_out]
    if not kept:
        raise ValueError(f"{path}: no column beside the time: add one with numbers")
    return kept


def _counts_rows(column: pd.Series) -> bool:
    """Whether the cells are whole numbers that go up by one."""
    if not column.str.fullmatch("[0-9]{1,15}").all():
        return False
    return bool((np.diff(column.astype("int64")) == 1).all())


def _is_text(column: pd.Series) -> bool:
    return not bool(column.str.contains("[0-9]", regex=True).any()) and bool((column != "").all())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
