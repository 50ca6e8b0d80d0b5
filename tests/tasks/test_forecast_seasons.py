"""The seasons that a smoothing begins with."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.tsa.seasonal import seasonal_decompose

from gatewise.cells import GRU
from gatewise.data.series import SeriesWindows
from gatewise.nn import Recurrent
from gatewise.tasks.forecast_seasons import first_seasons
from gatewise.tasks.forecasting import Forecasting
from gatewise.training.parts import parts_for_test

PATTERN = np.array([3.0, -1, 0, 5, -7, 2, 1, -3, 0, 0, 4, -4])


def data_of(folder, *parts: np.ndarray, **settings) -> SeriesWindows:
    """Monthly series: the first begins in January, the others later, a month each."""
    tables = []
    for number, values in enumerate(parts):
        times = pd.date_range(f"2001-{number + 1:02}-01", periods=len(values), freq="MS")
        tables.append(pd.DataFrame({"u": f"s{number}", "t": times, "y": values}))
    pd.concat(tables).to_csv(folder / "a.csv", index=False)
    data = SeriesWindows(
        file="a.csv", folders=[str(folder)], time_column="t", series_column="u", lookback=24, horizon=3,
        season=12, **settings,
    )  # fmt: skip
    data.setup()
    return data


def history_of(data: SeriesWindows):
    (history,) = data.history()
    return history


@pytest.mark.parametrize("short", ["refuse", "pad"])
def test_a_season_on_a_line_is_found_in_the_months_it_is_in(tmp_path, short):
    months = np.arange(96)
    parts = [40 + 0.5 * months + PATTERN[months % 12], 9 - 2 * months[:70] + PATTERN[(months[:70] + 1) % 12]]
    data = data_of(tmp_path, *parts, short_series=short)
    found = first_seasons(history_of(data), data.facts, logarithm=False)
    for season in found[..., 0]:
        np.testing.assert_allclose(season * data.facts.target_std, PATTERN, atol=1e-4)


def test_of_logarithms_it_is_that_of_statsmodels(tmp_path):
    """With noise, and each series scaled: near to the classical decomposition's."""
    rng = np.random.default_rng(1)
    months = np.arange(240)
    values = np.exp(4 + 0.1 * PATTERN[months % 12] + 0.02 * rng.normal(size=240))
    data = data_of(tmp_path, values, 3 * values, scaling="series")
    found = first_seasons(history_of(data), data.facts, logarithm=True)
    expected = seasonal_decompose(np.log(values[:168]), period=12).seasonal[:12]
    np.testing.assert_allclose(found[0, :, 0], expected, atol=0.02)
    np.testing.assert_allclose(found[1, :, 0], np.roll(expected, 1), atol=0.02)


def test_a_new_training_begins_with_them(tmp_path):
    months = np.arange(96)
    data = data_of(tmp_path, 40 + PATTERN[months % 12], 7 + 2 * PATTERN[(months + 1) % 12])
    model = partial(Recurrent, hidden_size=4, cell=GRU(), engine="function")
    task = Forecasting(model, data.facts, forecaster="residual", smoothing="series", dilations=(2,))
    for weights in task.head.parameters():
        torch.nn.init.zeros_(weights)
    task.begin(parts_for_test(data))
    batch = data.test_data[list(range(len(data.test_data)))]
    torch.testing.assert_close(task.predict_step(batch), batch.targets, atol=1e-4, rtol=0)
