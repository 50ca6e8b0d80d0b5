"""The tables of a run, as CSV files.

``metrics.csv`` has a row per epoch, ``validations.csv`` a row per validation if an epoch has several, and
``times.csv`` the seconds after which each epoch was done.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from gatewise.runs.files import write_text
from gatewise.runs.reading import is_there, read_text

INSPECT = "inspect/"
"""How the names of metrics begin that say what the gates do, of which there are many."""


def write_table(
    path: Path, rows: Sequence[Mapping[str, float]], first: Sequence[str], written: str = ""
) -> str:
    """Write rows as a complete CSV file, the columns ``first`` before the others; missing cells are empty.

    Those of ``inspect/…`` come last.

    Returns the text of the file. If that equals ``written``, the file is left as it is.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    others = sorted(set(columns) - set(first), key=lambda name: (name.startswith(INSPECT), name))
    writer = csv.DictWriter(text, [*first, *others], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if text.getvalue() != written:
        write_text(path, text.getvalue())
    return text.getvalue()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv`` without empty cells; no file means no rows.

    Epochs are counted from 1; a file of an earlier version, which did so from 0, is read alike. Raises
    ValueError with file and line if a cell is not a number, a row has no epoch, or it is not a CSV file.
    """
    rows = read_table(path, "epoch", ("epoch", "step"))
    if rows and rows[0]["epoch"] == 0:
        for row in rows:
            row["epoch"] += 1
    return rows


def read_validations(path: Path) -> list[dict[str, float]]:
    """The rows of a ``validations.csv``: epochs completed, step (from 0), metrics by name.

    No file means no rows. Raises ValueError with file and line if it is damaged.
    """
    return read_table(path, "epochs", ("step",))


def read_times(path: Path) -> list[dict[str, float]]:
    """The rows of a ``times.csv``: epoch, and seconds of training when it was done; errors as of a table's.

    No file means no rows: a run of an earlier version has none.
    """
    return read_table(path, "epoch", ("epoch",))


def read_table(path: Path, key: str, whole: Sequence[str]) -> list[dict[str, float]]:
    """The rows of a CSV file of numbers, each with a cell ``key``; the columns ``whole`` are integers.

    Empty cells are left out, and no file means no rows. Raises ValueError with file and line if a cell is not
    a number, a row has no ``key``, or it is not a CSV file.
    """
    if not is_there(path):
        return []
    try:
        return _rows(path, csv.DictReader(io.StringIO(read_text(path), newline="")), key, whole)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None


def _rows(path: Path, reader: csv.DictReader[str], key: str, whole: Sequence[str]) -> list[dict[str, float]]:
    names = reader.fieldnames
    if names and key not in names:
        columns = " ".join(", ".join(names).split())[:100]
        raise ValueError(f"{path}:1: there is no column {key} (found: {columns}); the file is damaged")
    rows = []
    for cells in reader:
        place = f"{path}:{reader.line_num}"
        try:
            row: dict[str, float] = {name: float(cell) for name, cell in cells.items() if cell}
            for name in whole:
                if name in row:
                    row[name] = int(row[name])
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{place}: a cell is not a number: {list(cells.values())}") from None
        if key not in row:
            raise ValueError(f"{place}: the row has no {key}; the file is damaged")
        rows.append(row)
    return rows
