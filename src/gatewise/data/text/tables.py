"""The rows of tables as text: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from gatewise.data.files import read_text
from gatewise.data.text.parquet import column_names, parquet_rows
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def table_rows(
    path: Path,
    needed: Mapping[str, str],
    wanted: Collection[str] = (),
    unnamed: Sequence[str] = (),
    way: str = "",
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, values by column) of every row; of a Parquet file, the row's number from 1.

    ``needed`` are the columns that it must have, each with the setting that names it, or "" where a training
    has said it; ``wanted`` those that are read where they are there. A CSV or TSV file has a header; or it
    has none, and ``unnamed`` is what its first columns are called, in order.

    Raises ValueError, with file and line, where the file does not follow its format, or lacks a column; for a
    CSV or TSV file the line ends with another ``way`` to read it.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _check_columns(path, column_names(path), needed)
        return parquet_rows(path, needed, wanted)
    content = read_text(path)
    if suffix in (".jsonl", ".ndjson"):
        return _objects(path, content, needed)
    return _records(path, content, needed, "\t" if suffix == ".tsv" else ",", unnamed, way)


def _records(
    path: Path, content: str, needed: Mapping[str, str], delimiter: str, unnamed: Sequence[str], way: str
) -> Iterator[tuple[int, dict[str, str]]]:
    before = csv.field_size_limit(len(content) + 1)  # the length of a text is checked where it is known
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        header = list(unnamed)
        least = max((place for place, name in enumerate(header, start=1) if name in needed), default=0)
        start = 1
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                what = "quotes open here and do not close" if "end of data" in str(error) else str(error)
                raise ValueError(f"{path}:{start}: {what}: correct the quotes of this row") from None
            if row is None:
                break
            if not row:
                continue
            if not header:
                header = [name.strip() for name in row]
                _check_columns(f"{path}:{start}", header, needed, way)
                continue
            if unnamed and len(row) < least:
                raise ValueError(
                    f"{path}:{start}: {len(row)} column(s), but data.header=false reads the first "
                    f"{least}: fill the row, or correct what is between its columns"
                )
            if not unnamed and len(row) != len(header):
                mend = "fill the row" if len(row) < len(header) else "quote a text that holds the separator"
                raise ValueError(
                    f"{path}:{start}: {len(row)} column(s), but the header has {len(header)}: {mend}"
                )
            yield start, dict(zip(header, row, strict=not unnamed))
        if not header:
            raise ValueError(f"{path} is empty: it has to begin with the names of its columns")
    finally:
        csv.field_size_limit(before)


def _objects(path: Path, content: str, needed: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    # split, not splitlines: a text may hold other characters that end a line.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not an object of JSON ({error}): correct the line") from None
        if not isinstance(entry, dict):
            raise ValueError(f"{path}:{number}: not an object such as {{...}} but {shown(entry)}")
        _check_columns(f"{path}:{number}", list(entry), needed)
        values: dict[str, str] = {}
        for name, value in entry.items():
            if isinstance(value, (int, str)):
                values[name] = str(value).lower() if isinstance(value, bool) else str(value)
            elif name in needed:
                raise ValueError(
                    f"{path}:{number}: {name!r} must be text, got {json.dumps(value)[:40]}: correct the line"
                )
        if any("\ud800" <= character <= "\udfff" for name in needed for character in values[name]):
            raise ValueError(f"{path}:{number}: half a surrogate pair, which no text has: correct the escape")
        yield number, values


def _check_columns(
    place: Path | str, columns: Sequence[str], needed: Mapping[str, str], way: str = ""
) -> None:
    for name, setting in needed.items():
        if name not in columns:
            mend = f"name one with data.{setting}" if setting else "the training's is called so, rename yours"
            raise ValueError(
                f"{place}: no column {name!r}{did_you_mean(name, columns)}; it has "
                f"{shown(', '.join(columns))}: {mend}{way}"
            )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice in needed:
        raise ValueError(f"{place}: two columns are called {twice!r}: rename one")
