"""Read labelled texts: tables (CSV, TSV, JSONL, Parquet), a file for each class, or a folder for each class.

``.csv``, ``.tsv``  a header line with the names of the columns, then a text a row, quoted as usual.
``.jsonl``          an object a line, as in ``{"text": "...", "label": "..."}``.
``.parquet``        the same columns; messages call its rows by their number, from 1.
other files         a text a line; the class is what tells the files' names apart.
a folder            one folder for each class in it, with a file for each text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewise.data.files import read_text
from gatewise.data.text.tables import TABLES, table_rows
from gatewise.settings.checks import shown

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
    answers: list[list[str]] | None = None
    """Where there are several columns of labels: the values [N] of each."""

    def place(self, index: int) -> str:
        """``file:line`` of a text, for messages."""
        line = self.lines[index]
        return f"{self.files[index]}:{line}" if line else str(self.files[index])


class _Collected:
    """Documents in the making, each checked as it comes."""

    def __init__(self, may_be_empty: bool = False) -> None:
        self.found, self.may_be_empty = Documents([], [], [], []), may_be_empty

    def add(self, text: str, label: str, file: Path, line: int) -> None:
        found = self.found
        found.texts.append(text)
        found.files.append(file)
        found.lines.append(line)
        assert found.labels is not None
        found.labels.append(label)
        if not text.strip():
            raise ValueError(f"{found.place(-1)}: the text is empty: fill it in or drop it")
        if "\0" in text:
            raise ValueError(f"{found.place(-1)}: the text has a NUL, which no text has: remove it")
        if len(text) > LONGEST_TEXT:
            raise ValueError(
                f"{found.place(-1)}: a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are read: "
                f"split it, or close the quotes that opened before it"
            )
        if not (self.may_be_empty or label.strip()):
            raise ValueError(f"{found.place(-1)}: the label is empty: label the text or drop it")
        if not label.isprintable():
            raise ValueError(
                f"{found.place(-1)}: the label {shown(label)} has a character that cannot be seen: remove it"
            )


def read_files(
    paths: Sequence[Path], text_column: str, label_column: str, may_be_empty: bool = False
) -> Documents:
    """The texts of tables, or of files of which each is a class; ``may_be_empty`` is about the labels.

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
    collected = _Collected(may_be_empty)
    for path in paths:
        for line, row in table_rows(path, {text_column: "text_column", label_column: "label_column"}):
            collected.add(row[text_column], row[label_column], path, line)
        if path not in collected.found.files:
            raise ValueError(f"{path} holds no text below the names of its columns: fill it, or leave it out")
    return collected.found


def read_unlabelled(
    path: Path, text_column: str, label_column: str, unnamed: Sequence[str] = ()
) -> Documents:
    """The texts of a table, with its labels where it has them, or a text a line of another file.

    Blank lines are texts too, so that a prediction has a row for each. ``unnamed`` is what the first columns
    of a table are called that has no header.
    """
    found = Documents([], None, [], [])
    labels: list[str] = []
    if path.suffix.lower() in TABLES:
        for line, row in table_rows(path, {text_column: ""}, [label_column], unnamed):
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
    collected = _Collected()
    for place in classes:
        files = [entry for entry in inside(place) if entry.is_file()]
        if not files:
            raise ValueError(f"{place} holds no file: fill the folder of this class, or remove it")
        for file in files:
            collected.add(read_text(file), place.name, file, 0)
    return collected.found


def _class_files(paths: Sequence[Path]) -> Documents:
    collected = _Collected()
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
