"""Curves of many runs as few bytes: sampled so that no spike disappears, packed for the page to unpack."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gatewise.runs.metrics import INSPECT
from gatewise.runs.record import Record, Table

MOST_POINTS, FEWEST_POINTS = 20_000, 100
VALUES, MOST_VALUES = 1_000_000, 6_000_000
"""Values that a page has room for, and those that it may have where runs are many."""
USUAL_POINTS = 500
STEP, EPOCH = "step", ("epoch", "epochs")
_THOUSAND = 1000

Floats = NDArray[np.float64]


class Source(NamedTuple):
    """Curves of one run that have their points in common."""

    run: int
    points: int
    metrics: list[int]
    """Their places in the list of names."""


class Packed(NamedTuple):
    """All curves."""

    metrics: list[str]
    sources: list[Source]
    sampled: bool
    """Whether some have fewer points than were measured."""
    data: str
    """Base64 of deflated bytes, which :func:`pack` describes."""


def pack(records: Sequence[Record]) -> Packed:
    """The curves of all runs.

    The bytes, before they are deflated, are those of the steps of all sources in turn, as the difference from
    the point before; then of epochs in thousandths and of milliseconds of training, likewise, which are all 0
    where nobody measured them; each of 32 bits. Then come the values of every metric of every source: float32
    without its last 8 bits. All lowest bytes come first, then all of the next kind, because those are alike.
    """
    tables = [(run, table, names) for run, record in enumerate(records) for table, names in _tables(record)]
    metrics = sorted({name for _, _, names in tables for name in names}, key=_order)
    place = {name: index for index, name in enumerate(metrics)}
    most = _most_points(sum(len(names) for _, _, names in tables))
    sources, steps, epochs, times, values = [], [], [], [], []
    sampled = False
    for run, table, names in tables:
        columns = {name: np.frombuffer(column) for name, column in table.columns.items()}
        rows = table.rows
        edges = _edges(rows, most)
        sampled = sampled or edges is not None
        x = next((columns[name] for name in EPOCH if name in columns), np.arange(1.0, rows + 1))
        step = columns.get(STEP, np.arange(rows, dtype=float))
        points = _positions(rows, edges)
        steps.append(_differences(step[points]))
        epochs.append(_differences(np.round(x[points] * _THOUSAND)))
        times.append(_differences(np.round(_seconds(records[run].times, x[points]) * _THOUSAND)))
        values += [_sampled(columns[name], edges) for name in names]
        sources.append(Source(run, len(points), [place[name] for name in names]))
    whole = b"".join(_planes(_joined(parts).astype("<i4"), 4) for parts in (steps, epochs, times))
    cut = _without_last_byte(_joined(values).astype("<f4"))
    content = whole + _planes(cut, 4)[len(cut) :]
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return Packed(metrics, sources, sampled, data)


def _tables(record: Record) -> list[tuple[Table, list[str]]]:
    """A run's tables with the metrics that are drawn from each: from the one with more points."""
    epochs, validations = record.epochs, record.validations
    finer = [name for name in validations.metrics if validations.rows > epochs.rows]
    rest = [name for name in epochs.metrics if name not in finer]
    return [(table, names) for table, names in ((epochs, rest), (validations, finer)) if table.rows and names]


def _seconds(times: Table, epochs: Floats) -> Floats:
    """Seconds of training at each epoch, or part of one; 0 where nobody measured them."""
    if not times.rows:
        return np.zeros(len(epochs))
    measured = np.frombuffer(times.columns["epoch"]), np.frombuffer(times.columns["seconds"])
    known, seconds = (np.concatenate([[0.0], column]) for column in measured)
    found: Floats = np.interp(epochs, known, seconds)
    return found


def _order(name: str) -> tuple[bool, bool, bool, str]:
    """What was measured before what was set: validation, training, learning rates; then the many of gates."""
    return not name.startswith("val/"), not name.startswith("train/"), name.startswith(INSPECT), name


def _most_points(curves: int) -> int:
    """Points of each of so many curves."""
    if not curves:
        return MOST_POINTS
    usual = max(USUAL_POINTS, VALUES // curves)
    return max(FEWEST_POINTS, min(MOST_POINTS, usual, MOST_VALUES // curves))


def _edges(rows: int, most: int) -> NDArray[np.int64] | None:
    """Where buckets of rows begin, and where the last ends; None where every row is a point of its own.

    The first row and the last one are no part of a bucket.
    """
    if rows <= most:
        return None
    return np.linspace(1, rows - 1, (most - 2) // 2 + 1).astype(np.int64)


def _positions(rows: int, edges: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The row of every point: of each bucket the first one and the last one."""
    if edges is None:
        return np.arange(rows)
    inner = np.stack([edges[:-1], edges[1:] - 1], 1).ravel()
    return np.concatenate([[0], inner, [rows - 1]])


def _sampled(column: Floats, edges: NDArray[np.int64] | None) -> Floats:
    """A curve's points: least and largest of each bucket, in the order in which they were measured."""
    values = np.where(np.isfinite(column), column, np.nan)
    if edges is None:
        return values
    starts, widths = edges[:-1], np.diff(edges)
    # Buckets as rows, as long as the longest: a shorter one has its last value twice.
    rows = values[starts[:, None] + np.minimum(np.arange(widths.max()), widths[:, None] - 1)]
    missing = np.isnan(rows)
    least = np.where(missing, np.inf, rows).argmin(1)
    largest = np.where(missing, -np.inf, rows).argmax(1)
    in_order = np.sort(np.stack([least, largest], 1), 1)
    pairs = np.take_along_axis(rows, in_order, 1)
    return np.concatenate([values[:1], pairs.ravel(), values[-1:]])


def _differences(values: Floats) -> Floats:
    return np.diff(np.clip(values, 0, 2**31 - 1), prepend=0)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0)


def _without_last_byte(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Float32 rounded to 15 bits of mantissa: no further off than one part in 65,000."""
    bits = values.view("<u4")
    return np.where(np.isnan(values), bits, bits + np.uint32(0x80)).astype("<u4")


def _planes(values: NDArray[Any], size: int) -> bytes:
    """All first bytes of the values, then all second ones, and so on."""
    return values.view(np.uint8).reshape(-1, size).T.tobytes()
