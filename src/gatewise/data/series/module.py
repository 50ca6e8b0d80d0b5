"""Windows of a time series as batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.data.series.csv import read_csv
from gatewise.data.series.steps import future_times, infer_frequency, is_regular, season_of
from gatewise.data.series.style import CHARACTERS, CsvStyle, Reading
from gatewise.data.series.sunspots import sunspots_monthly
from gatewise.data.series.times import write_times
from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.settings import (
    Count,
    DataFile,
    Folders,
    Fraction,
    Names,
    Positive,
    did_you_mean,
    rule,
    split_fractions,
)

log = logging.getLogger(__name__)

Dataset = Literal["sunspots_monthly"]
DATASETS: dict[str, Callable[[], pd.DataFrame]] = {"sunspots_monthly": sunspots_monthly}


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
    """Windows over a time series that is split by time: training first, then validation, then test.

    A window's inputs may reach back into the split before; its targets never leave their own split.

    Args:
        file: a CSV file. Give either this or ``dataset``, one of ``DATASETS``.
        test_file: another CSV file, all of whose rows are the test split. The validation split is then
            every row after the training rows.
        time_column: the column of dates, or of increasing numbers such as years, in the CSV files.
        time_format: how the times are written, as in ``%d/%m/%Y %H:%M``, ``%YQ%q``, ``number`` or
            ``epoch_s``; None means as they show themselves, where only one reading is possible.
        day_first: whether 01/02/2024 is in February; None means as the other rows tell.
        separator, decimal, thousands: what separates cells, and marks decimals and thousands in numbers.
        columns: input columns; None means every column, all of which must be numeric.
        targets: columns to forecast, some of ``columns``; None means all of them.
        lookback, horizon: number of rows seen and to forecast.
        season: rows in one season, for the seasonal-naive baseline; with 1, there is none. None means that of
            the time step: 24 hours, 7 days, 12 months, where the lookback is as long.
        train_fraction, validation_fraction: shares of all rows; the rest is the test split.
        stride: rows between the starts of training windows. Validation and test use every window.
        max_rows: use only the first rows of the series; None means all.
    """

    facts_type = SeriesFacts
    load_draws = False
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
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.style = CsvStyle(separator, decimal, thousands, time_format, day_first)
        self.file, self.dataset, self.test_file = file, dataset, test_file
        self.time_column = time_column
        self.columns, self.targets = columns, targets
        self.lookback, self.horizon, self.season = lookback, horizon, season
        self.stride, self.max_rows = stride, max_rows
        self._history: SeriesHistory | None = None
        self.train_fraction, self.validation_fraction = train_fraction, validation_fraction

    def load(self, test_only: bool) -> None:
        test_frame = None
        if test_only and self.test_file is not None:
            test_frame = self._read_test_file()
            self.test_data = self._windows(self.test_file, test_frame, "test", 0, len(test_frame), 1)
            return
        frame, time_format = self._read()
        train_end = round(len(frame) * self.train_fraction)
        validation_end = round(len(frame) * (self.train_fraction + self.validation_fraction))
        if self.facts is None:
            self.facts = self._facts(frame, time_format, train_end)
        source, test_source = str(self.file or self.dataset), self.test_file
        if test_source is not None:
            test_frame, validation_end = self._read_test_file(), len(frame)
        self.train_data = self._windows(source, frame, "training", 0, train_end, self.stride)
        self.validation_data = self._windows(source, frame, "validation", train_end, validation_end, 1)
        if test_source is None or test_frame is None:
            self.test_data = self._windows(source, frame, "test", validation_end, len(frame), 1)
        else:
            self.test_data = self._windows(test_source, test_frame, "test", 0, len(test_frame), 1)
        targets = self.train_data.values[:validation_end, self.train_data.target_columns].numpy()
        self._history = SeriesHistory(targets, *np.array([[0], [train_end], [validation_end]]))
        first, last = write_times(frame.index[[0, -1]], self.facts.time_format)
        # Three rows, where the lookback is shorter: no fewer tell a time step.
        self._recent = (frame if test_frame is None else test_frame).iloc[-max(self.facts.lookback, 3) :]
        self._span = f"{first} to {last}"

    def history(self) -> Iterable[SeriesHistory]:
        return () if self._history is None else (self._history,)

    @classmethod
    def read_input(cls, given: Path | str, facts: SeriesFacts) -> Input:
        """Read the last ``lookback`` rows of a CSV file, and find the ``horizon`` times that follow them.

        The batch has inputs [1, lookback, C], scaled as in training, and targets [1, horizon, C_targets] of
        NaN. Raises ValueError if the file has too few rows or :func:`read_csv` rejects it.
        """
        path = Path(given)
        style = CsvStyle(facts.separator, facts.decimal, facts.thousands, facts.time_format)
        frame, time_format = read_csv(path, facts.time_column, facts.columns, Reading(style, "predict"))
        if len(frame) < facts.lookback:
            raise ValueError(
                f"{path}: {len(frame)} rows, but the model needs {facts.lookback} (its lookback): give more"
            )
        inputs = _scaled(frame.iloc[-facts.lookback :], facts, str(path))
        targets = torch.full((1, facts.horizon, len(facts.targets)), torch.nan)
        # A frequency takes at least three rows to infer; a gap in older rows does not matter here.
        recent = frame.index[-max(facts.lookback, 3) :]
        times = future_times(recent, facts.horizon, facts.frequency)
        return Input(
            WindowBatch(inputs[None], targets),
            path.name,
            {facts.time_column: write_times(times, time_format)},
            write_times(frame.index[-facts.lookback :], time_format),
        )

    def describe(self) -> dict[str, str | int]:
        facts = self.facts
        assert facts is not None, "describe() before setup()"
        return {
            "rows": len(self.train_data.values),
            "times": self._span,
            "step": facts.frequency or "irregular or a number",
            "training windows": len(self.train_data),
            "validation windows": len(self.validation_data),
            "test windows": len(self.test_data),
            "inputs": len(facts.columns),
            "targets": len(facts.targets),
            "lookback": facts.lookback,
            "horizon": facts.horizon,
            "season": f"{facts.season} steps" if facts.season > 1 else "none",
        }

    def largest_batch(self) -> int:
        return min(self.batch_size, len(self.train_data)) * self.train_data.lookback

    def save_example(self, folder: Path) -> str:
        path = folder / "example.csv"
        facts = self.facts
        assert facts is not None
        table = self._recent.map(lambda value: repr(float(value)).replace(".", CHARACTERS[facts.decimal]))
        table.index = pd.Index(write_times(self._recent.index, facts.time_format), name=facts.time_column)
        table.to_csv(path, sep=CHARACTERS[facts.separator], lineterminator="\n")
        return str(path)

    def _windows(
        self, source: str, frame: pd.DataFrame, name: str, start: int, end: int, stride: int
    ) -> Windows:
        """The windows whose targets are in rows ``start`` to ``end``."""
        facts = self.facts
        assert facts is not None
        first = max(start, facts.lookback)
        if end - first < facts.horizon:
            raise ValueError(
                f"{source}: rows {start} to {end} of {len(frame)} are too few for a "
                f"{name} window of data.lookback={facts.lookback} + data.horizon={facts.horizon} "
                f"rows: make these smaller, the {name} fraction larger, or give more rows"
            )
        starts = torch.arange(first, end - facts.horizon + 1, min(stride, len(frame))) - facts.lookback
        target_columns = [facts.columns.index(target) for target in facts.targets]
        times = None
        if name == "test":
            unused = int(starts[0])  # writing a time takes longer than reading it
            times = np.array([""] * unused + write_times(frame.index[unused:], facts.time_format))
        return Windows(
            _scaled(frame, facts, source), starts, target_columns, facts.lookback, facts.horizon, times
        )

    def _reading(self) -> Reading:
        """How a file is read: as the settings say, else with the times of the training."""
        if self.facts is None:
            return Reading(self.style, "train", self.style.time_format is not None)
        if self.style.time_format is not None or self.style.day_first is not None:
            return Reading(self.style, "evaluate", self.style.time_format is not None)
        return Reading(self.style.with_times(self.facts.time_format), "evaluate")

    def _read_test_file(self) -> pd.DataFrame:
        assert self.test_file is not None
        assert self.facts is not None
        path = self.find(self.test_file, "test_file")
        frame, _ = read_csv(
            path, self.time_column or self.facts.time_column, self.facts.columns, self._reading()
        )
        return frame

    def _read(self) -> tuple[pd.DataFrame, str | None]:
        """The series, with the columns of the facts or else of the settings, and its times' format."""
        columns = self.facts.columns if self.facts is not None else self.columns
        time_format = None
        if self.dataset is not None:
            frame: pd.DataFrame = DATASETS[self.dataset]()
            for column in columns or ():
                if column not in frame.columns:
                    raise ValueError(
                        f"data.columns: {self.dataset} has no column {column!r}"
                        f"{did_you_mean(column, frame.columns)}; it has: {', '.join(frame.columns)}"
                    )
            frame = frame if columns is None else frame[list(columns)]
        else:
            assert self.file is not None
            assert self.time_column is not None
            frame, time_format = read_csv(
                self.find(self.file, "file"), self.time_column, columns, self._reading()
            )
        if self.max_rows is not None and self.max_rows > len(frame):
            log.warning("data.max_rows=%d: the series has only %d rows", self.max_rows, len(frame))
        return frame.iloc[: self.max_rows], time_format

    def _facts(self, frame: pd.DataFrame, time_format: str | None, train_end: int) -> SeriesFacts:
        columns = tuple(str(column) for column in frame.columns)
        targets = tuple(self.targets or columns)
        for target in targets:
            if target not in columns:
                raise ValueError(
                    f"data.targets: {target!r} is not an input column{did_you_mean(target, columns)}: "
                    f"add it to data.columns or choose from {', '.join(columns)}"
                )
        if not is_regular(frame.index):
            log.warning(
                "%s: the time steps are irregular; windows count rows, not time", self.file or self.dataset
            )
        train = frame.to_numpy()[:train_end]
        if not len(train):
            raise ValueError(f"{self.file or self.dataset}: {len(frame)} row(s) are too few to train on")
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = train.mean(axis=0), train.std(axis=0)
        for column, finite in zip(columns, np.isfinite(mean) & np.isfinite(std), strict=True):
            if not finite:
                raise ValueError(
                    f"{self.file or self.dataset}: column {column!r} holds numbers too large to scale: "
                    f"correct them, or leave the column out with data.columns"
                )
        # Rounding can give a constant column a tiny std, which would blow it up.
        std[(train == train[0]).all(axis=0) | (std == 0)] = 1.0
        frequency = infer_frequency(frame.index)
        return SeriesFacts(
            time_column=str(frame.index.name),
            columns=columns,
            targets=targets,
            frequency=frequency,
            lookback=self.lookback,
            horizon=self.horizon,
            season=self.season or season_of(frequency, self.lookback),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            time_format=time_format,
            separator=self.style.separator,
            decimal=self.style.decimal,
            thousands=self.style.thousands,
        )


class Windows(BatchDataset):
    """Windows over one scaled table, cut out only when a batch needs them.

    Args:
        values: [rows, C] float, the rows of all splits.
        starts: [N] int64, the first input row of each window.
        target_columns: indices of the target columns.
        times: [rows] text, the times of the rows; None leaves them out of the batches.
    """

    def __init__(
        self,
        values: Tensor,
        starts: Tensor,
        target_columns: list[int],
        lookback: int,
        horizon: int,
        times: NDArray[np.str_] | None = None,
    ) -> None:
        self.times = times
        self.values, self.starts, self.lookback = values, starts, lookback
        self.target_columns = torch.tensor(target_columns)
        # A view of every window [rows - L - horizon + 1, L + horizon, C], not a copy.
        self.windows = values.unfold(0, lookback + horizon, 1).transpose(1, 2)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: list[int]) -> WindowBatch:
        window = self.windows[self.starts[indices]]
        future = window[:, self.lookback :].index_select(-1, self.target_columns)
        times = None
        if self.times is not None:
            rows = self.starts[indices, None].numpy() + np.arange(self.windows.shape[1])
            times = self.times[rows]
        return WindowBatch(window[:, : self.lookback], future, times)


def _scaled(frame: pd.DataFrame, facts: SeriesFacts, source: str) -> Tensor:
    """The facts' columns scaled to (x - mean) / std, [rows, C] float32; ValueError if one is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = (frame[list(facts.columns)].to_numpy() - np.array(facts.mean)) / np.array(facts.std)
        scaled = values.astype(np.float32)
    bad = np.argwhere(~np.isfinite(scaled))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{source}: column {facts.columns[column]!r} at {frame.index[row]}: the number is too large "
            f"compared with the training data: correct it"
        )
    return torch.from_numpy(scaled)
