"""What a task predicts for a person's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Answer:
    """A prediction as a table, and how the screen shows it."""

    table: pd.DataFrame
    title: str
    formats: Mapping[str, str] = field(default_factory=dict)
    """How the values of a column are written on the screen, as in ``{"probability": "{:.4f}"}``."""
    file_only: tuple[str, ...] = ()
    """Columns that are too many for the screen."""
    remark: str = ""
    """A line below the table."""
