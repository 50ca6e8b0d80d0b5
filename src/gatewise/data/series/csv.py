"""Read the cells of a user's CSV file of series, as text."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from gatewise.data.files import read_text
from gatewise.data.series.style import CHARACTERS, Reading

SEPARATORS = ("comma", "semicolon", "tab", "pipe")
LONGEST_NAME = 200
"""Characters of a column's name; a longer one is a row of something else."""


def _rows(text: str, path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it starts in."""
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


class Header(NamedTuple):
    """The first row of a file."""

    line: int
    names: list[str]
    """Of every column; as pandas calls it, where it has none."""
    nameless: list[str]


def header_of(text: str, path: Path, time_column: str, reading: Reading) -> Header:
    """The header of a text; ValueError, naming the line, where it cannot be one."""
    first = next(_rows(text, path, reading.style.separator), None)
    if first is None:
        raise ValueError(f"{path} is empty: it needs a header line and rows")
    line, header = first[0], [name.strip() for name in first[1]]
    _check_separator(text, path, time_column, line, header, reading)
    where = f"{path}:{line}"
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
    return Header(line, names, [name for name, given in zip(names, header, strict=True) if not given])


def read_cells(path: Path, time_column: str, reading: Reading) -> tuple[pd.DataFrame, list[str]]:
    """All cells as stripped text, indexed by the line they stand in, and the names made for nameless columns.

    Raises ValueError, naming ``file:line``, for a file that is no table with a header.
    """
    text = read_text(path)
    header_line, names, nameless = header_of(text, path, time_column, reading)
    plain = plain_columns(text, header_line, CHARACTERS[reading.style.separator], len(names))
    if plain is not None:
        index = pd.RangeIndex(header_line + 1, header_line + 1 + len(plain[0]))
        columns = (pd.Series(column, index, dtype=object) for column in plain)
        return pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False), nameless
    rows = _rows(text, path, reading.style.separator)
    next(rows)  # the header
    lines, table = [], []
    for line, row in rows:
        if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
            such = ", as a number with a decimal comma," if reading.style.separator == "comma" else ""
            raise ValueError(
                f"{path}:{line}: {len(row)} cells, but the header names {len(names)}: give every row as many "
                f"cells as the header (a cell with a {reading.style.separator} in it{such} stands in quotes)"
            )
        lines.append(line)
        table.append([cell.strip() for cell in (row + [""] * len(names))[: len(names)]])
    if not table:
        raise ValueError(f"{path} holds no row below its header")
    return pd.DataFrame(table, index=lines, columns=names, dtype=object), nameless


def plain_columns(text: str, skipped: int, separator: str, count: int) -> list[list[str]] | None:
    """The columns below the first ``skipped`` lines, where every line is a row of ``count`` unquoted cells.

    None for any other text, which is read row by row: that takes ten times as long.
    """
    body = text.split("\n", skipped)[-1].rstrip("\n")
    if '"' in text or not body:
        return None
    marks = np.frombuffer(body.encode(), np.uint8)
    marks = marks[(marks == ord(separator)) | (marks == ord("\n"))]
    ends = np.append(marks, ord("\n")) == ord("\n")
    if len(ends) % count or not (ends.reshape(-1, count) == (np.arange(count) == count - 1)).all():
        return None
    cells = body.replace("\n", separator).split(separator)
    columns = [[cell.strip() for cell in cells[place::count]] for place in range(count)]
    return None if "" in columns[0] else columns  # it may begin a blank row


def _check_separator(
    text: str, path: Path, time_column: str, line: int, header: list[str], reading: Reading
) -> None:
    """Raise ValueError where another separator finds the time column, or more than one column at all."""
    if time_column in header and len(header) > 1:
        return
    for separator in SEPARATORS:
        if separator == reading.style.separator:
            continue
        try:
            _, other = next(_rows(text, path, separator))
        except ValueError:
            continue
        other = [name.strip() for name in other]
        if len(other) > 1 and (time_column in other or len(header) == 1):
            own = reading.style.separator
            raise ValueError(
                f"{path}:{line}: the cells are separated by a {separator} and not by a {own}: "
                + reading.advice(f"write a {own}", f"data.separator={separator}")
            )
