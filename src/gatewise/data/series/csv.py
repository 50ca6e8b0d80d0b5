"""Read and check a user's CSV file of a time series, as a data frame indexed by time.

Every reader in this folder returns the same kind of frame: float64 columns and a strictly increasing index of
dates (``DatetimeIndex``) or numbers (such as years), with the name of the time column.
"""

from __future__ import annotations

import csv
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.files import read_text
from gatewise.settings import did_you_mean

log = logging.getLogger(__name__)

MISSING = ("", "na", "n/a", "nan", "nat", "null", "none", "?")
"""Cells that mean a missing value, in lower case."""


def read_csv(path: Path, time_column: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the numeric ``columns`` (None: all numeric ones), indexed by time.

    Raises ValueError, naming ``file:line`` if there is one, for a missing column, a missing or non-numeric
    cell, an unreadable time, and times that do not strictly increase.
    """
    cells = _read_cells(path)
    for column in (time_column, *(columns or ())):
        if column not in cells.columns:
            key = "data.time_column" if column == time_column else "data.columns"
            raise ValueError(
                f"{path}:1: no column {column!r}{did_you_mean(column, cells.columns)}: set {key} to one of "
                f"{', '.join(cells.columns)}"
            )
    if columns is not None and time_column in columns:
        raise ValueError(f"data.columns names the time column {time_column!r}: leave it out")
    if columns is None:
        columns = _numeric_columns(cells.drop(columns=time_column), path)
    # Times first: a wrong time column is the more basic mistake.
    index = _times(cells[time_column], path, time_column)
    values = {column: _numbers(cells[column], path, column) for column in columns}
    frame: pd.DataFrame = pd.DataFrame(values, index=index)
    return frame


def infer_frequency(times: pd.Index) -> str | None:
    """The pandas offset alias of regular dates; None for irregular or fewer than three dates or numbers."""
    if not isinstance(times, pd.DatetimeIndex) or len(times) < 3:
        return None
    return pd.infer_freq(times)


def is_regular(times: pd.Index) -> bool:
    """Whether the times, dates or numbers, have one constant step; fewer than three always have."""
    if len(times) < 3:
        return True
    if isinstance(times, pd.DatetimeIndex):
        return infer_frequency(times) is not None
    steps = np.diff(times)
    return bool(np.allclose(steps, steps[0]))


def future_times(times: pd.Index, horizon: int, frequency: str | None) -> pd.Index:
    """The ``horizon`` times that follow ``times``.

    Their step is ``frequency`` if ``times`` follow it, else the frequency of ``times``, else their median
    step. Raises ValueError if there is only one time, from which no step can be told.
    """
    if isinstance(times, pd.DatetimeIndex):
        for alias in (frequency, infer_frequency(times)):
            # The training frequency first: the business days of one week look like daily data.
            if alias and pd.date_range(times[0], periods=len(times), freq=alias).equals(times):
                ahead: pd.Index = pd.date_range(times[-1], periods=horizon + 1, freq=alias, name=times.name)[
                    1:
                ]
                return ahead
        if frequency:
            log.warning(
                "the times do not follow the training data's step %r: continuing with their own", frequency
            )
    if len(times) < 2:
        raise ValueError(f"the time step cannot be told from one row ({times[0]}): give at least two rows")
    ordered = times.to_series()
    step = ordered.diff().iloc[1:].median()
    if times.dtype.kind == "i" and float(step).is_integer():
        step = int(step)
    ahead = pd.Index([times[-1] + step * count for count in range(1, horizon + 1)], name=times.name)
    return ahead


def _read_cells(path: Path) -> pd.DataFrame:
    """All cells as text, indexed by line number in the file; blank lines are dropped."""
    text = read_text(path)
    header = [name.strip() for name in next(csv.reader(io.StringIO(text), skipinitialspace=True), [])]
    for name in header:
        if name and header.count(name) > 1:
            raise ValueError(f"{path}:1: the header names {name!r} twice: give every column its own name")
    try:
        cells: pd.DataFrame = pd.read_csv(
            io.StringIO(text), dtype=str, keep_default_na=False, skip_blank_lines=False, skipinitialspace=True
        )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty: it needs a header line and rows") from None
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise ValueError(f"{path}: {reason}: give every row as many cells as the header") from None
    if not isinstance(cells.index, pd.RangeIndex):
        raise ValueError(
            f"{path}:2: more cells than the header names: give every row as many cells as the header"
        )
    cells.columns = cells.columns.str.strip()
    if len(cells.columns) == 1 and any(separator in cells.columns[0] for separator in ";\t"):
        raise ValueError(
            f"{path}:1: the header {cells.columns[0]!r} has no commas: separate the cells by commas"
        )
    cells = cells.fillna("")
    cells.index = cells.index + 2  # the header is line 1
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise ValueError(f"{path} holds no row below its header")
    return cells


def _numeric_columns(cells: pd.DataFrame, path: Path) -> list[str]:
    """Columns most of whose cells are numbers; the bad cells in them are reported later."""
    numeric = [c for c in cells.columns if pd.to_numeric(cells[c], errors="coerce").notna().mean() > 0.5]
    if not numeric:
        raise ValueError(
            f"{path}: no numeric column among {', '.join(cells.columns) or 'none'}: set data.columns"
        )
    if len(numeric) < len(cells.columns):
        left_out = ", ".join(c for c in cells.columns if c not in numeric)
        log.warning("%s: columns that are not numeric are left out: %s", path, left_out)
    return numeric


def _numbers(cells: pd.Series[str], path: Path, column: str) -> NDArray[np.float64]:
    """Cells as float64; ValueError for the first that is missing or not a finite number."""
    missing = cells[cells.str.strip().str.lower().isin(MISSING)]
    if len(missing):
        raise ValueError(
            f"{path}:{missing.index[0]}: column {column!r} has {len(missing)} missing value(s), "
            f"the first here: fill them in, drop the rows, or leave the column out with data.columns"
        )
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    bad = cells[~np.isfinite(values)]
    if len(bad):
        raise ValueError(
            f"{path}:{bad.index[0]}: column {column!r}: {bad.iloc[0]!r} is not a finite number: "
            f"correct it, or leave the column out with data.columns"
        )
    return values


def _times(cells: pd.Series[str], path: Path, time_column: str) -> pd.Index:
    """Strictly increasing dates or numbers; ValueError for the first cell that is neither or goes back."""
    cells = cells.str.strip()
    times: pd.Index = pd.Index(_parse_times(cells, path, time_column), name=time_column)
    if times.hasnans:
        line = cells.index[int(times.isna().argmax())]
        raise ValueError(
            f"{path}:{line}: column {time_column!r}: {cells[line]!r} is not a time like the others: "
            f"write 2024-01-31 13:00 or a number, or set data.time_column"
        )
    back = np.flatnonzero(times[1:] <= times[:-1])
    if len(back):
        line, before = cells.index[back[0] + 1], cells.iloc[back[0]]
        problem = "appears twice" if times[back[0]] == times[back[0] + 1] else f"comes after {before!r}"
        raise ValueError(
            f"{path}:{line}: the time {cells[line]!r} {problem}: "
            f"sort the rows by {time_column!r}, one row per time"
        )
    return times


def _parse_times(cells: pd.Series[str], path: Path, time_column: str) -> pd.Index:
    """Cells as whole numbers, other numbers or dates; NaN or NaT for a cell that is none of these."""
    compact_dates = cells.str.fullmatch(r"(19|20)\d{6}").all()
    numbers = pd.to_numeric(cells, errors="coerce")
    times: pd.Index
    if numbers.notna().mean() > 0.5 and not compact_dates:
        times = pd.Index(numbers)
        return times
    try:
        dates = pd.to_datetime(cells, format="%Y%m%d" if compact_dates else "ISO8601", errors="coerce")
        if dates.isna().mean() > 0.5:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # pandas warns that it guesses the format
                dates = pd.to_datetime(cells, errors="coerce")
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: column {time_column!r}: {reason}: write the times in UTC") from None
    times = pd.Index(dates)
    return times
