"""The rows to come of a series: their times, and what is known of them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.steps import future_times, has_step
from gatewise.data.series.times import write_times
from gatewise.kinds.series import SeriesFacts

log = logging.getLogger(__name__)


def with_future(
    panel: Panel, seen: NDArray[np.int64], steps: int, facts: SeriesFacts, given: Panel | None = None
) -> Panel:
    """The ``seen`` rows of each series and the ``steps`` that follow them, with their known covariates.

    These are looked up by time in the panel's later rows, or in the panel ``given``. All else of the rows to
    come is missing. Warns of series whose step is not the training's. Raises ValueError, naming the times,
    for a covariate that is not known.
    """
    history = panel.take(panel.ranks < np.repeat(seen, panel.lengths))
    later = panel.take(panel.ranks >= np.repeat(seen, panel.lengths)) if given is None else given
    owner_of_given = {name: number for number, name in enumerate(later.names)}
    needs = bool(facts.known or facts.known_categories)
    cache: dict[bytes, tuple[pd.Index, bool]] = {}
    times, rows, others = [], [], []
    for number, name in enumerate(history.names):
        # A frequency takes at least three rows to infer; a gap in older rows does not matter here.
        recent = history.times[history.rows_of(number)][-max(facts.lookback, 3) :]
        key = np.asarray(recent.to_numpy()).tobytes()
        if key not in cache:
            cache[key] = (
                future_times(recent, steps, facts.frequency),
                has_step(recent, facts.frequency),
            )
        ahead, has_own_step = cache[key]
        if not has_own_step:
            others.append(name)
        own = later.rows_of(owner_of_given[name]) if name in owner_of_given else slice(0, 0)
        there = later.times[own]
        if needs:
            after = np.flatnonzero(there > recent[-1])
            if facts.frequency is None and len(after) >= steps:
                ahead = there[after[:steps]]  # irregular steps: as the file has them
            rows.append(
                own.start
                + _places(there, ahead, name, facts, panel.source if given is None else given.source)
            )
        times.append(ahead)
    if others:
        which = f" of {len(others)} series, such as {listed(others)}," if len(history.names) > 1 else ""
        log.warning(
            "%s: the newest times%s do not go in steps of %s, as those of the training do; they go on in "
            "their own",
            panel.source, which, facts.frequency,
        )  # fmt: skip
    return _joined(history, times, steps, facts, later, np.concatenate(rows) if rows else None)


def _places(
    there: pd.Index, ahead: pd.Index, series: str, facts: SeriesFacts, source: str
) -> NDArray[np.int64]:
    """Where each of the times ``ahead`` is; ValueError, naming them, where some are not."""
    if isinstance(there, pd.DatetimeIndex):
        places: NDArray[np.int64] = there.get_indexer(pd.DatetimeIndex(ahead))
    else:
        tolerance = (
            1e-6 * abs(float(ahead[0] - ahead[-1]) / max(len(ahead) - 1, 1)) if len(ahead) > 1 else 1e-9
        )
        places = there.astype(float).get_indexer(ahead.astype(float), method="nearest", tolerance=tolerance)
    if (places < 0).any():
        raise ValueError(
            _lacking(ahead[places < 0], (*facts.known, *facts.known_categories), series, facts, source)
        )
    return places


def _lacking(times: pd.Index, columns: tuple[str, ...], series: str, facts: SeriesFacts, source: str) -> str:
    of_series = f" of series {series!r}" if series else ""
    return (
        f"{source}: {listed(columns)}{of_series} must be known for the horizon, and not so at "
        f"{listed(write_times(times, facts.time_format), 5)}: add rows for these times with the targets left "
        f"empty, or give them in data.future_file"
    )


def _joined(
    history: Panel,
    times: list[pd.Index],
    steps: int,
    facts: SeriesFacts,
    later: Panel,
    rows: NDArray[np.int64] | None,
) -> Panel:
    """History and future of every series, one after the other; ``rows`` of ``later`` tell of the future."""
    count = len(history.names)
    lengths = history.lengths + steps
    starts = np.concatenate([[0], np.cumsum(lengths)])
    past = np.arange(len(history)) + steps * history.owners
    ahead = (starts[1:, None] - steps + np.arange(steps)).ravel()
    values = np.full((starts[-1], len(history.columns)), np.nan)
    values[past] = history.values
    categories = {}
    for name, column in history.categories.items():
        categories[name] = np.full(len(values), "", dtype=object)
        categories[name][past] = column
    if rows is not None:
        for name in facts.known:
            known = later.values[rows, later.columns.index(name)]
            if np.isnan(known).any():
                at = int(np.isnan(known).argmax())
                own = np.isnan(known[at - at % steps : at - at % steps + steps])
                series = history.names[at // steps]
                raise ValueError(_lacking(times[at // steps][own], (name,), series, facts, later.source))
            values[ahead, history.columns.index(name)] = known
        for name in facts.known_categories:
            categories[name][ahead] = later.categories[name][rows]
    order = np.empty(len(values), dtype=np.int64)
    order[past] = np.arange(len(history))
    order[ahead] = len(history) + np.arange(count * steps)
    return replace(
        history,
        times=history.times.append(times).take(order).rename(history.times.name),
        values=values,
        starts=starts,
        categories=categories,
        lines=None,
    )
