"""Read labelled texts: tables (CSV, TSV, JSONL), a file for each class, or a folder for each class.

``.csv``, ``.tsv``  a header line with the names of the columns, then a text a row, quoted as usual.
``.jsonl``          an object a line, as in ``{"text": "...", "label": "..."}``.
other files         a text a line; the class is what tells the files' names apart.
a folder            one folder for each class in it, with a file for each text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewise.data.files import read_text
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
LONGEST_TEXT = 1_000_000
"""Most characters of a text: a longer one is no text of a list, or its quotes do not close."""


@dataclass(frozen=True)
class Documents:
    """Texts with their labels, and where each was read."""

    texts: list[str]
    labels: list[str] | None
    """None where a table has no column of labels (for a prediction)."""
    files: list[Path]
    lines: list[int]
    """The line on which each text begins; 0 for a file that is one text."""

    def place(self, index: int) -> str:
        """``file:line`` of a text, for messages."""
        line = self.lines[index]
        return f"{self.files[index]}:{line}" if line else str(self.files[index])


class _Collected:
    """Documents in the making, each checked as it comes."""

    def __init__(self, labelled: bool) -> None:
        self.found = Documents([], [] if labelled else None, [], [])

    def add(self, text: str, label: str | None, file: Path, line: int) -> None:
        found = self.found
        found.texts.append(text)
        found.files.append(file)
        found.lines.append(line)
        if found.labels is not None:
            found.labels.append(label or "")
        if not text.strip():
            raise ValueError(f"{found.place(-1)}: the text is empty: fill it in or drop it")
        if len(text) > LONGEST_TEXT:
            raise ValueError(
                f"{found.place(-1)}: a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are read: "
                f"split it, or close the quotes that opened before it"
            )
        if found.labels is not None and not (label and label.strip()):
            raise ValueError(f"{found.place(-1)}: the label is empty: label the text or drop it")
        if label is not None and not label.isprintable():
            raise ValueError(
                f"{found.place(-1)}: the label {shown(label)} has a character that cannot be seen: remove it"
            )


def read_files(paths: Sequence[Path], text_column: str, label_column: str) -> Documents:
    """The texts of tables, or of files of which each is a class.

    Raises ValueError, with file and line, where a file does not follow its format, a text is empty or a
    label is missing.
    """
    tables = [path for path in paths if path.suffix.lower() in TABLES]
    if not tables:
        return _class_files(paths)
    if len(tables) < len(paths):
        other = next(path for path in paths if path not in tables)
        raise ValueError(
            f"{other} is no table, and {tables[0]} is one: give tables ({', '.join(TABLES)}) or a file for "
            f"each class"
        )
    collected = _Collected(labelled=True)
    for path in paths:
        for line, row in _rows(path, text_column, label_column):
            collected.add(row[text_column], row[label_column], path, line)
        if path not in collected.found.files:
            raise ValueError(f"{path} holds no text below the names of its columns: fill it, or leave it out")
    return collected.found


def read_unlabelled(path: Path, text_column: str, label_column: str) -> Documents:
    """The texts of a table, with its labels where it has them, or a text a line of another file.

    Blank lines are texts too, so that a prediction has a row for each.
    """
    found = Documents([], None, [], [])
    labels: list[str] = []
    if path.suffix.lower() in TABLES:
        for line, row in _rows(path, text_column, None):
            found.texts.append(row[text_column])
            found.lines.append(line)
            labels.append(row.get(label_column, ""))
    else:
        content = read_text(path)
        found.texts.extend(content.removesuffix("\n").split("\n") if content else [])
        found.lines.extend(range(1, len(found.texts) + 1))
    if not found.texts:
        raise ValueError(f"{path} holds no text: give at least one")
    for line, text in zip(found.lines, found.texts, strict=True):
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"{path}:{line}: a text of {len(text):,} characters: split it")
    return Documents(found.texts, labels if any(labels) else None, [path] * len(found.texts), found.lines)


def read_folder(folder: Path) -> Documents:
    """The texts of a folder that holds a folder for each class, with a file for each text.

    Raises ValueError, with the file, for an empty text; names that begin with a point are left out.
    """

    def inside(place: Path) -> list[Path]:
        return sorted(entry for entry in place.iterdir() if not entry.name.startswith("."))

    classes = [entry for entry in inside(folder) if entry.is_dir()]
    if not classes:
        raise ValueError(f"{folder} holds no folder: it has to have one for each class, with the texts in it")
    collected = _Collected(labelled=True)
    for place in classes:
        files = [entry for entry in inside(place) if entry.is_file()]
        if not files:
            raise ValueError(f"{place} holds no file: fill the folder of this class, or remove it")
        for file in files:
            collected.add(read_text(file), place.name, file, 0)
    return collected.found


def _class_files(paths: Sequence[Path]) -> Documents:
    collected = _Collected(labelled=True)
    for path, name in zip(paths, class_names(paths), strict=True):
        content = read_text(path).removesuffix("\n")
        if not content.strip():
            raise ValueError(f"{path} holds no text: fill it, or leave it out")
        for number, line in enumerate(content.split("\n"), start=1):
            collected.add(line, name, path, number)
    return collected.found


def class_names(paths: Sequence[Path]) -> list[str]:
    """The class of each file: its stem, or where the stems are the same its suffix, or else its name."""
    for names in ([path.stem for path in paths], [path.suffix[1:] for path in paths]):
        if len(set(names)) == len(names) and all(names):
            return names
    return [path.name for path in paths]


def _rows(path: Path, text_column: str, label_column: str | None) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, values by column) of every row; ``label_column`` None: it may be missing."""
    needed = {"text_column": text_column}
    if label_column is not None:
        needed["label_column"] = label_column
    return rows_of(path, needed)


def rows_of(path: Path, needed: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, values by column) of every row of a table.

    ``needed`` has the columns that must be there, by the settings that name them. Raises ValueError, with
    file and line, where one is missing or the table does not follow its format.
    """
    content = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _objects(path, content, needed)
    return _records(path, content, needed, "\t" if path.suffix.lower() == ".tsv" else ",")


def _records(
    path: Path, content: str, needed: dict[str, str], delimiter: str
) -> Iterator[tuple[int, dict[str, str]]]:
    before = csv.field_size_limit(len(content) + 1)  # the length of a text is checked where it is known
    try:
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        header: list[str] | None = None
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
            if header is None:
                header = [name.strip() for name in row]
                _check_columns(path, header, needed)
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"{path}:{start}: {len(row)} columns, but the header has {len(header)}: quote a text "
                    f"that holds the separator"
                )
            yield start, dict(zip(header, row, strict=True))
        if header is None:
            raise ValueError(f"{path} is empty: it has to begin with the names of its columns")
    finally:
        csv.field_size_limit(before)


def _objects(path: Path, content: str, needed: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
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
            elif name in needed.values():
                raise ValueError(f"{path}:{number}: {name} must be text, got {shown(value)}")
        texts = "".join(values[name] for name in needed.values())
        if any("\ud800" <= character <= "\udfff" for character in texts):
            raise ValueError(f"{path}:{number}: half a surrogate pair, which no text has: correct the escape")
        yield number, values


def _check_columns(place: Path | str, columns: Sequence[str], needed: dict[str, str]) -> None:
    for setting, name in needed.items():
        if name not in columns:
            raise ValueError(
                f"{place}: no column {name!r}{did_you_mean(name, columns)}; it has "
                f"{shown(', '.join(columns))}: name one with data.{setting}"
            )
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice in needed.values():
        raise ValueError(f"{place}: two columns are called {twice!r}: rename one")
