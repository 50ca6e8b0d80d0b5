"""Answers as they are written for other programs: text, CSV, JSON and JSONL."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gatewise.runs.files import json_text
from gatewise.settings import one_line
from gatewise.tasks.answer import Answer, Line, plain_values

Format = Literal["text", "csv", "jsonl", "json", "conll"]
_BREAKS_OR_MOVES = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What would end a line, or what a terminal obeys; other characters belong to texts of some script."""


def as_lines(answers: Sequence[Line]) -> str:
    """The answers to several texts, a line each."""
    return "".join(f"{as_text(answer.text)}\n" for answer in answers)


def written(answer: Answer, form: Literal["csv", "json", "jsonl", "conll"]) -> str:
    """The table of an answer."""
    if form == "conll":
        return _columns(answer)
    if form == "csv":
        return answer.table.to_csv(index=False, lineterminator="\n")
    columns = {str(name): plain_values(answer.table[name]) for name in answer.table.columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json_text(rows) if form == "json" else "".join(f"{_object(row)}\n" for row in rows)


def _columns(answer: Answer) -> str:
    """A word a line, its tag behind a tab, and a blank line after each sentence."""
    assert answer.sentence_ends is not None, "an answer of words and tags"
    ends = set(answer.sentence_ends)
    pairs = zip(answer.table["word"], answer.table["tag"], strict=True)
    return "".join(
        f"{word}\t{tag}\n" + "\n" * (number in ends) for number, (word, tag) in enumerate(pairs, start=1)
    )


def as_text(text: str) -> str:
    """A text as one line, which moves no cursor."""
    return _BREAKS_OR_MOVES.sub(lambda match: one_line(match[0]), text)


def _object(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, allow_nan=False)


class LineWriter:
    """Writes the answer to one line after the other, in the form ``text``, ``csv`` or ``jsonl``.

    ``csv`` and ``jsonl`` have the number of each line and its text before the answer. ``write`` takes bytes;
    ``flush`` says whether anybody still reads them.
    """

    def __init__(self, form: Format, write: Callable[[bytes], object], flush: Callable[[], bool]) -> None:
        assert form not in ("json", "conll"), (
            "a JSON file is one list, and a column file has no lines of texts"
        )
        self.form, self._write, self.flush = form, write, flush
        self._columns: list[str] | None = None
        self._waiting: list[tuple[int, str]] = []
        """Lines without an answer that came before the first answer, which says what the columns are."""

    def add(self, number: int, text: str, answer: Line | str | None) -> None:
        """Write the answer to a line: None where it was blank, or why there is none."""
        if self.form == "text":
            self._put(as_text(answer.text) if isinstance(answer, Line) else "")
        elif self.form == "jsonl":
            values: Mapping[str, Any] = {} if answer is None else {"error": answer}
            if isinstance(answer, Line):
                values = answer.values
            self._put(_object({"line": number, "text": text, **values}))
        elif isinstance(answer, Line):
            self._begin(["line", "text", *(name for name in answer.values if name != "text")])
            self._put_row({"line": number, "text": text, **answer.values})
        elif self._columns is None:
            self._waiting.append((number, text))
        else:
            self._put_row({"line": number, "text": text})

    def close(self) -> None:
        """Write what has waited for an answer that never came."""
        if self.form == "csv":
            self._begin(["line", "text"])

    def _begin(self, columns: list[str]) -> None:
        if self._columns is None:
            self._columns = columns
            self._put(_record(columns))
            for number, text in self._waiting:
                self._put_row({"line": number, "text": text})
            self._waiting = []

    def _put_row(self, values: Mapping[str, Any]) -> None:
        assert self._columns is not None
        assert set(values) <= set(self._columns), "the same columns for every line"
        self._put(_record([_cell(values.get(name)) for name in self._columns]))

    def _put(self, line: str) -> None:
        self._write(f"{line}\n".encode(errors="backslashreplace"))


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, tuple, dict)) else value


def _record(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    # Python quotes the line ends that it writes itself, and no others.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")
