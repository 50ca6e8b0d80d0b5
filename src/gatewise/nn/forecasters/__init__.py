"""From windows of series to forecasts, with any encoder."""
