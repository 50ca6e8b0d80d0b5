"""Read the columns of text of a Parquet file, with pyarrow (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gatewise.data.parquet import damaged, opened

ROWS = 65_536
"""Rows that are read at once."""


def column_names(path: Path) -> list[str]:
    """The names of a file's columns. Raises ValueError where it cannot be read."""
    with opened(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(
    path: Path, needed: Collection[str], wanted: Collection[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(row from 1, values by column) of every row, for ``needed`` columns and what is there of ``wanted``.

    Text, whole numbers and truth values are read as text, an absent value as an empty one. Raises ValueError
    for a needed column of another type, and for a file that cannot be read.
    """
    import pyarrow as arrow

    with opened(path) as file:
        types = {field.name: field.type for field in file.schema_arrow}
        for name in needed:
            if not _is_readable(types[name]):
                raise ValueError(
                    f"{path}: column {name!r} holds {types[name]}: give text, or whole numbers for labels"
                )
        chosen = [name for name in types if name in needed or (name in wanted and _is_readable(types[name]))]
        row = 0
        try:
            for batch in file.iter_batches(ROWS, columns=chosen):
                values = [list(map(_as_text, column.to_pylist())) for column in batch.columns]
                for entries in zip(*values, strict=True):
                    row += 1
                    yield row, dict(zip(batch.schema.names, entries, strict=True))
        except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(path, error) from error


def _is_readable(kind: Any) -> bool:
    from pyarrow import types

    inside = kind.value_type if types.is_dictionary(kind) else kind
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_boolean)
    return any(test(inside) for test in tests)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
