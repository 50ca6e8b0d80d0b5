"""The settings of windows of time series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from gatewise.data.module import SequenceDataModule
from gatewise.data.series.calendar import feature_names
from gatewise.data.series.datasets import Dataset
from gatewise.data.series.learn import Wanted
from gatewise.data.series.missing import Missing
from gatewise.data.series.panel import Roles
from gatewise.data.series.scaling import Scaling
from gatewise.data.series.split import Split
from gatewise.data.series.style import CsvStyle
from gatewise.data.series.zones import check_zone
from gatewise.settings import (
    Count,
    DataFile,
    Folders,
    Fraction,
    Names,
    Positive,
    Several,
    SomeOf,
    Word,
    rule,
    split_fractions,
)

UnknownCategories = Literal["refuse", "zero"]
Irregular = Literal["tell", "rows", "refuse", "fill"]
ShortSeries = Literal["refuse", "leave_out", "pad"]
CalendarParts = Annotated[
    Sequence[str],
    SomeOf("minute", "hour", "weekday", "day", "yearday", "week", "month", "quarter"),
]


@rule
def check_source(file: str | None, dataset: str | None, time_column: str | None) -> None:
    """Raise ValueError unless there is exactly one series, and a file has its time column."""
    if (file is None) == (dataset is None):
        raise ValueError(
            f"give one of data.file and data.dataset ({', '.join(get_args(Dataset))}), got file={file!r}, "
            f"dataset={dataset!r}"
        )
    if file is not None and not time_column:
        raise ValueError(f"time_column must name the time column of {file}, got {time_column!r}")


@rule
def check_split(train_fraction: float, validation_fraction: float, test_file: str | None) -> None:
    """Raise ValueError if no row is left to test on, unless a file of its own is for that."""
    if test_file is None:
        split_fractions("to test on", train_fraction=train_fraction, validation_fraction=validation_fraction)


@rule
def check_one_split(
    split_rows: object, split_dates: object, test_steps: int | None, validation_steps: int | None
) -> None:
    """Raise ValueError where the parts are told in two ways."""
    given = {"split_rows": split_rows, "split_dates": split_dates, "test_steps": test_steps}
    said = [name for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise ValueError(f"{said[1]} is given beside data.{said[0]}: set one of them to null")
    if validation_steps is not None and test_steps is None:
        raise ValueError(f"validation_steps={validation_steps} needs data.test_steps as well")


@rule
def check_roles(
    time_column: str | None,
    series_column: str | None,
    columns: object,
    categories: object,
    static: object,
    static_categories: object,
) -> None:
    """Raise ValueError for a column with two roles."""
    roles = {
        "time_column": time_column,
        "series_column": series_column,
        "columns": columns,
        "categories": categories,
        "static": static,
        "static_categories": static_categories,
    }
    owner: dict[str, str] = {}
    for role, value in roles.items():
        is_one = isinstance(value, (str, int, float))
        for name in [value] if is_one else (value or ()):  # type: ignore[attr-defined]
            if name in owner and not (owner[name] == "time_column" and role == "columns"):
                raise ValueError(f"{role} names {name!r}, as data.{owner[name]} does: name it in one of them")
            owner[name] = role


@rule
def check_many(
    series_column: str | None,
    dataset: str | None,
    scaling: str,
    static: object,
    static_categories: object,
    max_series: int | None,
) -> None:
    """Raise ValueError for what only several series have."""
    if series_column is not None or dataset in ("m1_yearly", "generated"):
        return
    wanted = {"static": static, "static_categories": static_categories, "max_series": max_series}
    named = next((name for name, value in wanted.items() if value is not None), None)
    named = "scaling=series" if scaling == "series" else named
    if named:
        raise ValueError(f"{named} is for several series: name their column in data.series_column")


@rule
def check_filling(missing: str, irregular: str, short_series: str, frequency: str | None) -> None:
    """Raise ValueError where rows are put in whose values must not be missing."""
    if irregular == "fill" and missing == "refuse":
        raise ValueError(
            "irregular=fill puts in rows without values: set data.missing to mask, forward or interpolate"
        )
    if frequency is not None and irregular != "fill":
        raise ValueError(f"frequency={frequency} is for data.irregular=fill, got irregular={irregular}")
    if short_series == "pad" and missing not in ("refuse", "mask"):
        raise ValueError(
            f"short_series=pad puts in rows without values: set data.missing=mask, not {missing}"
        )


@rule
def check_marks(decimal: str, thousands: str | None) -> None:
    """Raise ValueError where one mark would be both."""
    if decimal == thousands:
        raise ValueError(f"thousands={thousands} is data.decimal as well: choose another for one of them")


@rule
def check_time_zone(time_zone: str | None) -> None:
    """Raise ValueError for a zone that there is not."""
    check_zone(time_zone)


@rule
def check_times(time_format: str | None, day_first: bool | None) -> None:
    """Raise ValueError for a format that strptime has not, and for two settings of one thing."""
    if time_format is None:
        return
    if day_first is not None:
        raise ValueError(
            f"time_format={time_format} says itself whether the day is first: set data.day_first=null"
        )
    if time_format in ("number", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "ISO8601"):
        return
    directives = [part.lstrip("-")[:1] for part in time_format.replace("%%", "").split("%")[1:]]
    unknown = [letter for letter in directives if letter not in (*"YmdHMSfyqbBjGVuIpzaA",)]
    twice = [letter for letter in directives if directives.count(letter) > 1]
    if unknown or not directives or twice:
        what = (
            f"has an unknown %{unknown[0]}" if unknown else f"has %{twice[0]} twice" if twice else "has no %"
        )
        raise ValueError(
            f"time_format must be number, epoch_s (or _ms, _us, _ns), ISO8601, or of the form "
            f"%d/%m/%Y %H:%M (%q is the quarter), got {time_format!r}, which {what}"
        )


class SeriesSettings(SequenceDataModule):
    """What :class:`gatewise.data.series.SeriesWindows` takes.

    Args:
        file: a CSV or Parquet file. Give either this or ``dataset``, one of ``DATASETS``.
        test_file: another such file, all of whose rows are the test part. The validation part is then
            every row after the training rows.
        time_column: the column of dates, or of increasing numbers such as years, in the files.
        time_format: how the times are written, as in ``%d/%m/%Y %H:%M``, ``%YQ%q``, ``number`` or
            ``epoch_s``; None means as they show themselves, where only one reading is possible.
        day_first: whether 01/02/2024 is in February; None means as the other rows tell.
        time_zone: the place whose clocks the times are of, as ``Europe/Berlin``, which go forward and back;
            ``utc`` reads times of any offsets in UTC. None takes them as they are, of one offset at most.
        separator, decimal, thousands: what separates cells, and marks decimals and thousands in numbers.
        series_column: the column that names the series of each row; None means that there is one series.
        columns: input columns of numbers; None means every column without another role.
        targets: columns to forecast, some of ``columns``; None means all of them.
        known: those of ``columns`` that are known for the horizon, too, such as a price or a holiday.
        categories: columns of categories, and ``known_categories`` those of them known for the horizon.
        static, static_categories: numbers and categories that stay the same for a whole series.
        unknown_categories: whether one that the training has not seen is refused, or is number 0.
        calendar: parts of the date that are inputs, each as sine and cosine or, with ``calendar_form``
            ``scaled``, as a number from -0.5 to 0.5.
        missing: missing values are refused, filled by a line to the next or by the last value, or 0 with an
            input that says so (``mask``). A missing target is never trained on and never scored.
        irregular: where time steps vary or rows are left out: ``tell`` and count rows (series of different
            steps are refused), count ``rows``, ``refuse``, or ``fill`` in the rows with missing values.
        frequency: the time step of ``fill``, such as h or MS; None means the usual one.
        scaling: by mean and standard deviation of each column's training rows; by their median and quartiles
            (``robust``); not at all (``none``); or the targets by those of each series as well (``series``).
        short_series: whether series without a single window are refused, left out, or filled up at their
            start with missing values (``pad``), so that windows may begin before their series.
        lookback, horizon: number of rows seen and to forecast.
        season: rows in one season, for the seasonal-naive baseline; with 1, there is none. None means that of
            the time step: 24 hours, 7 days, 12 months, where the lookback is as long.
        train_fraction, validation_fraction: shares of the rows of each series; the rest is the test part.
        split_rows: rows of each series for training, validation and test instead; others are not used.
        split_dates: the first time of the validation part and that of the test part instead.
        test_steps, validation_steps: the last rows of each series for these parts instead.
        left_out_steps: the last rows of each series, after those of the test, which are not used.
        stride: rows between the starts of training windows. Validation and test use every window.
        cache_dir: where a large CSV file is kept as arrays in files, for the next training and where it does
            not fit into memory; None reads it into memory.
        max_rows, max_series: use only the first rows of each series, and the first series; None means all.
    """

    def __init__(
        self,
        file: DataFile | None = None,
        dataset: Dataset | None = None,
        time_column: str | None = None,
        columns: Names | None = None,
        targets: Names | None = None,
        lookback: Positive = 96,
        horizon: Positive = 24,
        season: Positive | None = None,
        train_fraction: Fraction = 0.7,
        validation_fraction: Fraction = 0.1,
        stride: Positive = 1,
        max_rows: Positive | None = None,
        test_file: DataFile | None = None,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        time_format: str | None = None,
        day_first: bool | None = None,
        separator: Literal["comma", "semicolon", "tab", "pipe"] = "comma",
        decimal: Literal["point", "comma"] = "point",
        thousands: Literal["comma", "point", "space", "apostrophe"] | None = None,
        series_column: Word | None = None,
        known: Names | None = None,
        categories: Names | None = None,
        known_categories: Names | None = None,
        static: Names | None = None,
        static_categories: Names | None = None,
        unknown_categories: UnknownCategories = "refuse",
        calendar: CalendarParts | None = None,
        calendar_form: Literal["waves", "scaled"] = "waves",
        missing: Missing = "refuse",
        irregular: Irregular = "tell",
        frequency: str | None = None,
        scaling: Scaling = "columns",
        short_series: ShortSeries = "refuse",
        split_rows: Annotated[Sequence[int], Several(3, "[8640, 2880, 2880]")] | None = None,
        split_dates: Annotated[Sequence[str], Several(2, "[2018-01-01, 2019-01-01]", of="times")]
        | None = None,
        test_steps: Positive | None = None,
        validation_steps: Positive | None = None,
        max_series: Positive | None = None,
        time_zone: str | None = None,
        left_out_steps: Count = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.file, self.dataset, self.test_file = file, dataset, test_file
        self.stride, self.max_rows, self.max_series = stride, max_rows, max_series
        self.left_out_steps = left_out_steps
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.frequency, self.short_series = frequency, short_series
        self.unknown_categories = unknown_categories
        self.roles = Roles(
            time_column or "",
            series_column,
            columns,
            categories or (),
            static or (),
            static_categories or (),
        )
        steps = None if test_steps is None else (validation_steps or test_steps, test_steps)
        self.split = Split((train_fraction, validation_fraction), split_rows, split_dates, steps)
        self.wanted = Wanted(
            targets,
            known or (),
            known_categories or (),
            feature_names(calendar or (), calendar_form),
            lookback,
            horizon,
            season,
            scaling,
            missing,
            irregular,
            series_column,
            CsvStyle(separator, decimal, thousands, time_format, day_first, time_zone),
        )
