"""Simple forecasts, against plain numpy, scikit-learn and statsmodels."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from gatewise.kinds.series import SeriesFacts, SeriesHistory, WindowBatch
from gatewise.tasks.forecast_average import MovingAverage, _errors, possible_lengths
from gatewise.tasks.forecast_baselines import NAMES, Baselines
from gatewise.tasks.forecast_errors import seasonal_errors
from gatewise.tasks.forecast_history import pieces
from gatewise.tasks.forecast_linear import PENALTIES, LinearForecast
from gatewise.tasks.forecast_seen import filled
from gatewise.tasks.forecast_smoothing import Parameters, Smoothing, smooth

COLUMNS = ("load", "wind")


def make_facts(targets=COLUMNS, lookback=24, horizon=5, season=6, **others):
    return SeriesFacts(
        "t", COLUMNS, targets, "h", lookback, horizon, season, (0.0,) * 2, (1.0,) * 2, **others
    )


def history_of(*parts, training=0.8):
    """Of one or several series [T, C]: the last rows of each are its validation part."""
    lengths = np.array([len(part) for part in parts])
    ends = lengths.cumsum()
    starts = ends - lengths
    return SeriesHistory(
        np.concatenate(parts).astype(np.float32), starts, starts + (lengths * training).astype(int), ends
    )


def waves(length, seed=0):
    """Two seasonal series with noise."""
    rng = np.random.default_rng(seed)
    steps = np.arange(length)[:, None]
    return np.sin(2 * np.pi * steps / 6 + [0, 1]) + 0.3 * rng.normal(size=(length, 2))


def test_forecasts_that_need_the_window_alone():
    facts = make_facts(("wind",))
    inputs = torch.tensor(waves(48)).reshape(2, 24, 2)
    forecasts = Baselines(facts, ["moving average", "drift"])(WindowBatch(inputs, torch.zeros(2, 5, 1)))
    assert list(forecasts) == ["drift", "moving average"]
    wind = inputs[..., 1].numpy()
    slope = (wind[:, -1] - wind[:, 0]) / 23
    np.testing.assert_allclose(
        forecasts["drift"][..., 0], wind[:, -1:] + slope[:, None] * np.arange(1, 6), rtol=1e-6
    )
    mean = wind[:, -6:].mean(1, keepdims=True)
    np.testing.assert_allclose(forecasts["moving average"][..., 0], np.tile(mean, 5), rtol=1e-6)


def test_what_a_window_misses_is_the_value_before_it():
    nan = np.nan
    values = torch.tensor([[nan, 1, nan, nan, 4], [nan, nan, nan, nan, nan], [7, nan, nan, 2, nan]])[
        ..., None
    ]
    expected = [[1, 1, 1, 1, 4], [0, 0, 0, 0, 0], [7, 7, 7, 2, 2]]
    assert filled(values)[..., 0].tolist() == expected
    facts = make_facts(("wind",), lookback=5, masked=("wind",), season=1)
    there = ~values.isnan()
    inputs = torch.cat([torch.zeros_like(values), values.nan_to_num(0), there], 2)
    forecasts = Baselines(facts, ["last value", "drift"])(WindowBatch(inputs, torch.zeros(3, 5, 1)))
    assert forecasts["last value"][:, 0, 0].tolist() == [4, 0, 2]
    # From 1 to 4 in three steps, from 7 to 2 in four.
    assert forecasts["drift"][:, 0, 0].tolist() == [5, 0, 0.75]


def test_without_a_history_what_learns_is_left_out_in_one_line():
    baselines = Baselines(make_facts())
    baselines.learn(())
    assert baselines.remarks == ["Without the training data there is no baseline smoothing and linear"]
    batch = WindowBatch(torch.zeros(1, 24, 2), torch.zeros(1, 5, 2))
    assert list(baselines(batch)) == ["last value", "last season", "drift", "moving average"]
    simple = Baselines(make_facts(), ["drift"])
    simple.learn(())
    assert simple.remarks == []
    baselines.learn([history_of(waves(200))])
    assert tuple(baselines(batch)) == NAMES


@pytest.mark.parametrize("season", [1, 6])
def test_a_moving_average_has_the_length_that_was_best_in_validation(season):
    """Against a loop over the windows, with values missing, of two series."""
    facts = make_facts(lookback=12, horizon=3, season=season)
    rng = np.random.default_rng(8)
    # A level that wanders, for which few steps are best, and noise around a mean, for which all are.
    walk, noise = rng.normal(size=(2, 120))
    long = np.stack([walk.cumsum(), noise], axis=1).astype(np.float32)
    long[[30, 31, 90, 100], [0, 1, 1, 0]] = np.nan
    history = history_of(long, long[:20] * 2)
    average = MovingAverage.fitted(history, facts)
    filled = pd.DataFrame(long).ffill().to_numpy()
    best = []
    for column in range(2):
        errors = {}
        for length in possible_lengths(facts):
            missed = [
                long[row + step, column] - filled[row - length : row, column].mean()
                for row in range(96, 118)
                for step in range(3)
            ]
            # Of the short one, the windows that forecast its last four rows.
            short = [
                2 * (long[row + step, column] - filled[row - length : row, column].mean())
                for row in (16, 17)
                for step in range(3)
            ]
            errors[length] = np.nansum(np.square([*missed, *short]))
        best.append(min(errors, key=errors.get))
    assert average.lengths.tolist() == best
    assert best[0] < best[1]
    seen = torch.randn(2, 12, 2)
    means = [seen[:, -length:, column].mean(1) for column, length in enumerate(best)]
    torch.testing.assert_close(average(seen), torch.stack(means, 1)[:, None].expand(-1, 3, -1))


def test_what_is_learnt_in_pieces_is_what_is_learnt_at_once(monkeypatch):
    """Of two series with gaps, and of a table in which the targets lie apart."""
    long, short = waves(90), waves(61, seed=2)
    long[5:9, 0] = long[40:70, 1] = short[:30, 1] = np.nan
    whole = history_of(long, short)
    wide = np.insert(whole.values, 1, 7.0, axis=1)
    facts = make_facts(lookback=8, horizon=3, series=("a", "b"))

    def learnt(history):
        linear, _ = LinearForecast.fitted(history, facts)
        errors = [_errors(history, place, np.arange(70), [2, 6, 8], facts) for place in (0, 1)]
        return errors, seasonal_errors(history, facts), linear.weights, linear.penalty

    at_once = learnt(whole)
    monkeypatch.setattr("gatewise.tasks.forecast_history.ROWS", 20)
    monkeypatch.setattr("gatewise.tasks.forecast_linear._AT_ONCE", 100)
    for history in (whole, whole._replace(values=wide, columns=(0, 2))):
        for found, expected in zip(learnt(history), at_once, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    size = 11
    starts = np.array([0, 1, 2, 9, 10, 40, 41, 42, 43])
    parts = list(pieces(starts, size, 3))
    np.testing.assert_array_equal(np.concatenate([rows.start + first for rows, first in parts]), starts)
    assert [(rows.start, rows.stop, len(first)) for rows, first in parts] == [
        (0, 13, 3), (9, 21, 2), (40, 53, 3), (43, 54, 1)
    ]  # fmt: skip


def test_a_name_that_does_not_exist():
    with pytest.raises(ValueError, match=r"task.baselines: 'linaer' is unknown \(did you mean 'linear'\?\)"):
        Baselines(make_facts(), ["linaer"])


# ---- linear


def windows_of(values, first, end, size):
    """All windows [N, size] of one column within rows ``first`` to ``end``."""
    return np.array([values[k : k + size] for k in range(first, end - size + 1)])


@pytest.mark.parametrize("targets", [COLUMNS, ("wind",)], ids=" ".join)
def test_the_linear_map_is_ridge_regression_chosen_on_validation(targets):
    facts = make_facts(targets, lookback=8, horizon=3)
    places = [COLUMNS.index(target) for target in targets]
    values = waves(160)[:, places].astype(np.float32).astype(np.float64)
    found, remark = LinearForecast.fitted(history_of(values), facts)
    assert remark == ""
    results = []
    groups = [[place] for place in range(len(places))] if len(places) > 1 else []
    for maps in ([range(len(places))], groups):
        for penalty in PENALTIES if maps else ():
            error, coefficients = 0.0, []
            for group in maps:
                parts = []
                for first, end in ((0, 128), (120, 160)):
                    w = np.concatenate([windows_of(values[:, c], first, end, 11) for c in group])
                    x = np.c_[w[:, :8] - w[:, 7:8], np.ones(len(w))]
                    parts.append((x, w[:, 8:] - w[:, 7:8]))
                (x, y), (vx, vy) = parts
                ridge = Ridge(alpha=penalty * np.square(x).sum() / 9, fit_intercept=False).fit(x, y)
                error += np.square(ridge.predict(vx) - vy).sum()
                coefficients.append(ridge.coef_.T)
            results.append((error, penalty, np.stack(coefficients)))
    _, penalty, weights = min(results, key=lambda result: result[0])
    assert (found.penalty, found.weights.shape) == (penalty, weights.shape)
    np.testing.assert_allclose(found.weights, weights, atol=1e-4)
    seen = torch.tensor(waves(8, seed=5)[None, :, places])
    x = np.c_[(seen - seen[:, -1:])[0].T, np.ones(len(places))]
    expected = [x[c] @ weights[min(c, len(weights) - 1)] for c in range(len(places))]
    np.testing.assert_allclose(found(seen)[0].T, np.array(expected) + seen[0, -1].numpy()[:, None], atol=1e-4)


def test_linear_windows_stay_within_a_series_and_miss_nothing():
    """Two lines of opposite slopes, one with a gap: a window across them, or the gap, would spoil the fit."""
    facts = make_facts(("wind",), lookback=4, horizon=2, season=1, series=("a", "b"))
    up, down = np.arange(40.0)[:, None], np.arange(40.0)[::-1, None] * 5
    up[20] = np.nan
    found, _ = LinearForecast.fitted(history_of(up, down), facts)
    seen = torch.tensor([[1.0, 2, 3, 4], [50, 45, 40, 35]])[..., None]
    np.testing.assert_allclose(found(seen)[..., 0], [[5, 6], [30, 25]], atol=0.05)


def test_a_history_too_short_for_a_linear_map_is_told():
    fit, remark = LinearForecast.fitted(history_of(waves(20)), make_facts())
    assert fit is None
    assert remark.startswith("No baseline linear: no window")


# ---- smoothing


FORMS = {"plain": (None, False), "trend": ("add", False), "season": (None, True), "both": ("add", True)}


@pytest.mark.parametrize(("trend", "seasonal"), FORMS.values(), ids=FORMS)
def test_smoothing_is_that_of_statsmodels(trend, seasonal):
    """With the same first state and parameters."""
    values = waves(24)[:, 0]
    level = values[:6].mean() if seasonal else values[0]
    # Of its errors: beta is alpha times that of the levels' changes.
    fixed = {"smoothing_level": 0.4}
    known = {"initial_level": level}
    if trend:
        known["initial_trend"] = (values[6:12].mean() - values[:6].mean()) / 6
        fixed["smoothing_trend"] = 0.4 * 0.2
    if seasonal:
        known["initial_seasonal"] = values[:6] - level
        fixed["smoothing_seasonal"] = 0.3
    if trend:
        fixed["damping_trend"] = 0.9
    made = ETSModel(
        values, error="add", trend=trend, damped_trend=bool(trend), seasonal="add" if seasonal else None,
        seasonal_periods=6 if seasonal else None, initialization_method="known", **known,
    )  # fmt: skip
    expected = made.smooth(list(fixed.values())).forecast(9)
    given = [0.4, *([0.2, 0.9] if trend else [0, 0]), 0.3 if seasonal else 0]
    parameters = Parameters(given[0], given[1], given[3], given[2], bool(trend), seasonal)
    parameters = torch.tensor([[parameters]], dtype=torch.float64)
    found = smooth(torch.tensor(values)[None, :, None], parameters, 6, 9)
    np.testing.assert_allclose(found[0, :, 0], expected, rtol=1e-9)


def test_smoothing_learns_the_form_of_each_series_and_forecasts_the_whole_history():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(80, 1)), 0)
    facts = make_facts(("wind",), lookback=24, series=("walk", "wave"))
    wave = waves(80)[:, :1]
    found, remark = Smoothing.fitted(history_of(walk, wave), facts)
    assert remark == ""
    forms = [Parameters(*row) for row in found.parameters[:, 0].tolist()]
    assert [form.season for form in forms[:2]] == [0, 1]
    assert forms[0].alpha > 0.7  # of a random walk the last value is the best forecast
    ends = torch.tensor(np.stack([walk[-24:], wave[-24:]]), dtype=torch.float32)
    own = found(ends, torch.tensor([0, 1]))
    np.testing.assert_array_equal(own, found.forecasts[:2])
    fit = ExponentialSmoothing(
        wave[:, 0].astype(np.float32), seasonal="add", seasonal_periods=6, initialization_method="heuristic"
    ).fit()
    np.testing.assert_allclose(own[1, :, 0], fit.forecast(5), rtol=1e-3)
    # Any other window is smoothed by itself; a series never seen, with what most have.
    other = found(ends.flip(0) + 1, torch.tensor([1, 2]))
    assert not np.allclose(other[0] - 1, own[1], atol=1e-3)
    assert other.isfinite().all()


def test_smoothing_of_a_constant_a_short_and_an_empty_series():
    facts = make_facts(("wind",), lookback=3, horizon=2, series=("a", "b", "c"))
    parts = np.full((30, 1), 2.0), np.array([[1.0], [3.0]]), np.full((9, 1), np.nan)
    found, _ = Smoothing.fitted(history_of(*parts), facts)
    seen = torch.tensor([[2.0, 2, 2], [1, 3, 3], [0, 0, 0]])[..., None]
    forecasts = found(seen, torch.tensor([0, 1, 2]))
    assert forecasts.isfinite().all()
    np.testing.assert_allclose(forecasts[0], 2.0, atol=1e-6)
