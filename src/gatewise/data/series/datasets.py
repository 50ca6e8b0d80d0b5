"""Sets of series that need no file of the user's: from installed packages, or made here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from gatewise.data.files import installed_file, read_text
from gatewise.data.known.finding import PREFIX, find_known, is_right
from gatewise.data.known.sets import SETS
from gatewise.data.series.panel import Panel, one_series
from gatewise.data.series.sunspots import sunspots_monthly

M1_YEARLY = "m1_yearly_dataset.tsf"
_IN_AEON = f"datasets/data/m1_yearly_dataset/{M1_YEARLY}"
SERIES, TIME, VALUE = "unique_id", "ds", "y"
"""Columns of many series, as forecasting users name them."""
_GENERATED, _SHORTEST, _LONGEST = 1000, 60, 300
_MONTHS = 12

Folders = Sequence[str | Path]
Dataset = Literal["sunspots_monthly", "m1_yearly", "generated"]


def sunspots() -> Panel:
    """Monthly mean sunspot numbers since 1749."""
    return one_series(sunspots_monthly(), "sunspots_monthly")


def m1_yearly(folders: Folders = ()) -> Panel:
    """The 181 yearly series of the M1 competition, 15 to 58 values each.

    From the known set of that name in one of ``folders``, or else the same file of an installed aeon, which
    is not imported. Raises ValueError where there is neither.
    """
    path = _m1_file(folders)
    lines = read_text(path).partition("@data\n")[2].split("\n")
    cells = [line.split(":") for line in lines if line.strip()]
    values = [np.array(row[2].split(","), dtype=np.float64) for row in cells]
    lengths = [len(each) for each in values]
    # Every year is written as the first of January; one start is unknown and written as 1900.
    years = [int(row[1][:4]) + np.arange(length) for row, length in zip(cells, lengths, strict=True)]
    return Panel(
        "m1_yearly",
        pd.Index(np.concatenate(years), name=TIME),
        np.concatenate(values)[:, None],
        (VALUE,),
        np.concatenate([[0], np.cumsum(lengths)]),
        tuple(row[0] for row in cells),
    )


def _m1_file(folders: Folders) -> Path:
    """The file with the checksum of the known set."""
    (file,) = SETS["m1_yearly"].files
    with contextlib.suppress(ValueError):
        path = installed_file("aeon", _IN_AEON)
        if is_right(path, file):
            return path
    try:
        return find_known(f"{PREFIX}m1_yearly/{M1_YEARLY}", folders, "data.dataset=m1_yearly")
    except ValueError as error:
        raise ValueError(f"{error}; or pip install 'gatewise[m1]', which brings it and more") from None


def generated(count: int = _GENERATED, seed: int = 0) -> Panel:
    """Monthly series of 60 to 300 values, each with a level, a trend, a season and noise of its own.

    The levels are log-normal (from about 10 to 1,000); all that is added to them is in shares of the level.
    The seasons have one of four shapes, and every series ends in one of the months of 2024.
    """
    rng = np.random.default_rng(seed)
    shapes = rng.normal(size=(4, _MONTHS))
    shapes -= shapes.mean(axis=1, keepdims=True)
    lengths = rng.integers(_SHORTEST, _LONGEST + 1, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    last = rng.integers(0, _MONTHS, count)
    month = np.repeat((2024 - 1970) * _MONTHS + last - lengths + 1, lengths) + row
    of_series = {
        "level": np.exp(rng.normal(4.6, 1.1, count)),
        "trend": rng.normal(0, 0.003, count),
        "season": np.abs(rng.normal(0, 0.15, count)),
        "noise": rng.uniform(0.01, 0.1, count),
    }
    level, trend, season, noise = (np.repeat(each, lengths) for each in of_series.values())
    shape = shapes[np.repeat(rng.integers(0, len(shapes), count), lengths), month % _MONTHS]
    values = level * (1 + trend * row + season * shape + noise * rng.normal(size=len(row)))
    digits = len(str(count - 1))
    return Panel(
        "generated",
        pd.DatetimeIndex(month.astype("datetime64[M]").astype("datetime64[s]"), name=TIME),
        values[:, None].round(4),
        (VALUE,),
        starts,
        tuple(f"s{number:0{digits}}" for number in range(count)),
    )


DATASETS: dict[str, Callable[[Folders], Panel]] = {
    "sunspots_monthly": lambda _: sunspots(),
    "m1_yearly": m1_yearly,
    "generated": lambda _: generated(),
}
