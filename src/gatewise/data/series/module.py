"""Windows of time series as batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.datasets import DATASETS
from gatewise.data.series.example import write_example
from gatewise.data.series.features import Laid, laid_out, unknown_categories
from gatewise.data.series.given import ORIGIN, read_input, roles_of
from gatewise.data.series.learn import learned
from gatewise.data.series.missing import padded, regular
from gatewise.data.series.panel import Panel
from gatewise.data.series.settings import SeriesSettings
from gatewise.data.series.split import long_enough, rows_of_part, window_starts
from gatewise.data.series.stored import stored_table
from gatewise.data.series.style import Reading
from gatewise.data.series.table import read_table
from gatewise.data.series.times import write_times
from gatewise.data.series.windows import Windows, WrittenTimes
from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, SeriesHistory

log = logging.getLogger(__name__)


class SeriesWindows(SeriesSettings):
    """Windows over time series, each of them split by time: training first, then validation, then test.

    A window's inputs may reach back into the part before; its targets never leave their own, and nothing
    leaves its series.

    Its settings are described in :class:`gatewise.data.series.settings.SeriesSettings`.
    """

    facts_type = SeriesFacts
    load_draws = False
    input_reader = "gatewise.data.series.given.read_input"
    facts: SeriesFacts | None
    train_data: Windows
    validation_data: Windows
    test_data: Windows
    ends: Mapping[str, Sequence[int]]
    """Of each series by its name, the rows after its training, its validation and its test part."""
    _history: Callable[[], SeriesHistory] | None = None

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file is not None:
            self.test_data = self._of_test_file()
            return
        panel, time_format = self._read()
        panel, steps = regular(panel, self.wanted.irregular, self.frequency)
        panel = panel.take(panel.ranks < np.repeat(panel.lengths - self.left_out_steps, panel.lengths))
        ends = self.split.ends(panel)
        lookback, horizon = self._sizes()
        kept = long_enough(panel, lookback, horizon, self.short_series)
        panel, ends = panel.only(kept), ends[:, kept]
        self._rows = self.split.in_words(panel, ends, time_format)
        self.ends = dict(zip(panel.names, ends.T.tolist(), strict=True))
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
        laid = laid_out(panel, facts, parts, rows_of_part(panel, ends, 0), self.cache_dir)
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

    def test_input(self) -> Input:
        """All windows of the test part as an input to forecast from, of which the truth is known."""
        facts, panel = self.facts, self._panel
        assert facts is not None
        batch = self.test_data[list(range(len(self.test_data)))]
        assert batch.times is not None
        columns: dict[str, list[str]] = {}
        if facts.series_column is not None:
            first = self.test_data.starts.numpy() + facts.lookback
            owners = np.searchsorted(panel.starts, first, side="right") - 1
            columns[facts.series_column] = [panel.names[n] for n in np.repeat(owners, facts.horizon)]
        columns[ORIGIN] = np.repeat(batch.times[:, facts.lookback - 1], facts.horizon).tolist()
        columns[facts.time_column] = batch.times[:, facts.lookback :].ravel().tolist()
        return Input(batch, panel.source, columns)

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
            panel = DATASETS[self.dataset](self.folders).with_columns(numbers)
        else:
            assert self.file is not None
            path, reading = self.find(self.file, "file"), self._reading(trained=facts is not None)
            roles = self.roles if facts is None else roles_of(facts, self.roles.time)
            may_miss = self.wanted.missing != "refuse"
            stored = stored_table(path, roles, reading, may_miss, self.cache_dir)
            panel, time_format = stored or read_table(path, roles, reading, may_miss)
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
        if may_be_known and self.unknown_categories == "refuse":
            raise ValueError(f"{found}: correct it, or set data.unknown_categories=zero to go on without it")
        log.warning("%s, and is number 0", found)
