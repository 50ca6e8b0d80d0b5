"""Scale a panel and lay out its columns as the windows of a model need them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.series.calendar import calendar_values
from gatewise.data.series.missing import filled
from gatewise.data.series.panel import Panel, listed
from gatewise.data.series.phases import first_phases
from gatewise.data.series.scaling import WHOLE, in_blocks, series_scales
from gatewise.data.series.stored import scratch
from gatewise.data.series.windows import OfSeries, Windows, WrittenTimes
from gatewise.kinds.series import SeriesFacts, SeriesHistory


@dataclass(frozen=True)
class Laid:
    """The scaled table of a panel: features first, then, where some are missing, the targets once more."""

    values: Tensor
    """[rows, W] float32."""
    target_columns: list[int]
    categories: Tensor | None
    of_series: OfSeries

    def windows(
        self,
        facts: SeriesFacts,
        starts: NDArray[np.int64],
        horizon: int | None = None,
        times: WrittenTimes | None = None,
    ) -> Windows:
        """The windows that begin at some rows."""
        return Windows(
            self.values,
            torch.from_numpy(np.ascontiguousarray(starts, dtype=np.int64)),
            self.target_columns,
            facts.lookback,
            facts.horizon if horizon is None else horizon,
            times,
            len(facts.features),
            [facts.features.index(name) for name in facts.known_features],
            self.categories,
            [name in facts.known_categories for name in facts.categories],
            self.of_series,
        )

    def history(
        self, panel: Panel, first: NDArray[np.int64], ends: NDArray[np.int64], before_test: int
    ) -> SeriesHistory:
        """The targets of every series, from its ``first`` row to the last before its test part.

        ``ends`` [3, series] are those of its parts, and ``before_test`` the number of that before the test.
        """
        start = panel.starts[:-1]
        scales, phases = self.of_series.scales, self.of_series.phases
        return SeriesHistory(
            self.values.numpy(),
            start + first,
            start + ends[0],
            start + ends[before_test],
            None if scales is None else scales.numpy(),
            tuple(self.target_columns),
            None if phases is None else (phases.numpy() + first) % self.of_series.season,
        )


def laid_out(
    panel: Panel,
    facts: SeriesFacts,
    parts: NDArray[np.int64],
    own_rows: NDArray[np.bool_],
    folder: Path | None = None,
) -> Laid:
    """The panel's table for the facts; a large one where nothing is missing lies in a file in ``folder``.

    ``parts`` are the first rows of the parts of every series, and the number of rows; ``own_rows`` are those
    by which a series is scaled that the facts do not know. Raises ValueError, naming the place, for a value
    that is too large compared with the training data.
    """
    if folder is not None and panel.values.size > WHOLE and facts.scaling != "series":
        laid = _laid_in_file(panel, facts, folder)
        if laid is not None:
            return laid
    order = [panel.columns.index(name) for name in facts.columns]
    every = order == list(range(len(panel.columns)))
    raw = panel.values if every else panel.values[:, order]
    with np.errstate(over="ignore", invalid="ignore"):
        values = (raw - np.array(facts.mean)) / np.array(facts.std)
    targets = [facts.columns.index(name) for name in facts.targets]
    scales = None
    if facts.scaling == "series":
        scales = _scales_of(panel, facts, values[:, targets], own_rows)
        each = np.repeat(scales, panel.lengths, axis=0)
        values[:, targets] = (values[:, targets] - each[:, 0]) / each[:, 1]
    lacking = np.isnan(values)
    _check_size(values, lacking, panel, facts)
    blocks, target_columns = [values], targets
    if lacking.any():
        truth = values[:, targets]
        whole = filled(values, panel.starts, parts, facts.missing)
        masked = [facts.columns.index(name) for name in facts.masked]
        whole[:, masked] = np.where(lacking[:, masked], 0.0, whole[:, masked])
        blocks = [np.nan_to_num(whole), ~lacking[:, masked], *_calendar(panel, facts), truth]
        target_columns = [len(facts.features) + place for place in range(len(targets))]
    else:
        blocks += [np.ones((len(values), len(facts.masked))), *_calendar(panel, facts)]
    table = torch.from_numpy(np.concatenate(blocks, axis=1, dtype=np.float32, casting="unsafe"))
    return Laid(table, target_columns, _categories(panel, facts), _of_series(panel, facts, scales))


def _laid_in_file(panel: Panel, facts: SeriesFacts, folder: Path) -> Laid | None:
    """The table in a file, block after block; None where a value is missing, or there is no room."""
    order = [panel.columns.index(name) for name in facts.columns]
    width, count = len(facts.features), len(facts.columns)
    table, first = scratch(len(panel), width, folder), 0
    if table is None:
        return None
    for block in in_blocks(panel.values):
        rows = slice(first, first + len(block))
        if np.isnan(block).any():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            values = (block[:, order] - np.array(facts.mean)) / np.array(facts.std)
        _check_size(values, np.zeros_like(values, dtype=bool), panel, facts, first)
        table[rows, :count] = values
        table[rows, count : count + len(facts.masked)] = 1.0
        if facts.calendar:
            table[rows, width - len(facts.calendar) :] = calendar_values(panel.times[rows], facts.calendar)
        first = rows.stop
    targets = [facts.columns.index(name) for name in facts.targets]
    return Laid(torch.from_numpy(table), targets, _categories(panel, facts), _of_series(panel, facts, None))


def _check_size(
    values: NDArray[np.float64], lacking: NDArray[np.bool_], panel: Panel, facts: SeriesFacts, first: int = 0
) -> None:
    """Raise ValueError for a scaled value, of the rows from ``first`` on, that float32 has not."""
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(values.astype(np.float32)) & ~lacking
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{panel.source}: column {facts.columns[column]!r} at {panel.times[first + row]}: the number is "
            f"too large compared with the training data: correct it"
        )


def _calendar(panel: Panel, facts: SeriesFacts) -> list[NDArray[np.float32]]:
    return [calendar_values(panel.times, facts.calendar)] if facts.calendar else []


def _scales_of(
    panel: Panel, facts: SeriesFacts, targets: NDArray[np.float64], own_rows: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[series, 2, C_targets]: those of the facts, of a series that they do not know its own."""
    scales = series_scales(targets, panel, own_rows)
    numbers = series_numbers(panel, facts)
    known = numbers < len(facts.series)
    trained = np.stack([np.array(facts.series_mean), np.array(facts.series_std)], axis=1)
    scales[known] = trained[numbers[known]]
    return scales


def series_numbers(panel: Panel, facts: SeriesFacts) -> NDArray[np.int64]:
    """The facts' number of each series of a panel; of one that they do not know, that after their last."""
    places = pd.Index(facts.series, dtype=object).get_indexer(pd.Index(panel.names, dtype=object))
    return np.where(places < 0, len(facts.series), places)


def numbered(text: NDArray[np.object_], labels: tuple[str, ...]) -> NDArray[np.int64]:
    """The number of each category: 0 for one that is not among the labels, 1 for the first of these."""
    places: NDArray[np.int64] = pd.Index(labels, dtype=object).get_indexer(pd.Index(text, dtype=object)) + 1
    return places


def _categories(panel: Panel, facts: SeriesFacts) -> Tensor | None:
    if not facts.categories:
        return None
    columns = zip(facts.categories, facts.labels, strict=True)
    numbers = [numbered(panel.categories[name], labels) for name, labels in columns]
    return torch.from_numpy(np.stack(numbers, axis=1).astype(np.int64))


def _of_series(panel: Panel, facts: SeriesFacts, scales: NDArray[np.float64] | None) -> OfSeries:
    static = categories = numbers = None
    if facts.static:
        scaled = (panel.static - np.array(facts.static_mean)) / np.array(facts.static_std)
        static = torch.from_numpy(scaled.astype(np.float32))
    if facts.static_categories:
        pairs = zip(facts.static_categories, facts.static_labels, strict=True)
        columns = [numbered(panel.static_categories[name], labels) for name, labels in pairs]
        categories = torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))
    if facts.series_column is not None:
        numbers = torch.from_numpy(series_numbers(panel, facts))
    phases = first_phases(panel, facts.frequency, facts.season) if facts.season > 1 else None
    return OfSeries(
        torch.from_numpy(panel.starts.astype(np.int64)),
        numbers,
        static,
        categories,
        None if scales is None else torch.from_numpy(scales),
        None if phases is None else torch.from_numpy(phases),
        facts.season,
    )


def unknown_categories(panel: Panel, facts: SeriesFacts) -> str:
    """The categories of a panel that the training has not seen, and where each is first; empty for none."""
    said = []
    every = np.arange(len(panel))
    by_row = [(n, labels, panel.categories[n], every) for n, labels in _labelled(facts, static=False)]
    by_series = [
        (n, labels, panel.static_categories[n], panel.starts[:-1])
        for n, labels in _labelled(facts, static=True)
    ]
    for name, labels, text, rows in (*by_row, *by_series):
        codes, found = pd.factorize(text)
        unknown = [code for code, each in enumerate(found) if each and each not in set(labels)]
        if unknown:
            places = [panel.place(int(rows[(codes == code).argmax()])) for code in unknown[:3]]
            said.append(
                f"{', '.join(places)}: column {name!r}: {listed([str(found[code]) for code in unknown])} was "
                f"never seen in training, which has {listed(labels, 5)}"
            )
    return "; ".join(said)


def _labelled(facts: SeriesFacts, static: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Columns of categories with those that the training has seen."""
    if static:
        return list(zip(facts.static_categories, facts.static_labels, strict=True))
    return list(zip(facts.categories, facts.labels, strict=True))
