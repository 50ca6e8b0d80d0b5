"""An input to predict from, written as the training files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gatewise.data.series.panel import Panel
from gatewise.data.series.style import CHARACTERS
from gatewise.data.series.times import write_times
from gatewise.kinds.series import SeriesFacts

_SERIES = 3
"""Most series of an example."""


def write_example(path: Path, panel: Panel, facts: SeriesFacts) -> Path:
    """Write the last rows of a few series as CSV; with covariates, those of the horizon hold these alone."""
    ahead = facts.horizon if facts.known or facts.known_categories else 0
    # Three rows, where the lookback is shorter: no fewer tell a time step.
    longest = max(facts.lookback, 3) + ahead
    panel = panel.only(np.arange(min(_SERIES, len(panel.names))))
    left = np.repeat(panel.starts[1:], panel.lengths) - np.arange(len(panel))
    panel = panel.take(left <= longest)
    to_come = np.repeat(panel.starts[1:], panel.lengths) - np.arange(len(panel)) <= ahead
    mark = CHARACTERS[facts.decimal]

    def written(value: float) -> str:
        return "" if np.isnan(value) else repr(float(value)).replace(".", mark)

    table: dict[str, list[str]] = {}
    if facts.series_column is not None:
        table[facts.series_column] = [panel.names[number] for number in panel.owners]
    table[facts.time_column] = write_times(panel.times, facts.time_format)
    for name in facts.columns:
        column = panel.values[:, panel.columns.index(name)]
        hidden = np.zeros(len(panel), dtype=bool) if name in facts.known else to_come
        table[name] = list(map(written, np.where(hidden, np.nan, column)))
    for name in facts.categories:
        known = name in facts.known_categories
        table[name] = np.where(to_come & (not known), "", panel.categories[name]).tolist()
    for place, name in enumerate(facts.static):
        table[name] = list(map(written, panel.static[panel.owners, place]))
    for name in facts.static_categories:
        table[name] = panel.static_categories[name][panel.owners].tolist()
    pd.DataFrame(table).to_csv(path, index=False, sep=CHARACTERS[facts.separator], lineterminator="\n")
    return path
