"""All that a page of runs shows, as plain values for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gatewise import __version__
from gatewise.runs.collection import Found, Place
from gatewise.runs.reading import is_there, read_bytes
from gatewise.runs.record import Record, read_report
from gatewise.settings import one_line
from gatewise.views.compare.columns import ABSENT, Column, differing, shared
from gatewise.views.compare.curves import pack
from gatewise.views.compare.pictures import pictures

LONGEST_CODE, ALL_CODE = 60_000, 1_000_000
"""Characters of one diff and of all together that a page holds."""
LONGEST_REPORT, ALL_REPORTS = 60_000, 1_500_000
"""Characters of one test report and of all together."""


def payload(runs: Sequence[tuple[Place, Record]], found: Found, title: str) -> dict[str, Any]:
    """What the page's script reads; its parts are named as the page shows them."""
    records = [record for _, record in runs]
    columns = differing(records)
    curves = pack(records)
    codes, code_of_run = _codes(records)
    return {
        "title": title,
        "version": __version__,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "runs": [_run(place, record) for place, record in runs],
        "columns": [_column(column) for column in columns],
        "shared": shared(records),
        "problems": found.problems,
        "metrics": curves.metrics,
        "sources": [[source.run, source.points, source.metrics] for source in curves.sources],
        "sampled": curves.sampled,
        "curves": curves.data,
        "codes": codes,
        "codeOfRun": code_of_run,
        "reports": _reports(records),
        "pictures": pictures(records),
    }


def _run(place: Place, record: Record) -> dict[str, Any]:
    best = dict(record.best)
    epoch = best.pop("epoch", None)
    final = {name: value for name, value in record.final.items() if name not in ("epoch", "step")}
    best.pop("step", None)
    values = {
        "id": record.id,
        "name": record.name,
        "folder": str(record.folder),
        "sweep": place.sweep,
        "trial": place.trial,
        "state": record.state,
        "reason": record.reason,
        "problems": record.problems,
        "task": record.task,
        "monitor": record.monitor,
        "mode": record.mode,
        "best": _rounded(best),
        "bestEpoch": epoch,
        "final": _rounded(final),
        "epochs": record.final.get("epoch"),
        "test": _rounded(record.test),
        "baselines": {name: _rounded(metrics) for name, metrics in record.baselines.items()},
        "seconds": record.seconds,
        "parameters": record.parameters,
        "processes": record.processes,
        "engine": record.engine,
        "commit": record.commit,
        "changed": record.changed,
        "checkpoint": None if any(record.folder.glob("checkpoints/*.ckpt")) else "none",
    }
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _column(column: Column) -> dict[str, Any]:
    """A column's different values, and the place of each run's value among them; -1 where it has none."""
    distinct: dict[str, int] = {}
    values: list[Any] = []
    places = []
    for value in column.values:
        if value is ABSENT:
            places.append(-1)
            continue
        text = json.dumps(value, default=str)
        if text not in distinct:
            distinct[text] = len(values)
            values.append(json.loads(text))
        places.append(distinct[text])
    return {
        "key": column.key,
        "number": column.is_number,
        "hidden": column.says_nothing_new,
        "values": values,
        "places": places,
    }


def _codes(records: Sequence[Record]) -> tuple[list[str], list[int]]:
    """The different ``code.diff`` of all runs, and the place of each run's; -1 where it has none."""
    texts: dict[str, int] = {}
    places, used = [], 0
    for record in records:
        text = _code(record.folder)
        if text is None:
            places.append(-1)
            continue
        if text not in texts:
            if used + len(text) > ALL_CODE:
                text = "This page has no room for more code: see code.diff in the run's directory."
            if text not in texts:
                used += len(text)
                texts[text] = len(texts)
        places.append(texts[text])
    return list(texts), places


def _code(folder: Path) -> str | None:
    path = folder / "code.diff"
    if not is_there(path):
        return None
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return one_line(str(error))
    if len(text) > LONGEST_CODE:
        return text[:LONGEST_CODE] + "\n... the rest is in code.diff of the run's directory\n"
    return text


def _reports(records: Sequence[Record]) -> list[Any]:
    """What the test of each run shows, while the page has room for it; null where not."""
    reports, used = [], 0
    for record in records:
        try:
            report: Any = read_report(record.folder) or None
        except (OSError, ValueError) as error:
            report = {"problem": one_line(str(error))}
        size = len(json.dumps(report, default=str))
        if size > LONGEST_REPORT or used + size > ALL_REPORTS:
            report = {"problem": "This page has no room for it: see plots/ in the run's directory."}
        used += len(json.dumps(report, default=str))
        reports.append(report)
    return reports


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Results to the digits that float32 has: they take less room."""
    return {name: float(f"{value:.8g}") for name, value in values.items()}
