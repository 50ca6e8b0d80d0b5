"""What a task predicts for a user's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True)
class Answer:
    """A prediction as a table, and how to show it on the screen."""

    table: pd.DataFrame
    title: str
    formats: Mapping[str, str] = field(default_factory=dict)
    """Format of a column's values on the screen, as in ``{"probability": "{:.4f}"}``."""
    file_only: tuple[str, ...] = ()
    """Columns that go to the file only, because they are too many for the screen."""
    remark: str = ""
    """A line below the table."""
