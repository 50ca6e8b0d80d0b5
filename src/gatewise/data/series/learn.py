"""What is learned of the training rows of a panel: the facts that a model is made and used with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewise.data.series.calendar import calendar_values
from gatewise.data.series.missing import Missing
from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.regular import Steps
from gatewise.data.series.scaling import Scaling, column_scales, in_blocks, series_scales, static_scales
from gatewise.data.series.split import rows_of_part
from gatewise.data.series.steps import season_of
from gatewise.data.series.style import CsvStyle
from gatewise.kinds.series import SeriesFacts
from gatewise.settings import did_you_mean

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What the settings of a data module say about the facts."""

    targets: Sequence[str] | None
    known: Sequence[str]
    known_categories: Sequence[str]
    calendar: Sequence[str]
    """Features, as :func:`gatewise.data.series.calendar.feature_names` calls them."""
    lookback: int
    horizon: int
    season: int | None
    scaling: Scaling
    missing: Missing
    irregular: str
    series_column: str | None
    style: CsvStyle


def learned(
    panel: Panel,
    ends: NDArray[np.int64],
    steps: Steps,
    time_format: str | None,
    wanted: Wanted,
    padded: bool,
) -> SeriesFacts:
    """The facts of a panel whose parts end at ``ends`` [3, series]; training rows give scales and labels.

    ``padded`` says that windows may begin before their series.
    Raises ValueError for a target or a known column that there is not, and for values that cannot be scaled.
    """
    columns = panel.columns
    targets = tuple(wanted.targets or columns)
    _check_some("data.targets", targets, columns, "data.columns")
    _check_some("data.known", wanted.known, columns, "data.columns")
    _check_some("data.known_categories", wanted.known_categories, tuple(panel.categories), "data.categories")
    rows = rows_of_part(panel, ends, 0)
    train = values_of(panel, rows)
    if not len(train):
        raise ValueError(f"{panel.source}: {len(panel)} row(s) are too few to train on")
    _tell_constant(panel, train, rows, targets)
    mean, std = column_scales(train, columns, wanted.scaling, panel.source)
    series_mean: tuple[tuple[float, ...], ...] = ()
    series_std: tuple[tuple[float, ...], ...] = ()
    if wanted.scaling == "series":
        places = [columns.index(target) for target in targets]
        # Each by its own numbers alone: beside large series, a small one would seem to be constant.
        mean[places], std[places] = 0.0, 1.0
        scales = series_scales(panel.values[:, places], panel, rows)
        series_mean, series_std = (tuple(map(tuple, scales[:, place].tolist())) for place in (0, 1))
    if wanted.calendar:
        calendar_values(panel.times[:1], wanted.calendar)  # that the times are dates
    lacking = np.any([np.isnan(block).any(axis=0) for block in in_blocks(panel.values)], axis=0)
    static_mean, static_std = static_scales(panel.static)
    many = wanted.series_column is not None or len(panel.names) > 1
    frequency = steps.frequency
    return SeriesFacts(
        time_column=str(panel.times.name),
        columns=columns,
        targets=targets,
        frequency=frequency,
        lookback=wanted.lookback,
        horizon=wanted.horizon,
        season=wanted.season or season_of(frequency, wanted.lookback),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        time_format=time_format,
        separator=wanted.style.separator,
        decimal=wanted.style.decimal,
        thousands=wanted.style.thousands,
        time_zone=wanted.style.time_zone,
        known=tuple(wanted.known),
        calendar=tuple(wanted.calendar),
        masked=tuple(n for n, lacks in zip(columns, lacking, strict=True) if lacks)
        if wanted.missing == "mask" or padded
        else (),
        categories=tuple(panel.categories),
        known_categories=tuple(wanted.known_categories),
        labels=tuple(_labels(column[rows]) for column in panel.categories.values()),
        static=tuple(panel.static_names),
        static_mean=tuple(static_mean.tolist()),
        static_std=tuple(static_std.tolist()),
        static_categories=tuple(panel.static_categories),
        static_labels=tuple(_labels(column) for column in panel.static_categories.values()),
        series_column=(wanted.series_column or "series") if many else None,
        series=panel.names if many else (),
        missing=wanted.missing,
        irregular=wanted.irregular,
        padded=padded,
        scaling=wanted.scaling,
        series_mean=series_mean,
        series_std=series_std,
    )


def values_of(panel: Panel, rows: NDArray[np.bool_]) -> NDArray[np.floating]:
    """The values of some rows; without a copy where these follow each other, as those of one series do."""
    first, last = int(rows.argmax()), len(rows) - int(rows[::-1].argmax())
    if rows[first:last].all():
        return panel.values[first:last]
    return panel.values[rows]


def _check_some(setting: str, names: Sequence[str], columns: Sequence[str], where: str) -> None:
    for name in names:
        if name not in columns:
            raise ValueError(
                f"{setting}: {name!r} is not an input column{did_you_mean(name, columns)}: "
                f"add it to {where} or choose from {', '.join(columns)}"
            )


def _labels(column: NDArray[np.object_]) -> tuple[str, ...]:
    return tuple(sorted({str(each) for each in column if each}))


def _tell_constant(
    panel: Panel, train: NDArray[np.floating], rows: NDArray[np.bool_], targets: Sequence[str]
) -> None:
    """Warn of targets that never change in training: nothing can be learned of them."""
    places = [panel.columns.index(target) for target in targets]
    if len(panel.names) == 1:
        constant = [
            name
            for name, place in zip(targets, places, strict=True)
            if len(train) > 1 and np.fmin.reduce(train[:, place]) == np.fmax.reduce(train[:, place])
        ]
        if constant:
            log.warning("%s: constant in the training rows: %s", panel.source, listed(constant))
        return
    changes = np.zeros(len(panel.names), dtype=bool)
    for place in places:
        column = np.where(rows, panel.values[:, place], np.nan)
        lowest = np.fmin.reduceat(column, panel.starts[:-1])
        changes |= np.fmax.reduceat(column, panel.starts[:-1]) > lowest
        changes |= np.isnan(lowest)  # it has no training row
    if not changes.all():
        names = [panel.names[number] for number in np.flatnonzero(~changes)]
        log.warning(
            "%s: %d of %d series are constant in the training rows: %s",
            panel.source, len(names), len(panel.names), listed(names),
        )  # fmt: skip
