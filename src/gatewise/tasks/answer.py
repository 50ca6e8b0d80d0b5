"""What a task predicts for a user's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def table_of(columns: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table of columns by name, or of rows; pandas is imported only where there is one."""
    import pandas as pd

    return pd.DataFrame(columns)


@dataclass(frozen=True)
class Line:
    """The answer to one text of several: for a line in, a line out."""

    text: str
    """As one line of text; a line break in it is written out as ``\\n``, and tabs may part it."""
    values: Mapping[str, Any]
    """Plain values, or lists of them, by column: the same columns for every text."""
    shown: str = ""
    """For a person, in one line or several; else ``text`` is shown."""

    def check_finite(self) -> None:
        """Raise ValueError, naming the column, where the model has predicted something that is no number."""
        for name, value in self.values.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            wrong = [v for v in values if isinstance(v, float) and not np.isfinite(v)]
            if wrong:
                raise ValueError(
                    f"the model's {name} is {wrong[0]}: its weights are of no use, or the input is far from "
                    f"the training data"
                )


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
    given: tuple[str, ...] = ()
    """Columns that are no prediction but of the input, of which some cells may be empty."""
    picture: tuple[str, Any] | None = None
    """The name of a picture, as in a task's report, and what it is drawn from; None where there is none."""
    shaded: tuple[tuple[str, float], ...] = ()
    """A text in pieces, each with how strongly a terminal marks it, from 0 to 1."""
    sentence_ends: tuple[int, ...] | None = None
    """Where rows are words with the columns ``word`` and ``tag``: how many of them precede each end."""

    def check_finite(self) -> None:
        """Raise ValueError, naming the column, where the model has predicted something that is no number."""
        for name in self.table.select_dtypes("number").columns.difference(list(self.given), sort=False):
            values = self.table[name].to_numpy(dtype=float)
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ValueError(
                    f"{self.title}: the model's {name} of row {row + 1} is {values[row]}: its weights are of "
                    f"no use, or the input is far from the training data"
                )

    def as_line(self) -> Line:
        """The whole table as the answer to one text: its only row, or a list for each column."""
        values = {str(name): plain_values(self.table[name]) for name in self.table.columns}
        parts = []
        for name, column in values.items():
            if name not in self.file_only:
                style = self.formats.get(name, "{}")
                parts.append(" ".join("" if value is None else style.format(value) for value in column))
        if len(self.table) == 1:
            return Line("\t".join(parts), {name: column[0] for name, column in values.items()})
        return Line("\t".join(parts), values)


def plain_values(column: pd.Series[Any]) -> list[Any]:
    """The cells of a column as JSON has them; what is no number, text or truth value as CSV has it."""
    values = column.astype(object).where(column.notna(), None).to_list()
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    return [v if isinstance(v, (str, int, float, bool, type(None))) else str(v) for v in values]
