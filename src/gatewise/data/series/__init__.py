"""Time series: windows with a lookback and a horizon."""

from gatewise.data.series.module import SeriesWindows, prediction_window, unscale

__all__ = ["SeriesWindows", "prediction_window", "unscale"]
