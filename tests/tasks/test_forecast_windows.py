"""What single windows of a test show: the chosen ones, anomalies, residuals; also of two processes."""

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_report import ForecastReport
from gatewise.tasks.forecast_windows import autocorrelation, in_time, stride_of

LEVELS = (0.1, 0.5, 0.9)
LOOKBACK, HORIZON = 4, 3
FACTS = SeriesFacts(
    *("t", ("x", "y"), ("x", "y"), "D", LOOKBACK, HORIZON, 1, (5.0, 0.0), (2.0, 1.0)),
    time_format="%d/%m/%Y",
    series=("a", "b"),
)
LENGTHS = {"a": 24, "b": 17}


def everything(stride):
    """All windows ``stride`` apart of two series, forecasts of them, and the values [T, 2] by series."""
    rng = np.random.default_rng(8)
    values = {name: rng.normal(size=(length, 2)) for name, length in LENGTHS.items()}
    values["a"][9, 1] = np.nan
    windows = []
    for number, name in enumerate(FACTS.series):
        dates = pd.date_range("2020-01-30", periods=LENGTHS[name]).strftime("%d/%m/%Y").to_numpy()
        for start in range(0, LENGTHS[name] - LOOKBACK - HORIZON + 1, stride):
            rows = slice(start, start + LOOKBACK + HORIZON)
            windows.append((values[name][rows], dates[rows].astype(str), number, start))
    points = rng.normal(scale=0.3, size=(len(windows), HORIZON, 2))
    return windows, points, values


def batches_of(windows, points, size, ranks=1):
    """The batches of each process: every n-th window of every batch."""
    shares = [[] for _ in range(ranks)]
    for first in range(0, len(windows), size):
        places = np.arange(first, min(first + size, len(windows)))
        for rank, share in enumerate(shares):
            own = places[rank::ranks]
            if not len(own):
                continue
            chosen = np.nan_to_num(np.stack([windows[place][0] for place in own]))
            truth = np.stack([windows[place][0][LOOKBACK:] for place in own])
            batch = WindowBatch(
                torch.tensor(chosen[:, :LOOKBACK]),
                torch.tensor(truth),
                np.stack([windows[place][1] for place in own]),
                series=torch.tensor([windows[place][2] for place in own]),
            )
            quantiles = points[own][..., None] + np.array([-1.0, 0, 1.0])
            share.append((batch, Forecast(torch.tensor(points[own]), torch.tensor(quantiles), LEVELS)))
    return shares


def finished(shares):
    """The report and metrics of each process; ``gather`` is what they see of each other."""
    reports = []
    for rank, share in enumerate(shares):
        report = ForecastReport(FACTS, ("x", "y"), (), rank)
        for batch, forecast in share:
            report.add(batch, forecast, {"zero": torch.zeros_like(batch.targets)})
        reports.append(report)
    states = [(report._sums, report._windows, report._anomalies) for report in reports]
    return reports[0], reports[0].finish(lambda _: states)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_value_outside_of_its_interval_is_listed_once(stride):
    windows, points, values = everything(stride)
    report, metrics = finished(batches_of(windows, points, 4))
    expected, judged = {}, 0
    for number, name in enumerate(FACTS.series):
        own = [k for k, window in enumerate(windows) if window[2] == number]
        for row in range(LOOKBACK, LENGTHS[name]):
            # The last window that begins before it.
            covering = [k for k in own if 0 <= row - windows[k][3] - LOOKBACK < HORIZON]
            if not covering:
                continue
            k = covering[-1]
            step = row - windows[k][3] - LOOKBACK
            for place, target in enumerate(FACTS.targets):
                value, point = values[name][row, place], points[k, step, place]
                judged += not np.isnan(value)
                if abs(value - point) > 1:
                    time = windows[k][1][LOOKBACK + step]
                    expected[name, time, target] = (step + 1, value * (2, 1)[place] + (5, 0)[place])
    table = report.tables()["anomalies"]
    found = {(row.series, row.time, row.target): (row.step, row.value) for row in table.itertuples()}
    assert len(found) == len(table)
    assert found.keys() == expected.keys()
    for key, (step, value) in expected.items():
        assert found[key] == (step, pytest.approx(value)), key
    assert table["beyond"].is_monotonic_decreasing
    (line,) = [line for line in report.remarks() if "outside" in line]
    assert line.startswith(f"{len(expected)} of {judged} values (")
    assert len(report.anomalies().table) == min(5, len(expected))
    assert 0 < metrics["test/coverage_80"] < 1


@pytest.mark.parametrize("size", [4, 5])
def test_two_processes_report_what_one_does(size):
    windows, points, _ = everything(1)
    one, metrics = finished(batches_of(windows, points, size))
    two, others = finished(batches_of(windows, points, size, ranks=2))
    assert others == pytest.approx(metrics, rel=1e-12)
    assert two.remarks() == one.remarks()
    for name, table in one.tables().items():
        pd.testing.assert_frame_equal(two.tables()[name], table)
    for name in ("forecast_residuals", "forecast_calibration"):
        assert str(two.pictures()[name]) == str(one.pictures()[name])
    worst, shown = one.pictures()["forecasts"]["windows"], two.pictures()["forecasts"]["windows"]
    assert [window["times"] for window in shown] == [window["times"] for window in worst]


def test_windows_are_compared_at_their_times():
    windows, points, _ = everything(1)
    report, _ = finished(batches_of(windows, points, 5))
    table = report.tables()["comparison"]
    assert table[["over", "lag", "origins"]].values.tolist() == [["times", 2, 18]]
    places = report._windows.places_in_time()
    first = [window[3] for window in windows]
    assert places.tolist() == first  # both series begin on one day


def test_the_order_of_times():
    assert in_time(np.array(["10", "9", "-2.5"]), None).tolist() == [2, 1, 0]
    assert in_time(np.array(["01/02/2021", "02/01/2021"]), "%d/%m/%Y").tolist() == [1, 0]
    assert in_time(np.array(["2021-01-02 01:00", "2021-01-02"]), None) is not None
    assert in_time(np.array(["2021Q1", "2020Q4"]), "%YQ%q") is None


def test_stride_is_read_off_the_times():
    times = np.array([[f"{start + step:03}" for step in range(7)] for start in (0, 2, 4)])
    assert stride_of(times, np.array([0, 0, 0]), 4) == 2
    assert stride_of(times, np.array([0, 1, 1]), 4) == 2
    assert stride_of(times, np.array([0, 1, 2]), 4) is None
    apart = np.array([[f"{start + step:03}" for step in range(7)] for start in (0, 5)])
    assert stride_of(apart, np.array([0, 0]), 4) == 3  # no step in common


def test_autocorrelation_of_residuals():
    """Of one series as statsmodels has it; never from one series to the next."""
    from statsmodels.tsa.stattools import acf

    residuals = np.random.default_rng(1).normal(size=60).cumsum()
    found, count = autocorrelation(residuals, np.zeros(60, int), 8)
    np.testing.assert_allclose(found, acf(residuals, nlags=8)[1:], rtol=1e-10)
    assert count == 60
    alternating = np.tile([1.0, -1.0], 20)
    found, _ = autocorrelation(np.r_[alternating, alternating], np.r_[np.zeros(40, int), np.ones(40, int)], 1)
    assert found[0] == pytest.approx(-39 / 40)
