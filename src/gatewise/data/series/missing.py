"""Values that are missing, and rows that are: filled as a setting says."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.regular import Steps, steps_of, usual_step
from gatewise.data.series.steps import grid
from gatewise.data.series.zones import EXAMPLE, where_clocks_went_forward

log = logging.getLogger(__name__)

Missing = Literal["refuse", "interpolate", "forward", "mask"]


def filled(
    values: NDArray[np.floating], starts: NDArray[np.int64], parts: NDArray[np.int64], how: str
) -> NDArray[np.floating]:
    """The values [rows, C] with what is missing filled from the same series, as far as it can be.

    ``forward`` and ``mask`` repeat the last value seen (a mask hides it afterwards); ``interpolate`` draws a
    line to the next value of the same part, so that no part sees into a later one. ``starts`` and ``parts``
    are the first rows of the series, and of their parts. What has no value before it stays NaN.
    """
    there = ~np.isnan(values)
    rows = np.arange(len(values))[:, None]
    first = np.repeat(starts[:-1], np.diff(starts))[:, None]
    before = np.maximum.accumulate(np.where(there, rows, -1), axis=0)
    has_before = before >= first
    last = np.take_along_axis(values, np.maximum(before, 0), axis=0)
    result = np.where(has_before, last, np.nan)
    if how != "interpolate":
        return result
    end = np.repeat(parts[1:], np.diff(parts))[:, None]
    backwards = np.where(there, rows, len(values))[::-1]
    after = np.minimum.accumulate(backwards, axis=0)[::-1]
    has_after = after < end
    following = np.take_along_axis(values, np.minimum(after, len(values) - 1), axis=0)
    share = (rows - before) / np.maximum(after - before, 1)
    between = np.where(has_before, last + share * (following - last), following)
    return np.where(has_after, between, result)


def with_missing_rows(panel: Panel, frequency: str | None) -> tuple[Panel, str]:
    """The panel with a row, whose values are missing, for each time that is left out; and the time step.

    ``frequency`` is pandas' offset alias; None means the usual step between the rows. Raises ValueError,
    naming the place, for a time that does not lie on the step.
    """
    step = frequency or usual_step(panel)
    if step is None:
        raise ValueError(
            f"{panel.source}: no time step is usual here, so that missing rows cannot be told: give it with "
            f"data.frequency, such as h or MS"
        )
    times = grid(panel.times.min(), panel.times.max(), step, str(panel.times.name))
    place = np.asarray(times.searchsorted(panel.times))
    off = times[np.minimum(place, len(times) - 1)] != panel.times
    if off.any():
        row = int(off.argmax())
        raise ValueError(
            f"{panel.place(row)}: the time {panel.times[row]} does not lie on a step of {step} from "
            f"{times[0] if len(times) else panel.times.min()} on: correct it, or set data.irregular=rows to "
            f"count rows"
        )
    first, last = place[panel.starts[:-1]], place[panel.starts[1:] - 1]
    lengths = last - first + 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if len(panel) == starts[-1]:
        return panel, step
    target = np.repeat(starts[:-1] - first, panel.lengths) + place
    values = np.full((starts[-1], panel.values.shape[1]), np.nan)
    values[target] = panel.values
    every = np.repeat(first - starts[:-1], lengths) + np.arange(starts[-1])
    categories = {name: _spread(column, target, len(values)) for name, column in panel.categories.items()}
    return replace(
        panel,
        times=times[every].rename(panel.times.name),
        values=values,
        starts=starts,
        categories=categories,
        lines=None,
    ), step


def _spread(column: NDArray[np.object_], target: NDArray[np.int64], length: int) -> NDArray[np.object_]:
    spread = np.full(length, "", dtype=object)
    spread[target] = column
    return spread


def regular(panel: Panel, how: str, frequency: str | None) -> tuple[Panel, Steps]:
    """The panel as the setting ``data.irregular`` has it, and its time steps.

    Raises ValueError for steps that it does not allow.
    """
    if how == "fill":
        panel, step = with_missing_rows(panel, frequency)
        return panel, Steps(step, np.zeros(len(panel.names), dtype=bool))
    steps = steps_of(panel)
    if steps.different is not None and how != "rows":
        first, other = steps.different
        raise ValueError(
            f"{panel.source}: the series have different time steps: {first} and {other}: train on those of "
            f"one step, or set data.irregular=rows to count rows"
        )
    if not steps.irregular.any() or how == "rows":
        return panel, steps
    which, forward = "", where_clocks_went_forward(panel)
    if len(panel.names) > 1:
        names = [panel.names[number] for number in np.flatnonzero(steps.irregular)]
        which = f" in {len(names)} of {len(panel.names)} series: {listed(names)}"
    if forward is not None:
        which += (
            f" ({panel.place(forward)} comes an hour too late, as where clocks go forward: set {EXAMPLE} or "
            f"the place that the times are of)"
        )
    if how == "refuse":
        raise ValueError(
            f"{panel.source}: the time steps are irregular{which}: correct them, or set data.irregular=fill "
            f"(missing rows are missing values) or rows (to count rows)"
        )
    log.warning("%s: the time steps are irregular%s; windows count rows, not time", panel.source, which)
    return panel, steps


def padded(panel: Panel, rows: int) -> Panel:
    """The panel with rows in front of each series whose values are missing, at its first time."""
    lengths = panel.lengths + rows
    starts = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(len(panel)) + rows * (panel.owners + 1)
    values = np.full((starts[-1], panel.values.shape[1]), np.nan)
    values[place] = panel.values
    source = np.maximum(np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) - rows, 0)
    return replace(
        panel,
        times=panel.times[source + np.repeat(panel.starts[:-1], lengths)],
        values=values,
        starts=starts,
        categories={name: _spread(column, place, len(values)) for name, column in panel.categories.items()},
        lines=None,
    )


def check_none_missing(panel: Panel, rows: NDArray[np.bool_] | None = None) -> None:
    """Raise ValueError, naming the first place, where a value is missing (in ``rows``)."""
    lacking = np.isnan(panel.values)
    if rows is not None:
        lacking &= rows[:, None]
    if not lacking.any():
        return
    row, column = np.argwhere(lacking)[0]
    raise ValueError(
        f"{panel.place(int(row))}: column {panel.columns[column]!r} has {int(lacking[:, column].sum())} "
        f"missing value(s), the first here: fill them in (the run was trained without any)"
    )
