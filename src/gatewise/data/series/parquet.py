"""Read the columns of a Parquet file of series."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from gatewise.data.parquet import damaged, opened

PARQUET = (".parquet", ".pq")
"""How the name of a Parquet file ends."""


def read_parquet(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """All columns, indexed by the row from 1, and the columns without a name, of which there are none.

    Text, and what is no number, time or truth value, is text (dtype object), empty where it is missing.
    Raises ValueError for a file that cannot be read.
    """
    import pyarrow as arrow

    with opened(path) as file:
        try:
            frame: pd.DataFrame = file.read().to_pandas(ignore_metadata=True, date_as_object=False)
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(path, error) from error
    if not len(frame):
        raise ValueError(f"{path} holds no row")
    frame.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    for name in frame.columns:
        column = frame[name]
        typed = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)
        if not typed:
            text = [str(value).strip() for value in column.astype(object).where(column.notna(), "")]
            frame[name] = pd.Series(text, frame.index, dtype=object)
    return frame.set_index(pd.RangeIndex(1, len(frame) + 1)), []
