"""A table of one series, read as a data frame."""

from pathlib import Path

import pandas as pd

from gatewise.data.series.panel import Roles
from gatewise.data.series.style import Reading
from gatewise.data.series.table import read_table


def read_csv(path: Path, time_column: str, columns=None, reading: Reading | None = None):
    """The columns indexed by time, and the times' format."""
    panel, time_format = read_table(path, Roles(time_column, numbers=columns), reading or Reading())
    return pd.DataFrame(panel.values, index=panel.times, columns=list(panel.columns)), time_format
