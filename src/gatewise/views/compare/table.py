"""The table of a comparison: every run a row, for ``compare.csv`` and for the screen."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from gatewise.runs.collection import Place
from gatewise.runs.record import BROKEN, Record
from gatewise.settings import one_line
from gatewise.views.compare.columns import ABSENT, Column
from gatewise.views.plain import cell, plain_console

MOST_ROWS, MOST_SETTINGS = 40, 8
"""Rows and settings that the screen shows; the file and the page have all."""
NARROWEST = 11
"""Characters of a column on the screen that words are cut to, with what stands between columns."""
FAILURES = ("failed", BROKEN)

Runs = Sequence[tuple[Place, Record]]


def table_rows(runs: Runs, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """A row for every run, by column; what a run does not have is left out.

    ``best`` and ``final`` are of the monitored metric, ``baseline.NAME.METRIC`` and ``test.METRIC`` of the
    test.
    """
    rows = []
    for index, (place, record) in enumerate(runs):
        monitor = record.monitor or ""
        settings = {column.key: column.values[index] for column in columns}
        row: dict[str, Any] = {
            "state": record.state,
            "run": f"{record.name}/{record.id}",
            "sweep": place.sweep,
            "trial": place.trial,
            **{key: value for key, value in settings.items() if value is not ABSENT},
            "task": record.task,
            "monitor": record.monitor,
            "best": record.best.get(monitor),
            "best_epoch": record.best.get("epoch"),
            "final": record.final.get(monitor),
            "epochs": record.final.get("epoch"),
            **{f"test.{name}": value for name, value in record.test.items()},
            **{
                f"baseline.{name}.{metric}": value
                for name, metrics in record.baselines.items()
                for metric, value in metrics.items()
            },
            "seconds": record.seconds,
            "parameters": record.parameters,
            "engine": record.engine,
            "processes": record.processes,
            "commit": record.commit,
            "changed": record.changed,
            "reason": record.reason or "; ".join(record.problems) or None,
            "folder": str(record.folder),
        }
        kept = {key: value for key, value in row.items() if value is not None or key in settings}
        rows.append(kept)
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """The rows as CSV; null is written ``null``, and of what is not there nothing."""
    settings = [column.key for column in columns]
    first = ["state", "run", "sweep", "trial", *settings]
    last = ["seconds", "parameters", "engine", "processes", "commit", "changed", "reason", "folder"]
    found = dict.fromkeys(key for row in rows for key in row)
    names = [name for name in first if name in found]
    names += [name for name in found if name not in first and name not in last]
    names += [name for name in last if name in found]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_for_csv, names))
    writer.writerows([_for_csv(row[name]) if name in row else "" for name in names] for row in rows)
    return text.getvalue()


def _for_csv(value: Any) -> str:
    if isinstance(value, str):
        # What a spreadsheet would take for a formula is text.
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, default=str, ensure_ascii=False)


def print_runs(runs: Runs, columns: Sequence[Column]) -> None:
    """Print the runs, the best of each task and monitored metric first, with as much as there is room for.

    Where there is little, settings come before the test and the seconds, then before the epoch and a status
    that all runs share; ids are cut to their last part, and then words of settings.
    """
    kinds = list(dict.fromkeys(_kind(record) for _, record in runs))
    monitors = [monitor for _, monitor, _ in kinds]
    rows = table_rows(runs, columns)
    order = sorted(range(len(runs)), key=lambda index: _rank(runs[index][1], kinds))[:MOST_ROWS]

    def numbers(title: str, name: str) -> _Shown:
        return _Shown(title, [_number(rows[i].get(name)) for i in order], is_number=True)

    def words(title: str, values: Sequence[str]) -> _Shown:
        return _Shown(title, [values[i] for i in order])

    several = len(kinds) > 1
    first = words("status", [record.state for _, record in runs])
    ids = words("run", [record.id for _, record in runs])
    short_ids = _Shown("run", [f"…{name.rpartition('_')[2]}" if "_" in name else name for name in ids.values])
    results = [
        numbers("best value" if several else f"best {monitors[0]}", "best"),
        numbers("epoch", "best_epoch"),
    ]
    if several:
        results.insert(1, words("of", [_of(record, monitors) for _, record in runs]))
    settings = [
        _Shown(column.key.rpartition(".")[2], [_shown(column.values[i]) for i in order], column.is_number)
        for column in [column for column in columns if not column.says_nothing_new][:MOST_SETTINGS]
    ]
    last = [numbers(name.replace(".", " ", 1), name) for name in (*_usual_test(runs), "seconds")]
    console = plain_console()
    least = [first, short_ids, *results]
    alike = len(set(first.values)) == 1 and first.values[0] not in FAILURES
    for spare in (results[-1], *([first] if alike else [])):
        if _width((*least, *settings)) >= console.width:
            least.remove(spare)
    settings = _narrowed(settings, console.width - 1 - _width(least))
    room = console.width - 1 - _width((*least, *settings))
    there: list[_Shown] = []
    for column in last:
        if column.width <= room:
            there.append(column)
            room -= column.width
    if len(set(short_ids.values)) < len(set(ids.values)) or ids.width - short_ids.width <= room:
        short_ids = ids
    shown_columns = [
        *([first] if first in least else []),
        short_ids,
        *settings,
        *(column for column in results if column in least),
        *there,
    ]
    table = Table(title=f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}", title_justify="left")
    for shown in shown_columns:
        table.add_column(cell(shown.title), justify="right" if shown.is_number else "left")
    for place, index in enumerate(order):
        style = "red" if runs[index][1].state in FAILURES else ""
        table.add_row(*(cell(shown.values[place], style) for shown in shown_columns))
    console.print(table)
    console = plain_console(soft_wrap=True)
    if len(runs) > MOST_ROWS:
        console.print(f"… and {len(runs) - MOST_ROWS} more in the page and the CSV file")
    for _, record in runs:
        if record.state in FAILURES and record.reason:
            console.print(cell(f"{record.state}: {record.id}: {record.reason}"))


class _Shown(NamedTuple):
    """A column on the screen."""

    title: str
    values: list[str]
    is_number: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes, with what stands between columns."""
        return max(map(len, (self.title, *self.values))) + 3

    def cut(self, width: int) -> _Shown:
        """The same with no more than this width."""
        title, *values = (_cut(text, width - 3) for text in (self.title, *self.values))
        return _Shown(title, values, self.is_number)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _width(columns: Sequence[_Shown]) -> int:
    return sum(column.width for column in columns)


def _narrowed(columns: Sequence[_Shown], room: int) -> list[_Shown]:
    """As many of the first columns as there is room for, the widest ones of words cut as far as need be."""
    kept = list(columns)
    while kept and _width(kept) > room:
        words = [place for place, column in enumerate(kept) if not column.is_number]
        widest = max(words, key=lambda place: kept[place].width, default=None)
        if widest is None or kept[widest].width <= NARROWEST:
            kept.pop()
        else:
            kept[widest] = kept[widest].cut(kept[widest].width - 1)
    return kept


def _usual_test(runs: Runs) -> list[str]:
    """The test metric that most runs have, not the loss if there is another; none without a test."""
    counts: dict[str, int] = {}
    for _, record in runs:
        for name in record.test:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (name == "loss", -counts[name]))
    return [f"test.{name}" for name in names[:1]]


_Kind = tuple[str | None, str | None, str]


def _kind(record: Record) -> _Kind:
    """What makes the best values of two runs comparable: task, monitored metric, and which way is better."""
    return record.task, record.monitor, record.mode


def _of(record: Record, monitors: Sequence[str | None]) -> str:
    """The monitored metric, with the task where another one monitors a metric of that name."""
    name = record.monitor or ""
    return f"{name} of {record.task}" if monitors.count(record.monitor) > 1 and record.task else name


def _rank(record: Record, kinds: Sequence[_Kind]) -> tuple[int, bool, float]:
    value = record.best.get(record.monitor or "", math.nan)
    sign = -1 if record.mode == "max" else 1
    return kinds.index(_kind(record)), math.isnan(value), 0.0 if math.isnan(value) else sign * value


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.5g}"


def _shown(value: Any) -> str:
    if value is ABSENT:
        return ""
    if isinstance(value, str):
        return value
    return one_line(json.dumps(value, default=str))
