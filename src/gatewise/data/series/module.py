"""Windows of time series as batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.module import SequenceDataModule
from gatewise.data.series.calendar import feature_names
from gatewise.data.series.datasets import DATASETS, Dataset
from gatewise.data.series.example import write_example
from gatewise.data.series.features import Laid, laid_out, said_of_unknown, unknown_categories
from gatewise.data.series.given import read_input, roles_of
from gatewise.data.series.learn import Wanted, learned
from gatewise.data.series.missing import Missing, padded, regular
from gatewise.data.series.panel import Panel, Roles
from gatewise.data.series.scaling import Scaling
from gatewise.data.series.split import Split, long_enough, rows_of_part, window_starts
from gatewise.data.series.style import CsvStyle, Reading
from gatewise.data.series.table import read_table
from gatewise.data.series.times import write_times
from gatewise.data.series.windows import Windows, WrittenTimes
from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, SeriesHistory
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

log = logging.getLogger(__name__)

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
        for name in [value] if isinstance(value, str) else (value or ()):  # type: ignore[attr-defined]
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


class SeriesWindows(SequenceDataModule):
    """Windows over time series, each of them split by time: training first, then validation, then test.

    A window's inputs may reach back into the part before; its targets never leave their own, and nothing
    leaves its series.

    Args:
        file: a CSV or Parquet file. Give either this or ``dataset``, one of ``DATASETS``.
        test_file: another such file, all of whose rows are the test part. The validation part is then
            every row after the training rows.
        time_column: the column of dates, or of increasing numbers such as years, in the files.
        time_format: how the times are written, as in ``%d/%m/%Y %H:%M``, ``%YQ%q``, ``number`` or
            ``epoch_s``; None means as they show themselves, where only one reading is possible.
        day_first: whether 01/02/2024 is in February; None means as the other rows tell.
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
        stride: rows between the starts of training windows. Validation and test use every window.
        max_rows, max_series: use only the first rows of each series, and the first series; None means all.
        cache_dir: where the scaled rows of a large file are kept, so that they need not fit into memory.
    """

    facts_type = SeriesFacts
    load_draws = False
    reading = "gatewise.data.series.given.read_input"
    facts: SeriesFacts | None
    train_data: Windows
    validation_data: Windows
    test_data: Windows

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
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.file, self.dataset, self.test_file = file, dataset, test_file
        self.stride, self.max_rows, self.max_series = stride, max_rows, max_series
        self.frequency, self.short_series = frequency, short_series
        self.unknown_categories = unknown_categories
        self._history: Callable[[], SeriesHistory] | None = None
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
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
            CsvStyle(separator, decimal, thousands, time_format, day_first),
        )

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file is not None:
            self.test_data = self._of_test_file()
            return
        panel, time_format = self._read()
        panel, steps = regular(panel, self.wanted.irregular, self.frequency)
        ends = self.split.ends(panel)
        lookback, horizon = self._sizes()
        kept = long_enough(panel, lookback, horizon, self.short_series)
        panel, ends = panel.only(kept), ends[:, kept]
        self._rows = self.split.in_words(panel, ends, time_format)
        start = 0
        if self.short_series == "pad":
            start = lookback - 1
            panel, ends = padded(panel, start), ends + start
        if self.facts is None:
            self.facts = learned(panel, ends, steps, time_format, self.wanted, self.short_series == "pad")
        facts = self.facts
        self._tell_unknown(panel, may_be_known=False)
        first = np.stack([np.zeros_like(ends[0]), *ends[:2]])
        parts = np.append((panel.starts[:-1] + first).T.ravel(), len(panel))
        laid = laid_out(panel, facts, parts, rows_of_part(panel, ends, 0))
        self._panel, test_file = panel, self.test_file
        before_test = 1 if test_file is None else 2
        self._history = partial(laid.history, panel, first[0] + start, ends, before_test)
        train, validation, test = ends if test_file is None else (ends[0], ends[2], ends[2])
        self.train_data = self._windows(panel, laid, "training", first[0] + start, train, self.stride)
        self.validation_data = self._windows(panel, laid, "validation", train, validation)
        if test_file is None:
            self.test_data = self._windows(panel, laid, "test", validation, test)
        else:
            self.test_data = self._of_test_file()

    def history(self) -> Iterable[SeriesHistory]:
        return () if self._history is None else (self._history(),)

    @classmethod
    def read_input(cls, given: Path | str, facts: SeriesFacts, **settings: Any) -> Input:
        return read_input(Path(given), facts, **settings)

    def describe(self) -> dict[str, str | int]:
        facts, panel = self.facts, self._panel
        assert facts is not None, "describe() before setup()"
        first, last = write_times(pd.Index([panel.times.min(), panel.times.max()]), facts.time_format)
        several: dict[str, str | int] = {}
        if facts.series_column is not None:
            lengths = panel.lengths - (facts.lookback - 1 if facts.padded else 0)
            several = {"series": f"{len(panel.names):,} of {lengths.min():,} to {lengths.max():,} rows"}
        return {
            **several,
            "rows": len(panel),
            "times": f"{first} to {last}",
            "step": facts.frequency or "irregular or a number",
            **self._rows,
            "training windows": len(self.train_data),
            "validation windows": len(self.validation_data),
            "test windows": len(self.test_data),
            "inputs": len(facts.features),
            "targets": len(facts.targets),
            "lookback": facts.lookback,
            "horizon": facts.horizon,
            "season": f"{facts.season} steps" if facts.season > 1 else "none",
        }

    def largest_batch(self) -> int:
        return min(self.batch_size, len(self.train_data)) * self.train_data.lookback

    def save_example(self, folder: Path) -> str:
        assert self.facts is not None
        return str(write_example(folder / "example.csv", self._panel, self.facts))

    def _sizes(self) -> tuple[int, int]:
        known = self.wanted if self.facts is None else self.facts
        return known.lookback, known.horizon

    def _windows(
        self,
        panel: Panel,
        laid: Laid,
        name: str,
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        stride: int = 1,
    ) -> Windows:
        """The windows whose targets are in rows ``start`` to ``end`` of each series."""
        facts = self.facts
        assert facts is not None
        starts = window_starts(panel, start, end, facts.lookback, facts.horizon, stride)
        if not len(starts):
            where = "no series has rows enough"
            if len(panel.names) == 1:
                where = f"rows {start[0]} to {end[0]} of {len(panel)} are too few"
            raise ValueError(
                f"{panel.source}: {where} for a {name} window of data.lookback={facts.lookback} + "
                f"data.horizon={facts.horizon} rows: make these smaller, the {name} part larger, or give "
                f"more rows"
            )
        times = None
        if name == "test":
            times = WrittenTimes.of(panel.times, facts.time_format, int(starts[0]))
        return laid.windows(facts, starts, times=times)

    def _of_test_file(self) -> Windows:
        assert self.test_file is not None
        facts = self.facts
        assert facts is not None
        path = self.find(self.test_file, "test_file")
        reading = self._reading(trained=True)
        panel, _ = read_table(path, roles_of(facts, self.roles.time), reading, facts.missing != "refuse")
        panel = replace(panel, source=self.test_file)
        panel, _ = regular(panel, facts.irregular, facts.frequency)
        panel = panel.only(long_enough(panel, facts.lookback, facts.horizon, self.short_series))
        self._tell_unknown(panel, may_be_known=True)
        every = np.ones(len(panel), dtype=bool)
        laid = laid_out(panel, facts, panel.starts, every)
        self._panel = panel
        return self._windows(panel, laid, "test", np.zeros_like(panel.lengths), panel.lengths)

    def _reading(self, trained: bool) -> Reading:
        """How a file is read: as the settings say, else with the times of the training."""
        style = self.wanted.style
        if not trained:
            return Reading(style, "train", style.time_format is not None)
        if style.time_format is not None or style.day_first is not None:
            return Reading(style, "evaluate", style.time_format is not None)
        assert self.facts is not None
        return Reading(style.with_times(self.facts.time_format), "evaluate")

    def _read(self) -> tuple[Panel, str | None]:
        """The series, with the columns of the facts or else of the settings, and their times' format."""
        facts, time_format = self.facts, None
        if self.dataset is not None:
            numbers = self.roles.numbers if facts is None else facts.columns
            panel = DATASETS[self.dataset]().with_columns(numbers)
        else:
            assert self.file is not None
            path, reading = self.find(self.file, "file"), self._reading(trained=facts is not None)
            roles = self.roles if facts is None else roles_of(facts, self.roles.time)
            panel, time_format = read_table(path, roles, reading, self.wanted.missing != "refuse")
            panel = replace(panel, source=self.file)
        if self.max_series is not None:
            panel = panel.only(np.arange(min(self.max_series, len(panel.names))))
        if self.max_rows is not None:
            if self.max_rows > panel.lengths.max():
                said = "the series has" if len(panel.names) == 1 else "the longest series has"
                log.warning("data.max_rows=%d: %s only %d rows", self.max_rows, said, panel.lengths.max())
            panel = panel.take(panel.ranks < self.max_rows)
        return panel, time_format

    def _tell_unknown(self, panel: Panel, may_be_known: bool) -> None:
        """Warn of categories that the training has not seen, or refuse them, as the settings say."""
        assert self.facts is not None
        found = unknown_categories(panel, self.facts)
        if not found:
            return
        said = f"{panel.source}: {said_of_unknown(found)}"
        if may_be_known and self.unknown_categories == "refuse":
            raise ValueError(f"{said}: correct it, or set data.unknown_categories=zero to go on without it")
        log.warning("%s, and is number 0", said)
