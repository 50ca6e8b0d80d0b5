"""The time step that many series have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.steps import grid, infer_frequency, size_of

_STRETCH = 10
"""Rows in a row whose step is tried where there are gaps."""
_TRIED = 200
"""Stretches, and series, that are looked at one by one."""


class Steps(NamedTuple):
    """The time steps of a panel."""

    frequency: str | None
    """Of the longest series that is regular; None where none is, and for numbers."""
    irregular: NDArray[np.bool_]
    """[series] which have no constant step."""
    different: tuple[str, str] | None = None
    """Where two series have steps of different size, both in words."""


def steps_of(panel: Panel) -> Steps:
    """The time steps of the series; fewer than three times always have a constant one."""
    steps = _of_dates(panel) if isinstance(panel.times, pd.DatetimeIndex) else _of_numbers(panel)
    return steps._replace(irregular=steps.irregular & (panel.lengths > 2))


def usual_step(panel: Panel) -> str | None:
    """The step of most stretches of a few rows, so that gaps do not hide it; None where there is none."""
    if not isinstance(panel.times, pd.DatetimeIndex):
        return None
    stretch = min(_STRETCH, int(panel.lengths.max()))
    starts = np.concatenate([np.arange(a, b - stretch + 1) for a, b in _spans(panel)])
    chosen = starts[np.linspace(0, len(starts) - 1, min(len(starts), _TRIED)).astype(int)]
    found = Counter(infer_frequency(panel.times[start : start + stretch]) for start in chosen)
    del found[None]
    return found.most_common(1)[0][0] if found else None


def _spans(panel: Panel) -> list[tuple[int, int]]:
    return list(zip(panel.starts[:-1].tolist(), panel.starts[1:].tolist(), strict=True))


def _of_dates(panel: Panel) -> Steps:
    times = panel.times
    longest = int(panel.lengths.argmax())
    frequency = infer_frequency(times[panel.rows_of(longest)])
    off = np.ones(len(panel.names), dtype=bool) if frequency is None else ~_follow(panel, frequency)
    own = {int(i): infer_frequency(times[panel.rows_of(int(i))]) for i in np.flatnonzero(off)[:_TRIED]}
    regular = {i: step for i, step in own.items() if step is not None}
    off[list(regular)] = False
    if frequency is None:
        longest, frequency = next(iter(regular.items()), (longest, None))
    if frequency is None:
        return Steps(None, off)
    differs: Callable[[str], bool] = lambda step: size_of(step) != size_of(frequency)  # noqa: E731
    other = next((i for i, step in regular.items() if differs(step)), None)
    if other is None:
        return Steps(frequency, off)
    both = (_said(panel, longest, frequency), _said(panel, other, regular[other]))
    return Steps(frequency, off, both)


def _of_numbers(panel: Panel) -> Steps:
    apart = np.diff(panel.times.to_numpy(dtype=np.float64), append=np.nan)
    apart[panel.starts[1:] - 1] = np.nan
    step = apart[panel.starts[:-1]]
    off = ~np.isnan(apart) & ~np.isclose(apart, np.repeat(step, panel.lengths))
    irregular = np.add.reduceat(off, panel.starts[:-1]) > 0
    steady = np.flatnonzero(~irregular & (panel.lengths > 2))
    other = next((i for i in steady if not np.isclose(step[i], step[steady[0]])), None)
    if other is None:
        return Steps(None, irregular)
    first = int(steady[0])
    both = (_said(panel, first, f"{step[first]:g}"), _said(panel, int(other), f"{step[other]:g}"))
    return Steps(None, irregular, both)


def _said(panel: Panel, series: int, step: str) -> str:
    return f"{listed([panel.names[series]])} of {step}"


def _follow(panel: Panel, frequency: str) -> NDArray[np.bool_]:
    """Which series have every time of the step from their first to their last."""
    times = panel.times
    steps = grid(times.min(), times.max(), frequency, str(times.name))
    if not len(steps):
        return np.zeros(len(panel.names), dtype=bool)
    place = np.asarray(steps.searchsorted(times))
    wrong = np.asarray(steps[np.minimum(place, len(steps) - 1)] != times)
    gap = np.diff(place, append=0) != 1
    gap[panel.starts[1:] - 1] = False
    result: NDArray[np.bool_] = np.add.reduceat(wrong | gap, panel.starts[:-1]) == 0
    return result
