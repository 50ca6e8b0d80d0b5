"""Pictures of a forecast's test, read back from the figures."""

import numpy as np
import pytest

from gatewise.views.pictures import forecast_calibration, forecast_errors, forecast_residuals, forecasts


@pytest.fixture
def figures(figures, monkeypatch):
    """Those of these pictures, too."""
    for picture in (forecast_calibration, forecast_errors, forecast_residuals):

        def keep(path, figure, save=picture.write_picture):
            figures.append(figure)
            save(path, figure)

        monkeypatch.setattr(picture, "write_picture", keep)
    return figures


def lines(axes):
    """The points of each line by its label."""
    return {line.get_label(): list(zip(*map(list, line.get_data()), strict=True)) for line in axes.lines}


def test_forecasts_have_their_interval_and_their_name(tmp_path, figures, size):
    window = {"seen": [[1.0], [2.0]], "truth": [[3.0], [4.0]], "forecast": [[2.5], [3.5]]}
    window |= {"lower": [[1.5], [2.0]], "upper": [[3.0], [None]], "interval": 80, "series": "north"}
    data = {"targets": ["x"], "windows": [window | {"name": name} for name in ("worst", "median", "best")]}
    forecasts.draw(data, tmp_path / "f.png", "mine")
    assert size(tmp_path / "f.png") == (1512, 384)
    assert [axes.get_title() for axes in figures[0].axes] == [
        f"{name} window, north" for name in ("worst", "median", "best")
    ]
    (band,) = figures[0].axes[0].collections
    assert band.get_label() == "80 % interval"
    points = {tuple(point) for point in band.get_paths()[0].vertices}
    assert {(1, 1.5), (1, 3.0)} <= points


def test_errors_by_step_put_the_model_first_and_cut_off_what_is_far_worse(tmp_path, figures):
    errors = {"this run": [1.0, 2.0], "a": [1.0, 3.0], "b": [2.0, 2.0], "drift": [5.0, 80.0]}
    forecast_errors.draw({"mse": errors, "mae": {"this run": [0.5, None]}}, tmp_path / "e.png", "mine")
    first, second = figures[0].axes
    assert lines(first) == {name: [(1, e[0]), (2, e[1])] for name, e in errors.items()}
    assert first.get_ylim() == (0, 2.5 * np.median([2, 3, 2, 80]))
    assert first.lines[0].get_linewidth() > first.lines[1].get_linewidth()
    assert np.isnan(second.lines[0].get_ydata()[1])


@pytest.mark.parametrize("intervals", [{"50": 0.4, "80": 0.85}, {}], ids=["intervals", "median"])
def test_calibration_draws_what_is_observed_over_what_is_nominal(intervals, tmp_path, figures):
    data = {"levels": [0.1, 0.5], "below": [0.2, None], "intervals": intervals}
    forecast_calibration.draw(data, tmp_path / "c.png", "mine")
    below, *others = figures[0].axes
    assert below.lines[1].get_xdata().tolist() == [0.1, 0.5]
    assert below.lines[1].get_ydata()[0] == 0.2
    assert len(others) == bool(intervals)
    for axes in others:
        assert axes.lines[1].get_xydata().tolist() == [[0.5, 0.4], [0.8, 0.85]]
        assert [text.get_text() for text in axes.texts] == ["40 %", "85 %"]


def test_residuals_stand_in_the_band_of_white_noise(tmp_path, figures):
    data = {"autocorrelation": {"x": [0.5, None, -0.1], "y": [0.0] * 3}, "band": 0.2, "stride": 2}
    forecast_residuals.draw(data, tmp_path / "r.png", "mine")
    first, second = figures[0].axes
    assert [axes.get_ylabel() for axes in (first, second)] == ["x", "y"]
    assert first.get_xlabel() == "lag, in windows 2 steps apart"
    (sticks,) = first.collections
    assert sticks.get_segments()[0].tolist() == [[1, 0], [1, 0.5]]
    assert first.get_ylim() == pytest.approx((-0.575, 0.575))
