"""What one run came to, read from its directory without torch, Lightning and OmegaConf.

A page over hundreds of runs reads them this way. A file that is damaged does not hide the others: it is a
problem of the record, which says so.
"""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gatewise.runs.files import read_json, read_json_object
from gatewise.runs.metrics import read_metrics, read_times, read_validations
from gatewise.runs.reading import LARGEST_SETTINGS, is_there, read_text
from gatewise.runs.run import Run
from gatewise.runs.settings_file import read_settings
from gatewise.runs.summary import best_row
from gatewise.settings import one_line

T = TypeVar("T")

BROKEN = "broken"
"""State of a directory whose status or config cannot be read."""
NOT_METRICS = ("epoch", "epochs", "step")


@dataclass
class Table:
    """A CSV file of numbers by column; NaN where a cell is empty."""

    columns: dict[str, array[float]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), ()))

    @property
    def metrics(self) -> list[str]:
        """Names of the columns that were measured."""
        return [name for name in self.columns if name not in NOT_METRICS]


@dataclass
class Record:
    """One run."""

    folder: Path
    name: str
    """Experiment."""
    state: str
    """One of :data:`gatewise.runs.run.STATES`, or ``broken``."""
    reason: str | None = None
    """Why it is in that state, in one line."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, a line each."""
    settings: dict[str, Any] = field(default_factory=dict)
    """By dotted key."""
    choices: dict[str, Any] = field(default_factory=dict)
    """The choice in each config group."""
    monitor: str | None = None
    mode: str = "min"
    best: dict[str, float] = field(default_factory=dict)
    """The row of the best epoch."""
    final: dict[str, float] = field(default_factory=dict)
    """The row of the last epoch."""
    test: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    """Test metrics by baseline and name."""
    seconds: float | None = None
    """Of training."""
    parameters: int | None = None
    processes: int | None = None
    engine: str | None = None
    commit: str | None = None
    changed: str | None = None
    """When its state was recorded, ISO 8601."""
    epochs: Table = field(default_factory=Table)
    """``metrics.csv``."""
    validations: Table = field(default_factory=Table)
    """``validations.csv``, where an epoch has several."""
    times: Table = field(default_factory=Table)
    """``times.csv``, where there is one."""

    @property
    def id(self) -> str:
        """A name that no other run has."""
        return self.folder.name

    @property
    def task(self) -> str | None:
        """The name of its task's class; results of different tasks are not to be ranked together."""
        target = _text(self.settings.get("task._target_"))
        return None if target is None else target.rpartition(".")[2]


def read_record(folder: Path) -> Record:
    """A run directory; whatever cannot be read of it is named in ``problems``."""
    run = Run(folder)
    problems: list[str] = []

    def attempt(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (ValueError, OSError) as error:
            problems.append(one_line(str(error)))
            return otherwise

    nothing: dict[str, Any] = {}
    status = attempt(lambda: read_json_object(folder / "status.json", LARGEST_SETTINGS), nothing)
    state = attempt(run.state, BROKEN)
    settings = attempt(lambda: read_settings(folder / "config.yaml"), nothing)
    if not settings:
        state = BROKEN
    reason = _text(status.get("reason"))
    if state == BROKEN:
        reason = problems[0] if problems else "its config.yaml is empty"
    choices = attempt(lambda: _choices(folder / "overrides.yaml"), nothing)
    summary = attempt(run.summary, nothing)
    epochs = attempt(lambda: read_columns(run.metrics_file), Table())
    validations = attempt(lambda: _validations(run.validations_file), Table())
    monitor, mode = _monitored(summary, settings)
    best, final = _numbers(summary.get("best")), _numbers(summary.get("final"))
    if monitor is not None and not best:
        best = _best(epochs, monitor, mode)
    if not final and epochs.rows:
        final = _row(epochs, epochs.rows - 1)
    record = Record(
        folder,
        str(settings.get("name") or summary.get("name") or folder.parent.name),
        state,
        None if reason is None else one_line(reason),
        settings=settings,
        choices=choices,
        monitor=monitor,
        mode=mode,
        best=best,
        final=final,
        test=_numbers(summary.get("test")),
        baselines={
            str(name): _numbers(values) for name, values in _mapping(summary.get("baselines")).items()
        },
        seconds=_number(summary.get("training_seconds")),
        parameters=_whole(summary.get("parameters")),
        processes=_whole(summary.get("processes")),
        engine=_text(summary.get("engine")) or _text(settings.get("model.engine")),
        commit=attempt(run.commit, None),
        changed=_text(status.get("changed")),
        epochs=epochs,
        validations=validations,
        times=attempt(lambda: _table(read_times(run.times_file)), Table()),
    )
    # A process that has just been killed may be writing: what the state says is looked up once.
    record.problems = list(dict.fromkeys(problems))
    return record


def read_report(folder: Path) -> dict[str, Any]:
    """``test_report.json``, what a finished run shows of its test; empty where there is none.

    Raises ValueError naming the file if it is damaged.
    """
    path = folder / "test_report.json"
    if not is_there(path):
        return {}
    values = read_json(path)
    return values if isinstance(values, dict) else {}


def read_columns(path: Path) -> Table:
    """A ``metrics.csv`` by column, many times as fast as by row; no file means no columns.

    Raises ValueError with file and line if it is damaged.
    """
    if not is_there(path):
        return Table()
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline="")))
        names = rows.pop(0) if rows else []
        cells = [[cell or "nan" for cell in column] for column in zip(*rows, strict=True)]
        if "epoch" not in names or len(names) != len(set(names)) or (rows and len(cells) != len(names)):
            raise ValueError
        columns = [array("d", map(float, column)) for column in cells] or [array("d") for _ in names]
    except (ValueError, csv.Error):
        # Reading it by row says what is wrong, and where.
        return _table(read_metrics(path))
    table = Table(dict(zip(names, columns, strict=True)))
    epochs = table.columns["epoch"]
    if any(math.isnan(epoch) for epoch in epochs):
        return _table(read_metrics(path))
    if epochs and epochs[0] == 0:  # an earlier version counted from 0
        table.columns["epoch"] = array("d", (epoch + 1 for epoch in epochs))
    return table


def _validations(path: Path) -> Table:
    return _table(read_validations(path))


def _table(rows: list[dict[str, float]]) -> Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: array("d", (row.get(name, math.nan) for row in rows)) for name in names})


def _row(table: Table, index: int) -> dict[str, float]:
    values = {name: column[index] for name, column in table.columns.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _best(table: Table, monitor: str, mode: str) -> dict[str, float]:
    column = table.columns.get(monitor)
    if column is None:
        return {}
    rows: list[dict[str, float]] = [{monitor: value, "row": index} for index, value in enumerate(column)]
    row = best_row(rows, monitor, mode)
    return _row(table, int(row["row"])) if row else {}


def _choices(path: Path) -> dict[str, Any]:
    choices = read_settings(path)
    return {
        key.removeprefix("choices."): value
        for key, value in choices.items()
        if key.startswith("choices.") and value is not None
    }


def _monitored(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str | None, str]:
    monitor = _text(summary.get("monitor")) or _text(settings.get("task.monitor"))
    mode = _text(summary.get("mode")) or _text(settings.get("task.mode"))
    return monitor, "max" if mode == "max" else "min"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    found = {str(name): _number(number) for name, number in _mapping(value).items()}
    return {name: number for name, number in found.items() if number is not None}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
