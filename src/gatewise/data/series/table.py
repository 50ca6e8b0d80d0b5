"""Turn the cells of a CSV or Parquet file into a panel, or refuse them with the place and what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.csv import read_cells
from gatewise.data.series.numbers import are_missing, numbers, what_is_wrong
from gatewise.data.series.panel import Panel, Roles, listed
from gatewise.data.series.parquet import PARQUET, read_parquet
from gatewise.data.series.style import Reading
from gatewise.data.series.time_column import read_times
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

log = logging.getLogger(__name__)


def read_table(path: Path, roles: Roles, reading: Reading, may_miss: bool = False) -> tuple[Panel, str]:
    """Read a file's columns by their roles; returns the panel and the format of its times.

    Raises ValueError, naming ``file:line`` if there is one (of Parquet, the row), for a column that is
    missing or has no name, a cell that is missing (unless it ``may_miss``) or no number, a time that cannot
    be read or can be read in two ways, times that do not strictly increase within a series, and static
    values that change within one.
    """
    if path.suffix.lower() in PARQUET:
        cells, nameless = read_parquet(path)
    else:
        cells, nameless = read_cells(path, roles.time, reading)
    if roles.may_be_one and roles.series not in cells.columns:
        roles = replace(roles, series=None)
    columns = columns_of(cells, nameless, roles, reading, path)
    names: tuple[str, ...] = ("",)
    starts = None
    if roles.series is not None:
        cells, names, starts = by_series(cells, roles.series, path)
    # Times first: a wrong time column is the more basic mistake.
    times, time_format = read_times(cells[roles.time], str(path), roles.time, reading, starts)
    if starts is None:
        starts = np.array([0, len(cells)])
    table = Panel(
        str(path),
        times,
        numbers_of(cells, columns, str(path), reading, may_miss),
        tuple(columns),
        starts,
        names,
        {name: _categories(cells[name]) for name in roles.categories},
        _static(
            numbers_of(cells, roles.static, str(path), reading, False), cells, roles.static, starts, path
        ),
        tuple(roles.static),
        {name: _static_category(cells[name], starts, path) for name in roles.static_categories},
        cells.index.to_numpy(),
    )
    return table, time_format


def columns_of(
    cells: pd.DataFrame, nameless: list[str], roles: Roles, reading: Reading, path: Path
) -> list[str]:
    """The columns of numbers; ValueError for a column with a role that the cells have not."""
    absent = [name for name in (*roles.others, *(roles.numbers or ())) if name not in cells.columns]
    if absent:
        raise ValueError(f"{path}:1: " + _no_such_column(absent, roles, cells, reading))
    if roles.numbers is not None:
        if roles.time in roles.numbers:
            raise ValueError(f"data.columns names the time column {roles.time!r}: leave it out")
        return list(roles.numbers)
    return _named_columns(cells.drop(columns=list(roles.others)), nameless, path)


def by_series(
    cells: pd.DataFrame, column: str, path: Path
) -> tuple[pd.DataFrame, tuple[str, ...], NDArray[np.int64]]:
    """The cells with the rows of each series together, in their order; the series, and where they start."""
    text = _categories(cells[column])
    codes, names = pd.factorize(text)
    if "" in names:
        line = cells.index[int((text == "").argmax())]
        raise ValueError(f"{path}:{line}: column {column!r} names no series: fill it in or drop the row")
    if np.count_nonzero(np.diff(codes)) >= len(names):
        order = np.argsort(codes, kind="stable")
        cells, codes = cells.iloc[order], codes[order]
    return cells, tuple(names), np.searchsorted(codes, np.arange(len(names) + 1))


def _categories(cells: pd.Series) -> NDArray[np.object_]:
    """Categories as text; those of Parquet may be numbers or truth values."""
    if cells.dtype == object:
        return cells.to_numpy()
    text = cells.astype("string").fillna("")
    return text.str.lower().to_numpy(dtype=object) if cells.dtype == bool else text.to_numpy(dtype=object)


def numbers_of(
    cells: pd.DataFrame, columns: Sequence[str], where: str, reading: Reading, may_miss: bool
) -> NDArray[np.float64]:
    """The columns as one table [rows, C]."""
    style = reading.style
    values = np.empty((len(cells), len(columns)), order="C")
    for place, name in enumerate(columns):
        column = cells[name]
        values[:, place] = (
            numbers(column, style.decimal, style.thousands)
            if column.dtype == object
            else column.to_numpy(np.float64, na_value=np.nan)
        )
    bad: NDArray[np.bool_] = ~np.isfinite(values)
    if not bad.any():
        return values
    whole = [name for place, name in enumerate(columns) if not bad[:, place].any()]
    is_text = [cells[name].dtype == object for name in columns]
    if not whole and reading.verb == "train" and all(is_text) and all(_is_text(cells[n]) for n in columns):
        raise ValueError(
            f"{where}: no numeric column among {_listed(list(columns))}: give one with data.columns"
        )
    for place, name in enumerate(columns):
        if not bad[:, place].any():
            continue
        text = cells[name] if is_text[place] else cells[name].astype("string").fillna("").astype(object)
        missing = are_missing(text)
        if not may_miss or (bad[:, place] & ~missing).any():
            raise ValueError(what_is_wrong(text, values[:, place], where, name, whole, reading, may_miss))
    return values


def _static(
    values: NDArray[np.float64],
    cells: pd.DataFrame,
    columns: Sequence[str],
    starts: NDArray[np.int64],
    path: Path,
) -> NDArray[np.float64]:
    """The first row of each series [series, S], where its others say the same."""
    first = values[starts[:-1]]
    changed = values != np.repeat(first, np.diff(starts), axis=0)
    if changed.any():
        row, place = np.argwhere(changed)[0]
        raise ValueError(_changes(cells[columns[place]], int(row), starts, path))
    return first


def _static_category(cells: pd.Series, starts: NDArray[np.int64], path: Path) -> NDArray[np.object_]:
    text = _categories(cells)
    changed = text != np.repeat(text[starts[:-1]], np.diff(starts))
    if changed.any():
        raise ValueError(_changes(cells, int(changed.argmax()), starts, path))
    return text[starts[:-1]]


def _changes(cells: pd.Series, row: int, starts: NDArray[np.int64], path: Path) -> str:
    before = cells.iloc[starts[np.searchsorted(starts, row, side="right") - 1]]
    return (
        f"{path}:{cells.index[row]}: column {cells.name!r} is {shown(cells.iloc[row])} here and "
        f"{shown(before)} at the start of the same series: write one value for the whole series, or name the "
        f"column in data.columns or data.categories"
    )


def _no_such_column(absent: list[str], roles: Roles, cells: pd.DataFrame, reading: Reading) -> str:
    column, names = absent[0], list(cells.columns)
    others = f" nor {listed(absent[1:])}" if len(absent) > 1 else ""
    said = f"no column {column!r}{did_you_mean(column, names)}{others}; it has {_listed(names)}"
    if not any(any(c.isalpha() for c in name) for name in names):
        said += ": the first line has to name the columns"
    elif reading.verb == "predict" or (reading.verb == "evaluate" and column != roles.time):
        said += f": the run was trained on {'columns' if others else 'a column'} of that name"
    else:
        said += f": set data.{_setting(column, roles)} to what it has"
    return said


def _setting(column: str, roles: Roles) -> str:
    """The setting that names a column."""
    if column == roles.time:
        return "time_column"
    if column == roles.series:
        return "series_column"
    lists = {n: getattr(roles, n) for n in ("categories", "static", "static_categories")}
    return next((name for name, columns in lists.items() if column in columns), "columns")


def _named_columns(cells: pd.DataFrame, nameless: list[str], path: Path) -> list[str]:
    """All columns but pandas' row numbers and empty ones without a name, which a line says are left out."""
    left_out = []
    for name in cells.columns:
        if not name.startswith("Unnamed: "):
            continue
        column = cells[name].astype(str)
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
