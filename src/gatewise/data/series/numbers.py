"""Cells of a CSV file as numbers: plain, or with the decimal mark and thousands separators of a setting."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.style import CHARACTERS, Reading
from gatewise.data.series.times import NUMERIC
from gatewise.settings.checks import shown

MISSING = ("", "na", "n/a", "nan", "<na>", "#n/a", "nat", "null", "none", "nil", "?", "-", "--", ".")
"""Cells that mean a missing value, in lower case."""


def numbers(cells: pd.Series, decimal: str, thousands: str | None) -> NDArray[np.float64]:
    """Cells as float64, correctly rounded; NaN for one that is no finite number as it is written."""
    if thousands is None and (values := _all_plain(cells.tolist(), CHARACTERS[decimal])) is not None:
        return values
    mark = re.escape(CHARACTERS[decimal])
    plain = rf"[+-]?([0-9]+({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?"
    fits = [re.compile(plain).fullmatch]
    text: list[str] = cells.tolist()
    gap = None
    if thousands is not None:
        gap = "[ \u00a0\u2009\u202f]" if thousands == "space" else re.escape(CHARACTERS[thousands])
        gap = "['\u2019]" if thousands == "apostrophe" else gap
        # Groups of three, and in India of two before the last.
        grouped = rf"[+-]?[0-9]{{1,3}}({gap}[0-9]{{2,3}})*{gap}[0-9]{{3}}({mark}[0-9]*)?"
        fits.append(re.compile(grouped).fullmatch)
    is_number = [any(fit(cell) for fit in fits) for cell in text] if gap else list(map(fits[0], text))
    if gap:
        text = [re.sub(gap, "", cell) for cell in text]
    if decimal != "point":
        text = [cell.replace(CHARACTERS[decimal], ".") for cell in text]
    values = np.array([float(cell) if fit else np.nan for cell, fit in zip(text, is_number, strict=True)])
    values[~np.isfinite(values)] = np.nan
    return values


def _all_plain(text: list[str], mark: str) -> NDArray[np.float64] | None:
    """Cells as float64 where all are finite numbers without thousands separators, else None."""
    if not set("".join(text)) <= set(f"0123456789+-eE{mark}"):
        return None
    try:
        values = np.fromiter(map(float, text if mark == "." else [c.replace(mark, ".") for c in text]), float)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def are_missing(cells: pd.Series) -> NDArray[np.bool_]:
    """Which cells mean a missing value."""
    known = set(MISSING)
    return np.array([cell.lower() in known for cell in cells], dtype=bool)


def what_is_wrong(
    cells: pd.Series,
    values: NDArray[np.float64],
    where: str,
    column: str,
    others: list[str],
    reading: Reading,
    may_miss: bool = False,
) -> str:
    """The line about the first cell, indexed by line, that is missing or, as ``values`` have it, no number.

    ``others`` are the columns that can be read, so that this one may be left out; ``may_miss`` passes over
    missing cells.
    """
    leave_out = reading.columns_advice(others)
    are_there = ~are_missing(cells)
    missing = cells[~are_there]
    if len(missing) and not may_miss:
        written = f" ({missing.iloc[0]!r})" if missing.iloc[0] else ""
        return (
            f"{where}:{missing.index[0]}: column {column!r} has {len(missing)} missing value(s), "
            f"the first here{written}: "
            + reading.advice("fill them in, drop the rows", "data.missing (mask, forward or interpolate)")
            + leave_out
        )
    style = reading.style
    cells, values = cells[are_there], values[are_there]
    bad = cells[np.isnan(values)]
    line, cell = bad.index[0], bad.iloc[0]
    found = f"{where}:{line}: column {column!r}: {shown(cell)}"
    settings = _settings_that_read(cells, reading)
    if settings and reading.verb == "predict":
        groups = "no separator" if style.thousands is None else f"a {style.thousands}"
        return (
            f"{found} is not a number as this run reads them: write a {style.decimal} for decimals and "
            f"{groups} for thousands, as in its training"
        )
    if settings:
        return f"{found} is not a number as it is written: set {' or '.join(settings)}{leave_out}"
    if NUMERIC.fullmatch(cell) or re.fullmatch("[+-]?inf(inity)?", cell.lower()):
        return f"{found} is not a finite number: correct it{leave_out}"
    if re.search("[0-9]", cell):
        return f"{found} is not a number: write the number alone{leave_out}"
    if len(bad) > len(cells) / 2:
        return f"{found} is text and not a number: remove the column{leave_out}"
    return f"{found} is not a finite number: correct it{leave_out}"


def _settings_that_read(cells: pd.Series, reading: Reading) -> list[str]:
    """The settings with which the whole column can be read, each as it is typed."""
    style = reading.style
    found: list[list[str]] = []
    for decimal in ("point", "comma"):
        for thousands in (None, "comma", "point", "space", "apostrophe"):
            if thousands == decimal or np.isnan(numbers(cells, decimal, thousands)).any():
                continue
            changes = []
            if decimal != style.decimal:
                changes.append(f"data.decimal={decimal}")
            if thousands != style.thousands:
                changes.append(f"data.thousands={'null' if thousands is None else thousands}")
            if not any(set(before) <= set(changes) for before in found):
                found.append(changes)
            if thousands is None:
                break  # plain numbers: a separator for thousands adds nothing
    return [" ".join(changes) for changes in found]
