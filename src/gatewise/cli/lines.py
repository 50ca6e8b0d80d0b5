"""Texts to predict from, one after the other: a line in, a line out, and a talk at the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Protocol

from rich.text import Text

from gatewise.cli.errors import user_line
from gatewise.launch.streams import say
from gatewise.settings import one_line
from gatewise.tasks.answer import Line
from gatewise.views.plain import plain_console

Ask = Callable[[Sequence[str]], Sequence[Line]]
"""What answers some texts at once; ValueError if it cannot answer one of them."""

LONGEST_LINE = 1_000_000
"""Most characters of a line that is answered."""
MOST_TOLD = 10
"""Lines whose errors are printed; of the others only the number."""
_PIECE = 2**16


class Writer(Protocol):
    """What writes the answer to each line."""

    def add(self, number: int, text: str, answer: Line | str | None) -> None:
        """Write the answer to a line, None where it was blank, or why there is none."""
        ...

    def flush(self) -> bool:
        """Have everything reach its reader; False where nobody reads any more."""
        ...


def answer_lines(source: BinaryIO, ask: Ask, most: int, writer: Writer) -> int:
    """Write an answer to every line of ``source``, one for one, and return how many could not be answered.

    Lines that have arrived together are answered together, up to ``most`` of them; none waits for a later
    one. A blank line is answered by a blank one, and so is a line that cannot be used, whose number and error
    go to stderr.
    """
    number = failed = 0
    for lines in _arriving(source, most):
        texts = [line for line in lines if isinstance(line, str) and line.strip()]
        answers = iter(_answers(texts, ask))
        for line in lines:
            number += 1
            text = line if isinstance(line, str) else ""
            answer: Line | str | None = None
            if not isinstance(line, str) or text.strip():
                found = next(answers) if isinstance(line, str) else line
                answer = str(found) if isinstance(found, ValueError) else found
            if isinstance(answer, str):
                failed += 1
                if failed <= MOST_TOLD:
                    say(f"gatewise: line {number}: {one_line(answer)}")
            writer.add(number, text, answer)
        if not writer.flush():
            break
    return failed


def _answers(texts: Sequence[str], ask: Ask) -> list[Line | ValueError]:
    """The answer to each text, or the error that it alone gives."""
    if not texts:
        return []
    try:
        answers = list(ask(texts))
        for answer in answers:
            answer.check_finite()
    except ValueError as error:
        if user_line(error) is None:
            raise  # a bug, and no fault of the line
        if len(texts) == 1:
            return [error]
        return [answer for text in texts for answer in _answers([text], ask)]
    assert len(answers) == len(texts), f"{len(answers)} answers to {len(texts)} texts"
    return list(answers)


def _arriving(source: BinaryIO, most: int) -> Iterator[list[str | ValueError]]:
    """Lines that have arrived, up to ``most`` at once; a line that is no text is its error."""
    read = getattr(source, "read1", source.read)
    pieces: list[bytes] = []
    size = 0
    whole: list[str | ValueError] = []
    is_first = True
    while piece := read(_PIECE):
        *ended, rest = piece.split(b"\n")
        for end in ended:
            whole.append(_text(b"".join([*pieces, end]), size + len(end), is_first))
            pieces, size, is_first = [], 0, False
        size += len(rest)
        if size <= 4 * LONGEST_LINE:  # what is longer is not answered, and so not kept
            pieces.append(rest)
        for start in range(0, len(whole), most):
            yield whole[start : start + most]
        whole = []
    if size:
        yield [_text(b"".join(pieces), size, is_first)]


def _text(line: bytes, size: int, is_first: bool) -> str | ValueError:
    try:
        text = line.decode() if size <= 4 * LONGEST_LINE else ""
    except UnicodeDecodeError as error:
        return ValueError(
            f"byte 0x{line[error.start]:02x} at offset {error.start} is not UTF-8: send text in UTF-8"
        )
    if max(len(text), size // 4) > LONGEST_LINE:
        return ValueError(f"a line of {size:,} bytes; at most {LONGEST_LINE:,} characters are read: split it")
    if "\0" in text:
        return ValueError("a NUL byte, which no text has")
    return (text.removeprefix("\ufeff") if is_first else text).removesuffix("\r")


def talk(ask: Ask, greeting: str) -> None:
    """Answer what is typed, until an empty line or the end of the input, or Ctrl-C."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - the keys that move within a line, and the lines before
    console = plain_console(soft_wrap=True)
    console.print(Text(greeting, "dim"))
    try:
        while (text := input("> ")).strip():
            (answer,) = _answers([text], ask)
            if isinstance(answer, ValueError):
                console.print(str(answer))
            else:
                console.print(answer.shown or answer.text)
    except (EOFError, KeyboardInterrupt):
        sys.stdout.write("\n")
