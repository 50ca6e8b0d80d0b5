"""A file to forecast from: the newest rows of one or more series, and what is known of the rows to come."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.features import laid_out, unknown_categories
from gatewise.data.series.future import with_future
from gatewise.data.series.missing import check_none_missing, padded, with_missing_rows
from gatewise.data.series.panel import Panel, Roles, listed
from gatewise.data.series.style import CsvStyle, Reading
from gatewise.data.series.table import read_table
from gatewise.data.series.times import write_times
from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts
from gatewise.settings import DataFile, Positive, checked

log = logging.getLogger(__name__)

ORIGIN = "last row seen"
"""Column of the time that a forecast was made at, where there are several of one series."""


def roles_of(facts: SeriesFacts, time_column: str = "") -> Roles:
    """The columns that a run reads, as its training has them."""
    return Roles(
        time_column or facts.time_column,
        facts.series_column,
        facts.columns,
        facts.categories,
        facts.static,
        facts.static_categories,
    )


@checked
def read_input(
    path: Path,
    facts: SeriesFacts,
    *,
    horizon: Positive | None = None,
    in_sample: bool = False,
    future_file: DataFile | None = None,
    unknown_categories: Literal["refuse", "zero"] = "refuse",
    short_series: Literal["refuse", "leave_out"] = "refuse",
    time_zone: str | None = None,
) -> Input:
    """Read the series of a file, and find the ``horizon`` times that follow the last row of each.

    A series may be one that the training has not seen, and have any number of rows from the lookback on; a
    file without the column of the series is one series. Where covariates are known for the horizon, rows at
    the end without any target hold them, unless they come from ``future_file``.

    The batch has a window for each series, the newest, with targets [B, horizon, C_targets] of NaN; with
    ``in_sample`` a window for every row that one may end with, whose targets are known as far as the file
    has them. ``columns`` has ``horizon`` entries for each window, one window after another. ``time_zone`` is
    that of the file, where the training has been told of none or it is another.

    Raises ValueError if a series has too few rows, values are missing (unless the training filled them), a
    category is new (unless ``unknown_categories`` is ``zero``), or covariates of the horizon are missing.
    """
    steps = facts.horizon if horizon is None else horizon
    style = CsvStyle(
        facts.separator,
        facts.decimal,
        facts.thousands,
        facts.time_format,
        time_zone=time_zone or facts.time_zone,
    )
    reading = Reading(style, "predict")
    panel, time_format = read_table(path, replace(roles_of(facts), may_be_one=True), reading, may_miss=True)
    if facts.irregular == "fill":
        panel, _ = with_missing_rows(panel, facts.frequency)
    seen = _rows_seen(panel, facts)
    _check_unknown(panel, facts, unknown_categories)
    panel, seen = _long_enough(panel, seen, facts, short_series)
    if facts.missing == "refuse":
        check_none_missing(panel, _newest(panel, seen, None if in_sample else facts.lookback))
    future = None
    if future_file is not None:
        future = _read_future(Path(future_file), facts, reading)
    whole = with_future(panel, seen, steps, facts, future)
    extra = facts.lookback - 1 if facts.padded else 0
    if facts.padded:
        whole, seen = padded(whole, extra), seen + extra
    laid = laid_out(whole, facts, whole.starts, whole.ranks < np.repeat(seen, whole.lengths))
    ends = [np.arange(facts.lookback, n + 1) if in_sample else np.array([n]) for n in seen]
    owners = np.repeat(np.arange(len(seen)), [len(each) for each in ends])
    last = whole.starts[owners] + np.concatenate(ends)  # the first row after each window's lookback
    batch = laid.windows(facts, last - facts.lookback, steps)[list(range(len(last)))]
    return Input(
        batch,
        path.name,
        _columns(whole, owners, last, steps, facts, time_format, in_sample),
        write_times(whole.times[last[-1] - facts.lookback : last[-1]], time_format) if len(last) == 1 else (),
    )


def _columns(
    panel: Panel,
    owners: NDArray[np.int64],
    last: NDArray[np.int64],
    steps: int,
    facts: SeriesFacts,
    time_format: str | None,
    in_sample: bool,
) -> dict[str, list[str]]:
    """What stands beside each forecast: its series, the row it was made at, and its time."""
    columns: dict[str, list[str]] = {}
    if facts.series_column is not None and panel.names != ("",):
        columns[facts.series_column] = [panel.names[number] for number in np.repeat(owners, steps)]
    if in_sample:
        columns[ORIGIN] = _written(panel.times[np.repeat(last - 1, steps)], time_format)
    rows = (last[:, None] + np.arange(steps)).ravel()
    columns[facts.time_column] = _written(panel.times[rows], time_format)
    return columns


def _written(times: pd.Index, time_format: str | None) -> list[str]:
    codes, distinct = pd.factorize(times)
    texts = write_times(distinct, time_format)
    return [texts[code] for code in codes]


def _rows_seen(panel: Panel, facts: SeriesFacts) -> NDArray[np.int64]:
    """How many rows of each series there are up to the last with a target: after it covariates may be."""
    if not (facts.known or facts.known_categories):
        return panel.lengths
    places = [facts.columns.index(target) for target in facts.targets if target not in facts.known]
    there = ~np.isnan(panel.values[:, places or [facts.columns.index(facts.targets[0])]]).all(axis=1)
    count = np.where(there, panel.ranks + 1, 0)
    seen: NDArray[np.int64] = np.maximum.reduceat(count, panel.starts[:-1])
    return seen


def _newest(panel: Panel, seen: NDArray[np.int64], most: int | None) -> NDArray[np.bool_]:
    """The last ``most`` rows that are seen of each series; None means all."""
    left = np.repeat(seen, panel.lengths) - panel.ranks
    return (left > 0) & (left <= (most or len(panel)))


def _long_enough(
    panel: Panel, seen: NDArray[np.int64], facts: SeriesFacts, how: str
) -> tuple[Panel, NDArray[np.int64]]:
    needed = 1 if facts.padded else facts.lookback
    short = seen < needed
    if not short.any():
        return panel, seen
    if len(panel.names) == 1:
        raise ValueError(
            f"{panel.source}: {seen[0]} rows, but the model needs {needed} (its lookback): give more"
        )
    names = [f"{panel.names[i]} with {seen[i]}" for i in np.flatnonzero(short)]
    of_all = f"{len(names)} of {len(seen)} series"
    said = f"{panel.source}: {of_all} have fewer than the {needed} rows of the lookback"
    if how != "leave_out" or short.all():
        raise ValueError(f"{said}, such as {listed(names)}: give more, or set data.short_series=leave_out")
    log.warning("%s and are left out, such as %s", said, listed(names))
    kept = np.flatnonzero(~short)
    return panel.only(kept), seen[kept]


def _check_unknown(panel: Panel, facts: SeriesFacts, how: str) -> None:
    found = unknown_categories(panel, facts)
    if found and how == "refuse":
        raise ValueError(f"{found}: correct it, or set data.unknown_categories=zero to forecast without it")


def _read_future(path: Path, facts: SeriesFacts, reading: Reading) -> Panel:
    """The covariates of the rows to come, from a file of their own."""
    if not path.is_file():
        raise ValueError(f"data.future_file={path}: there is no such file")
    roles = Roles(
        facts.time_column, facts.series_column, facts.known, facts.known_categories, may_be_one=True
    )
    panel, _ = read_table(path, roles, reading, may_miss=True)
    return panel
