"""The errors of forecasts, each against its definition in plain numpy, scipy or torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torchmetrics.regression import ContinuousRankedProbabilityScore

from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_errors import ErrorSums, intervals, seasonal_errors

COLUMNS, MEAN, STD = ("load", "wind"), (10.0, -2.0), (2.0, 0.5)
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
SERIES = ("a", "b", "c")


def make_facts(series=SERIES, season=3):
    return SeriesFacts("t", COLUMNS, COLUMNS, "D", 6, 4, season, MEAN, STD, series=series)


@pytest.fixture
def windows():
    """Batches of windows with gaps in their truth, forecasts of them, and each series' own scale."""
    rng = np.random.default_rng(3)
    made = []
    for size in (5, 1, 8):
        truth = rng.normal(size=(size, 4, 2))
        truth[rng.random(truth.shape) < 0.2] = np.nan
        series = rng.integers(0, 3, size)
        scales = np.stack([rng.normal(size=(size, 2)), rng.uniform(0.5, 3, (size, 2))], 1)
        quantiles = np.sort(rng.normal(size=(size, 4, 2, len(LEVELS))), -1)
        batch = WindowBatch(
            torch.zeros(size, 6, 2),
            torch.tensor(truth),
            series=torch.tensor(series),
            scales=torch.tensor(scales),
        )
        point = torch.tensor(rng.normal(size=truth.shape))
        made.append((batch, Forecast(point, torch.tensor(quantiles), LEVELS)))
    return made


def stacked(windows, name):
    """All values of one field of the batches, or of the forecasts."""
    return np.concatenate([np.asarray(getattr(b if hasattr(b, name) else f, name)) for b, f in windows])


def own(values, scales):
    """Scaled values in their original units: undo the series' own scale, then that of the facts."""
    return (values * scales[:, None, 1] + scales[:, None, 0]) * np.array(STD) + np.array(MEAN)


def test_errors_are_means_over_all_values_that_are_there(windows):
    scale = np.array([[2.0, 1.0], [4.0, np.nan], [1.0, 3.0], [np.nan, np.nan]])
    sums = ErrorSums(make_facts(), LEVELS, scale)
    for batch, forecast in windows:
        sums.add(batch, forecast)
    truth, point, quantiles = (stacked(windows, name) for name in ("targets", "point", "quantiles"))
    series, scales = stacked(windows, "series"), stacked(windows, "scales")
    error, y, f = point - truth, own(truth, scales), own(point, scales)
    pinball = [
        np.nanmean(np.maximum(level * (truth - value), (level - 1) * (truth - value)))
        for level, value in zip(LEVELS, np.moveaxis(quantiles, -1, 0), strict=True)
    ]
    expected = {
        "mse": np.nanmean(error**2),
        "mae": np.nanmean(abs(error)),
        "smape": np.nanmean(200 * abs(y - f) / (abs(y) + abs(f))),
        "mase": np.nanmean(abs(y - f) / scale[series][:, None]),
        "crps": 2 * np.mean(pinball),
    }
    (whole,) = [row for row in sums.table().to_dict("records") if row["target"] == "all"]
    for percent, (low, high) in {50: (1, 3), 80: (0, 4)}.items():
        inside = (quantiles[..., low] <= truth) & (truth <= quantiles[..., high])
        expected[f"coverage_{percent}"] = inside[~np.isnan(truth)].mean()
        expected[f"width_{percent}"] = (quantiles[..., high] - quantiles[..., low])[~np.isnan(truth)].mean()
    assert {name: whole[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert sums.coverage() == pytest.approx({p: expected[f"coverage_{p}"] for p in (50, 80)}, rel=1e-12)
    for name in ("coverage_50", "width_50"):
        del expected[name]
    assert sums.overall() == pytest.approx(expected, rel=1e-12)
    by_target = sums.by_target()
    np.testing.assert_allclose(by_target["own_rmse"], np.sqrt(np.nanmean((y - f) ** 2, (0, 1))), rtol=1e-12)
    below = {q: (truth <= quantiles[..., i])[~np.isnan(truth)].mean() for i, q in enumerate(LEVELS)}
    assert sums.below() == pytest.approx(below, rel=1e-12)
    for row in sums.table("step").to_dict("records"):
        step, target = row["step"] - 1, row["target"]
        chosen = error[:, step] if target == "all" else error[:, step, COLUMNS.index(target)]
        assert (row["mse"], row["count"]) == (pytest.approx(np.nanmean(chosen**2)), (~np.isnan(chosen)).sum())
        assert np.isfinite(row["own_mae"]) == (target != "all")  # two units do not add up
    rows = sums.table("series").to_dict("records")
    assert {row["series"] for row in rows} == {SERIES[s] for s in series}
    for row in rows:
        chosen = error[series == SERIES.index(row["series"])]
        chosen = chosen if row["target"] == "all" else chosen[..., COLUMNS.index(row["target"])]
        assert row["mae"] == pytest.approx(np.nanmean(abs(chosen)))


def test_sums_of_several_processes_are_those_of_one(windows):
    whole, parts = ErrorSums(make_facts(), LEVELS), [ErrorSums(make_facts(), LEVELS) for _ in range(2)]
    for number, (batch, forecast) in enumerate(windows):
        whole.add(batch, forecast)
        parts[number % 2].add(batch, forecast)
    total = parts[0].plus(parts[1])
    assert total.overall() == pytest.approx(whole.overall(), rel=1e-12)
    assert len(total.table("series")) == len(whole.table("series"))


def test_crps_is_that_of_torchmetrics_and_of_a_gaussian():
    """Gneiting & Raftery (2007): of N(m, s) at y it is s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    rng = np.random.default_rng(0)
    levels = tuple((np.arange(400) + 0.5) / 400)
    mean, spread, truth = rng.normal(size=(3, 6, 4, 2))
    spread = np.exp(spread)
    quantiles = mean[..., None] + spread[..., None] * norm.ppf(levels)
    batch = WindowBatch(torch.zeros(6, 6, 2), torch.tensor(truth))
    sums = ErrorSums(make_facts(series=()), levels)
    sums.add(batch, Forecast(torch.tensor(mean), torch.tensor(quantiles), levels))
    z = (truth - mean) / spread
    exact = (spread * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))).mean()
    assert sums.overall()["crps"] == pytest.approx(exact, rel=3e-3)
    of_members = ContinuousRankedProbabilityScore()
    of_members.update(torch.tensor(quantiles.reshape(-1, 400)), torch.tensor(truth.ravel()))
    assert sums.overall()["crps"] == pytest.approx(float(of_members.compute()), rel=3e-3)


def test_a_forecast_of_zero_where_zero_is_true_has_no_percentage_error():
    facts = SeriesFacts("t", ("x",), ("x",), "D", 6, 2, 1, (0.0,), (1.0,))
    sums = ErrorSums(facts)
    truth = torch.tensor([[[0.0], [2.0]]])
    sums.add(WindowBatch(torch.zeros(1, 6, 1), truth), Forecast(torch.zeros(1, 2, 1)))
    assert sums.overall() == {"mse": 2.0, "mae": 1.0, "smape": 100.0}


@pytest.mark.parametrize("season", [1, 3])
def test_the_scale_of_mase_is_the_seasonal_naive_error_in_training(season):
    rng = np.random.default_rng(1)
    starts, training, ends = np.array([[0, 20, 24], [14, 23, 40], [18, 24, 44]])
    values = rng.normal(size=(44, 2))
    values[30, 1] = np.nan
    values[20:24] = 1.0  # a constant series
    scales = rng.uniform(1, 2, (3, 2, 2))
    history = SeriesHistory(values, starts, training, ends, scales)
    found = seasonal_errors(history, make_facts(season=season))
    assert found.shape == (4, 2)
    for number in (0, 2):
        part = values[starts[number] : training[number]] * scales[number, 1] * np.array(STD)
        expected = np.nanmean(abs(part[season:] - part[:-season]), axis=0)
        np.testing.assert_allclose(found[number], expected, rtol=1e-12)
    assert np.isnan(found[[1, 3]]).all()  # constant; never seen


def test_intervals_are_pairs_of_levels():
    assert intervals((0.025, 0.1, 0.3, 0.5, 0.9, 0.975)) == {80: (1, 4), 95: (0, 5)}
    assert intervals((0.5,)) == {}
