"""Read labelled sequences from a CSV file with a header, in one of two layouts.

long   a row per step: ``sequence_column`` says which sequence it is of, the steps of one are in the order
       of the rows or, with a ``step_column``, of its numbers; every other column but the label is a feature.
wide   a row per sequence of one feature (``sequence_column`` is null): every column but the label is a step,
       in the order of the columns. Empty cells at the end of a row make it shorter.

The label column may be missing, as in a file to predict from.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import read_text
from gatewise.data.sequences.labelled import LabelledSequences, Reading
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

_MISSING = ("", "?", "na", "n/a", "nan", "null", "none")
"""Cells without a value, in lower case."""
_NO_LABELS = ", or name the column of labels with data.label_column"


def read_table(path: Path, reading: Reading) -> LabelledSequences:
    """The sequences of a CSV file, with NaN where ``reading`` lets values be missing.

    Raises ValueError, with the line, if it has not the columns that ``reading`` names, a cell is no number,
    or the rows of one sequence have several labels.
    """
    header, rows, lines = _rows(path)
    reader = _read_wide if reading.sequence_column is None else _read_long
    return reader(path, header, rows, lines, reading)


def _rows(path: Path) -> tuple[list[str], list[list[str]], NDArray[np.int64]]:
    """The names of the columns, the rows and the line of each."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            if any(map(str.strip, row)):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: {error}: correct the quotes of this row") from None
    if not rows:
        raise ValueError(f"{path} is empty: it needs a line that names the columns, and rows")
    header = [name.strip() for name in rows[0]]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise ValueError(f"{path}:1: the cells are not separated by commas: write the file with commas")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path}:1: two columns are called {shown(twice)}: rename one")
    if len(rows) == 1:
        raise ValueError(f"{path} holds no row below the names of its columns")
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise ValueError(
                f"{path}:{line}: {len(row)} cells, but the first line names {len(header)}: give every row "
                f"as many"
            )
    return header, rows[1:], np.array(lines[1:])


def _read_long(
    path: Path, header: list[str], rows: list[list[str]], lines: NDArray[np.int64], reading: Reading
) -> LabelledSequences:
    sequence_column = str(reading.sequence_column)
    _require(path, header, sequence_column, "sequence_column", "; for a row per sequence set it to null")
    named = [sequence_column, reading.label_column]
    if reading.step_column is not None:
        _require(path, header, reading.step_column, "step_column", "")
        named.append(reading.step_column)
    features = [name for name in header if name not in named]
    if not features:
        raise ValueError(f"{path}:1: no column beside {', '.join(named)}: a sequence needs a feature")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    no_labels = "" if reading.label_column in header else _NO_LABELS
    values = np.stack(
        [_numbers(path, columns[name], lines, name, reading, no_labels) for name in features], 1
    )
    names = dict.fromkeys(columns[sequence_column])
    numbers = dict(zip(names, range(len(names)), strict=True))
    of = np.fromiter(map(numbers.__getitem__, columns[sequence_column]), np.int64, len(rows))
    order = np.argsort(of, kind="stable")
    if reading.step_column is not None:
        strict = Reading()  # a step that is not known has no place
        steps = _numbers(path, columns[reading.step_column], lines, reading.step_column, strict)
        order = np.lexsort((steps, of))
        again = np.flatnonzero((np.diff(of[order]) == 0) & (np.diff(steps[order]) == 0))
        if len(again):
            row = order[again[0] + 1]
            step, sequence = columns[reading.step_column][row], shown(columns[sequence_column][row])
            raise ValueError(
                f"{path}:{lines[row]}: sequence {sequence} has step {shown(step)} twice: drop one"
            )
    starts = np.flatnonzero(np.diff(of[order], prepend=-1))
    labels = None
    if reading.label_column in columns:
        given = [label.strip() for label in columns[reading.label_column]]
        labels = [given[row] for row in order[starts]]
        differs = next((row for row in range(len(rows)) if given[row] != labels[of[row]]), None)
        if differs is not None:
            raise ValueError(
                f"{path}:{lines[differs]}: label {shown(given[differs])} of sequence "
                f"{shown(columns[sequence_column][differs])}, which began with {shown(labels[of[differs]])}: "
                f"give every step of a sequence the same"
            )
    sequences = np.split(values[order], starts[1:])
    places = [f"{path}:{line}" for line in lines[order[starts]].tolist()]
    return LabelledSequences(sequences, labels, places, tuple(features))


def _read_wide(
    path: Path, header: list[str], rows: list[list[str]], lines: NDArray[np.int64], reading: Reading
) -> LabelledSequences:
    steps = [index for index, name in enumerate(header) if name != reading.label_column]
    if not steps:
        raise ValueError(f"{path}:1: no column beside {reading.label_column}: a sequence needs steps")
    labels, no_labels = None, _NO_LABELS
    if reading.label_column in header:
        label = header.index(reading.label_column)
        labels, no_labels = [row[label].strip() for row in rows], ""
    sequences, places = [], []
    for row, line in zip(rows, lines.tolist(), strict=True):
        cells = [row[index].strip() for index in steps]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            raise ValueError(f"{path}:{line}: the row has no value: drop it")
        values = _numbers(path, cells, np.full(len(cells), line), None, reading, no_labels)
        sequences.append(values[:, None])
        places.append(f"{path}:{line}")
    return LabelledSequences(sequences, labels, places)


def _require(path: Path, header: list[str], name: str, setting: str, otherwise: str) -> None:
    if name not in header:
        raise ValueError(
            f"{path}:1: no column {name!r}{did_you_mean(name, header)}; it has "
            f"{shown(', '.join(header))}: name one with data.{setting}{otherwise}"
        )


def _numbers(
    path: Path,
    cells: Sequence[str],
    lines: NDArray[np.int64],
    column: str | None,
    reading: Reading,
    otherwise: str = "",
) -> NDArray[np.float64]:
    """The cells of a column, or with None of a row, as float64; NaN for one that is missing and may be.

    ``otherwise`` is what else can be done about a cell that is no number.
    """
    gaps = np.fromiter((cell.strip().lower() in _MISSING for cell in cells), bool, len(cells))
    text = ["nan" if gap else cell for cell, gap in zip(cells, gaps.tolist(), strict=True)]
    try:
        values = np.array(text, dtype=np.float64)
        wrong = ~(np.isfinite(values) | gaps)
    except ValueError:
        wrong = np.array([not gap and not _is_number(cell) for cell, gap in zip(text, gaps, strict=True)])
        values = np.full(len(cells), np.nan)
    # Python reads digits of other scripts, and 1_000, as numbers too.
    wrong |= np.fromiter((not cell.isascii() or "_" in cell for cell in text), bool, len(text))
    refused = gaps if reading.missing == "refuse" else np.zeros(len(cells), bool)
    if not (wrong | refused).any():
        return values
    index = int(np.argmax(wrong | refused))
    where = f"{path}:{lines[index]}: " + (f"value {index + 1}" if column is None else f"column {column!r}")
    if not wrong[index]:
        raise ValueError(
            f"{where} is missing ({cells[index]!r}): fill it in, drop the sequence, or set "
            f"data.missing=interpolate or data.missing=forward_fill"
        )
    raise ValueError(f"{where}: {shown(cells[index].strip())} is not a finite number: correct it{otherwise}")


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
