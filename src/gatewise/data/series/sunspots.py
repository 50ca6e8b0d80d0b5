"""Monthly mean sunspot numbers since 1749, from a file in the statsmodels wheel."""

from __future__ import annotations

import re

import pandas as pd

from gatewise.data.files import installed_file, read_text

FILE = "datasets/sunspots/src/sunspots_monthly.dat"
TIME_COLUMN = "month"
COLUMN = "sunspots"

_YEAR = re.compile(r"(\d{4})((?:\s+\d+\.\d)+)\s*")


def sunspots_monthly() -> pd.DataFrame:
    """A column ``sunspots`` with a row per month, from January 1749 to the last month observed.

    The file has a line per year between titles, rules and notes; the last year may be incomplete. statsmodels
    is not imported. Raises ValueError if the file is missing or its years have a gap.
    """
    path = installed_file("statsmodels", FILE, "statsmodels")
    values: list[float] = []
    first_year = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        match = _YEAR.fullmatch(line)
        if match is None:
            continue
        first_year = first_year or int(match[1])
        if len(values) != 12 * (int(match[1]) - first_year):
            raise ValueError(f"{path}:{number}: year {match[1]} does not continue the months before it")
        values += [float(value) for value in match[2].split()]
    if first_year is None:
        raise ValueError(f"{path} has no line for any year: pip install --force-reinstall statsmodels")
    months = pd.date_range(f"{first_year}-01", periods=len(values), freq="MS", name=TIME_COLUMN)
    frame: pd.DataFrame = pd.DataFrame({COLUMN: values}, index=months)
    return frame
