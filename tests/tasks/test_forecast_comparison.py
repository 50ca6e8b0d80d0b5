"""The Diebold-Mariano test, against the same in plain loops and known behaviour."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t

from gatewise.tasks.forecast_comparison import DieboldMariano, compared, diebold_mariano, in_words


def reference(d, h):
    """Harvey, Leybourne & Newbold (1997) with Bartlett weights, written out."""
    n, mean = len(d), sum(d) / len(d)
    gamma = [sum((d[i] - mean) * (d[i - k] - mean) for i in range(k, n)) / n for k in range(h)]
    variance = gamma[0] + 2 * sum((1 - k / h) * gamma[k] for k in range(1, h))
    statistic = mean / (variance / n) ** 0.5 * ((n + 1 - 2 * h + h * (h - 1) / n) / n) ** 0.5
    return statistic, 2 * t.cdf(-abs(statistic), n - 1)


@pytest.mark.parametrize(("n", "h"), [(30, 1), (40, 6), (200, 24)])
def test_statistic_and_p(n, h):
    d = np.random.default_rng(n).normal(0.2, 1, n).cumsum() / 5
    found = diebold_mariano(d, h - 1)
    statistic, p = reference(d, h)
    assert (found.statistic, found.p, found.origins) == (pytest.approx(statistic), pytest.approx(p), n)
    # statsmodels' Newey-West error of a mean, without Harvey's factor.
    fit = sm.OLS(d, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": h - 1, "use_correction": False})
    factor = ((n + 1 - 2 * h + h * (h - 1) / n) / n) ** 0.5
    assert found.statistic == pytest.approx(fit.tvalues[0] * factor)


def test_it_is_right_about_as_often_as_it_says():
    """Of forecasts equally good, whose errors overlap by 4 steps, about 5 % have p < .05."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(600, 203))
    overlapping = np.stack([noise[:, k : k + 200] for k in range(4)]).mean(0)
    small = np.mean([diebold_mariano(d, 3).p < 0.05 for d in overlapping])
    assert 0.03 < small < 0.11  # Bartlett weights are known to reject a little too often
    assert np.mean([diebold_mariano(d, 0).p < 0.05 for d in overlapping]) > 0.2


def test_too_few_or_equal_differences_say_nothing():
    assert diebold_mariano(np.arange(20.0), 20) is None
    assert diebold_mariano(np.full(50, 0.3), 2) is None
    assert diebold_mariano(np.arange(9.0), 0) is None


def test_many_series_are_compared_by_their_mean_at_each_time():
    rng = np.random.default_rng(0)
    times, series = np.tile(np.arange(60), 12), np.repeat(np.arange(12), 60)
    d = rng.normal(size=(12, 60)) + rng.normal(size=60)  # what all series have in common
    found = compared(d.ravel(), series, times, 2)
    assert found == diebold_mariano(d.mean(0), 2, "times")
    shuffled = rng.permutation(720)
    assert compared(d.ravel()[shuffled], series[shuffled], times[shuffled], 2).p == pytest.approx(found.p)
    # One window of each series: they are independent.
    one = compared(d[:, 0], np.arange(12), np.zeros(12, int), 5)
    assert one == diebold_mariano(d[:, 0], 0, "series")
    # A window without any truth is left out.
    gap = np.r_[d[0], np.nan]
    assert compared(gap, np.zeros(61, int), None, 2) == diebold_mariano(d[0], 2)


BEST = "drift, the best baseline: MSE"
SAID = {
    "better": (
        *(0.88, DieboldMariano(-3.0, 0.003, 600, 11, "windows")),
        f"Better than {BEST} lower by 12 % (Diebold-Mariano -3.00 over 600 windows, p = .003)",
    ),
    "worse": (
        *(1.05, DieboldMariano(2.5, 0.0001, 2000, 0, "series")),
        f"Worse than {BEST} higher by 5.0 % (Diebold-Mariano 2.50 over 2,000 series, p < .001)",
    ),
    "not clear": (
        *(0.99, DieboldMariano(-0.5, 0.617, 60, 0, "times")),
        f"Not clearly better than {BEST} lower by 1.0 % (Diebold-Mariano -0.50 over 60 times, p = .617)",
    ),
    "much worse": (
        *(1234.0, None),
        f"Beside {BEST[:-4]} MSE 1.23e+03 times as high; too few windows to say whether by chance",
    ),
    "too few": (0.5, None, f"Beside {BEST} lower by 50 %; too few windows to say whether by chance"),
}


@pytest.mark.parametrize(("own", "test", "words"), SAID.values(), ids=SAID)
def test_the_result_in_words(own, test, words):
    assert in_words("drift", own, 1.0, test) == words
