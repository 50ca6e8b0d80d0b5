"""A line in, a line out: whatever the lines are, however they arrive, and whoever reads the answers."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.cli.lines import LONGEST_LINE, answer_lines, talk
from gatewise.tasks.answer import Line
from gatewise.views.written_answers import Format, LineWriter

Ask = Callable[[Sequence[str]], list[Line]]


def upper(texts: Sequence[str]) -> list[Line]:
    """A task that writes in capitals, and cannot read a Z."""
    assert all(text.strip() for text in texts)
    if any("Z" in text for text in texts):
        raise ValueError("no Z, please")
    return [Line(text.upper(), {"capitals": text.upper(), "length": len(text)}) for text in texts]


def answered(
    content: bytes, form: Format = "text", ask: Ask = upper, most: int = 3, source: io.BytesIO | None = None
) -> tuple[str, int]:
    """What is written for these bytes, and how many lines failed."""
    out: list[bytes] = []
    writer = LineWriter(form, out.append, lambda: True)
    failed = answer_lines(source or io.BytesIO(content), ask, most, writer)
    writer.close()
    return b"".join(out).decode(), failed


class Dripping(io.BytesIO):
    """Arrives in pieces of a few bytes."""

    def read1(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002
        return super().read1(3)


# U+0085 and the like end a line for some programs, and a lone \r does for others.
LINES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\n\0Z", exclude_categories=["Cs"]), max_size=12),
        st.sampled_from(["", " ", "\t", "a Z", "\x85", "a\rb", "\u2028", "\ufeffa", "\x1b[31m"]),
        st.sampled_from([b"\xff", b"a\xc3", b"\0", b"a\0b"]),
    ),
    max_size=12,
)


@given(LINES, st.booleans(), st.booleans(), st.integers(1, 5), st.sampled_from(["text", "jsonl", "csv"]))
def test_every_line_has_its_answer_in_its_place(
    lines: list[str | bytes], is_ended: bool, drips: bool, most: int, form: Format
) -> None:
    parts = [line if isinstance(line, bytes) else line.encode() for line in lines]
    content = b"\n".join(parts) + (b"\n" if is_ended and parts else b"")
    shown = content.decode(errors="replace").split("\n")
    if not shown[-1]:
        shown.pop()
    source = Dripping(content) if drips else io.BytesIO(content)
    out, failed = answered(content, form, most=most, source=source)
    assert out == "" or out.endswith("\n")
    if form == "text":
        found = out.split("\n")[:-1]
    elif form == "jsonl":
        rows = [json.loads(line) for line in out.split("\n")[:-1]]
        assert [row["line"] for row in rows] == list(range(1, len(rows) + 1))
        found = [row.get("capitals", "") for row in rows]
    else:
        table = list(csv.DictReader(io.StringIO(out, newline="")))
        assert [int(row["line"]) for row in table] == list(range(1, len(table) + 1))
        found = [row.get("capitals", "") for row in table]
    assert len(found) == len(shown)
    bad = 0
    for number, (line, answer) in enumerate(zip(shown, found, strict=True)):
        raw = content.split(b"\n")[number]
        text = line.removeprefix("\ufeff" if number == 0 else "").removesuffix("\r")
        is_bad = b"\0" in raw or raw.decode(errors="ignore").encode() != raw or ("Z" in text and text.strip())
        bad += bool(is_bad)
        if is_bad or not text.strip():
            assert answer == ""
        elif form != "text" or text.isprintable():
            assert answer == text.upper()
        assert "\x1b" not in out or form == "csv"
    assert failed == bad


def test_a_bad_line_leaves_the_others_of_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    out, failed = answered(b"a\nZ\nb\n\nc\nZZ")
    assert (out, failed) == ("A\n\nB\n\nC\n\n", 2)
    assert capsys.readouterr().err == "gatewise: line 2: no Z, please\ngatewise: line 6: no Z, please\n"
    rows = [json.loads(line) for line in answered(b"Z\na\n", "jsonl")[0].split("\n")[:-1]]
    assert rows == [
        {"line": 1, "text": "Z", "error": "no Z, please"},
        {"line": 2, "text": "a", "capitals": "A", "length": 1},
    ]


def test_only_the_first_errors_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert answered(b"Z\n" * 50)[1] == 50
    assert len(capsys.readouterr().err.splitlines()) == 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a\xffb", "byte 0xff at offset 1 is not UTF-8"),
        (b"a\0b", "a NUL byte"),
        (b"x" * (LONGEST_LINE + 1), "a line of 1,000,001 bytes; at most 1,000,000 characters are read"),
        (b"x" * (12 * LONGEST_LINE), "a line of 12,000,000 bytes"),
    ],
    ids=["not UTF-8", "NUL", "long", "longer"],
)
def test_lines_that_are_no_text(line: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, failed = answered(b"a\n" + line + b"\nb")
    assert (out, failed) == ("A\n\nB\n", 1)
    assert f"gatewise: line 2: {message}" in capsys.readouterr().err


def test_a_table_without_an_answer_has_its_lines() -> None:
    assert answered(b"\n\n", "csv")[0] == "line,text\n1,\n2,\n"
    assert answered(b"", "csv")[0] == "line,text\n"
    assert answered(b"\nZ\na\n", "csv")[0] == "line,text,capitals,length\n1,,,\n2,Z,,\n3,a,A,1\n"


def test_what_has_arrived_is_answered_before_more_comes() -> None:
    """Each line is sent only after the answer to the one before has been read."""
    question, to_ask = os.pipe()
    to_read, answer = os.pipe()

    def work() -> None:
        with os.fdopen(question, "rb") as source, os.fdopen(answer, "wb") as sink:
            writer = LineWriter("text", sink.write, lambda: sink.flush() is None)
            answer_lines(source, upper, 8, writer)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    with os.fdopen(to_ask, "wb", buffering=0) as asking, os.fdopen(to_read, "rb") as reading:
        for text in ("one", "", "two"):
            asking.write(f"{text}\n".encode())
            assert reading.readline() == f"{text.upper()}\n".encode()
        asking.write(b"three\nfour\n")
        assert [reading.readline() for _ in range(2)] == [b"THREE\n", b"FOUR\n"]
    thread.join(10)
    assert not thread.is_alive()


def test_lines_that_came_together_are_asked_about_together() -> None:
    batches = []

    def ask(texts: Sequence[str]) -> list[Line]:
        batches.append(len(texts))
        return upper(texts)

    assert answered(b"a\nb\n\nc\nd\n", ask=ask, most=4)[0] == "A\nB\n\nC\nD\n"
    assert batches == [3, 1]


def test_nobody_reads_any_more() -> None:
    left = [2]

    def flush() -> bool:
        left[0] -= 1
        return left[0] > 0

    out: list[bytes] = []
    assert answer_lines(io.BytesIO(b"a\n" * 1000), upper, 1, LineWriter("text", out.append, flush)) == 0
    assert out == [b"A\n"] * 2


def test_an_answer_that_is_no_number_is_the_fault_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    def ask(texts: Sequence[str]) -> list[Line]:
        return [Line(text, {"p": [0.5, float("nan" if text == "b" else 1)]}) for text in texts]

    assert answered(b"a\nb\nc\n", ask=ask) == ("a\n\nc\n", 1)
    assert "line 2: the model's p is nan" in capsys.readouterr().err


def test_a_bug_is_not_taken_for_a_bad_line() -> None:
    def ask(texts: Sequence[str]) -> list[Line]:
        return [Line(str(int(text)), {}) for text in texts]  # Python's own ValueError

    with pytest.raises(ValueError, match="invalid literal"):
        answered(b"a\n", ask=ask)


@pytest.mark.parametrize("end", ["", EOFError, KeyboardInterrupt])
def test_a_talk_goes_on_until_an_empty_line_or_the_end(
    end: str | type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["hello", "a Z", "\x1b[31mred", end])

    def type_in(prompt: str) -> str:
        assert prompt == "> "
        word = next(typed)
        if isinstance(word, str):
            return word
        raise word

    monkeypatch.setattr("builtins.input", type_in)
    talk(upper, "write")
    out = capsys.readouterr().out
    assert out.split("\n")[:4] == ["write", "HELLO", "no Z, please", "\\x1b[31MRED"]
