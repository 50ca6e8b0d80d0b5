"""What a task predicts for a user's input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
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
    other_formats: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    """What makes the content of a file of a suffix that is not every table's."""

    def check_finite(self) -> None:
        """Raise ValueError, naming the column, where the model has predicted something that is no number."""
        for name in self.table.select_dtypes("number"):
            values = self.table[name].to_numpy(dtype=float)
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ValueError(
                    f"{self.title}: the model's {name} of row {row + 1} is {values[row]}: its weights are of "
                    f"no use, or the input is far from the training data"
                )
