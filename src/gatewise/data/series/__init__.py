"""Time series: windows with a lookback and a horizon."""

from gatewise.data.series.module import SeriesWindows

__all__ = ["SeriesWindows"]
