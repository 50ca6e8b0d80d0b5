"""Read sentences from column files: a word a line with its tag, as in CoNLL's shared tasks.

A blank line ends a sentence, and so does a line that begins with ``-DOCSTART-``, which is no word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import read_text
from gatewise.data.flat import places_of
from gatewise.data.text.tokenized import Tokenized
from gatewise.settings.checks import shown

DOCUMENT = "-DOCSTART-"
"""What the first word of a document is called, which stands for no word."""
LONGEST_WORD = 10_000
"""Most characters of a word: a longer one is no column of a word."""
_SEPARATORS = {"whitespace": None, "tab": "\t", "space": " "}


@dataclass(frozen=True)
class Columns:
    """How a column file is written: which column has the words (from 0; -1 is the last), and which the tags.

    Lines that begin with ``comment`` are left out.
    """

    word: int
    tag: int
    separator: str
    comment: str | None

    def width(self) -> int:
        """Columns that a line needs at least, so that the word and the tag are two of them."""
        one, other = sorted((self.word, self.tag))
        if one < 0 <= other:
            return other - one + 1
        return max(other + 1, -one)


@dataclass(frozen=True)
class Sentences:
    """N words in S sentences, one after the other, with their tags, and where each was read."""

    words: list[str]
    tags: list[str]
    lengths: NDArray[np.int64]
    """[S]: words of each sentence, at least one."""
    files: list[tuple[int, Path]]
    """The number of the first word of each run of words from one file, and the file."""
    lines: list[int]
    """[N]: the line of each word."""

    @property
    def begins(self) -> NDArray[np.bool_]:
        """[N]: which words are the first of a sentence."""
        begins = np.zeros(len(self.words), bool)
        begins[self.lengths.cumsum() - self.lengths] = True
        return begins

    def place(self, word: int) -> str:
        """``file:line`` of a word, for messages."""
        file = next(path for first, path in reversed(self.files) if first <= word)
        return f"{file}:{self.lines[word]}"

    def selected(self, sentences: NDArray[np.int64]) -> Sentences:
        """Some of the sentences, in this order."""
        starts = self.lengths.cumsum() - self.lengths
        lengths = self.lengths[sentences]
        words = places_of(starts[sentences], lengths).tolist()
        first = np.array([place for place, _ in self.files])
        of_file = np.searchsorted(first, words, "right") - 1
        changes = np.flatnonzero(np.diff(of_file, prepend=-1)).tolist()
        return Sentences(
            [self.words[i] for i in words],
            [self.tags[i] for i in words],
            lengths,
            [(place, self.files[of_file[place]][1]) for place in changes],
            [self.lines[i] for i in words],
        )

    def numbered(self) -> Tokenized:
        """The words as numbers."""
        number: dict[str, int] = {}
        ids = np.fromiter(
            (number.setdefault(word, len(number)) for word in self.words), np.int32, len(self.words)
        )
        return Tokenized(tuple(number), ids, self.lengths)

    def texts(self) -> list[list[str]]:
        """The words of each sentence."""
        ends = self.lengths.cumsum().tolist()
        return [self.words[start:end] for start, end in zip([0, *ends][:-1], ends, strict=True)]


def read_columns(paths: Sequence[Path], columns: Columns) -> Sentences:
    """The sentences of column files.

    Raises ValueError, with file and line, where a line has too few columns or an empty one, a file is no
    text, or it has no word.
    """
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    files: list[tuple[int, Path]] = []
    ends: list[int] = []
    for path in paths:
        rows, numbers, gaps = _rows(path, columns, columns.width())
        if not rows:
            raise ValueError(f"{path} holds no word: fill it, or leave it out")
        files.append((len(words), path))
        ends += (gaps + len(words)).tolist()
        words += [row[columns.word] for row in rows]
        tags += [row[columns.tag] for row in rows]
        lines += numbers
    found = Sentences(words, tags, np.diff(ends, prepend=0).astype(np.int64), files, lines)
    _check_cells(found)
    return found


def read_words(path: Path, columns: Columns) -> Sentences:
    """The sentences of a column file to predict for, which may have the words alone: then all tags are ""."""
    rows, numbers, ends = _rows(path, columns, columns.word + 1 if columns.word >= 0 else -columns.word)
    if not rows:
        raise ValueError(f"{path} holds no word: give at least one")
    words = [row[columns.word] for row in rows]
    tags = [""] * len(rows)
    if min(map(len, rows)) >= columns.width():
        tags = [row[columns.tag] for row in rows]
    found = Sentences(words, tags, np.diff(ends, prepend=0).astype(np.int64), [(0, path)], numbers)
    _check_cells(found, tagged=False)
    return found


def _rows(path: Path, columns: Columns, width: int) -> tuple[list[list[str]], list[int], NDArray[np.int64]]:
    """(The columns of each word, its line, how many words there are up to each sentence's end) of a file.

    Raises ValueError, with the line, for fewer than ``width`` columns, or fewer than the first line has; and
    for more of them where columns are counted from the last.
    """
    comment = columns.comment
    content = read_text(path).split("\n")
    is_word = np.array([bool(line.strip()) and not line.startswith(DOCUMENT) for line in content])
    is_left_out = np.zeros(len(content), bool)
    if comment is not None:
        is_left_out[:] = [line.startswith(comment) for line in content]
    numbers = np.flatnonzero(is_word & ~is_left_out)
    rows = [content[number].split(_SEPARATORS[columns.separator]) for number in numbers.tolist()]
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    wrong = sizes < max(width, sizes[0] if len(rows) else 0)
    if min(columns.word, columns.tag) < 0:
        wrong |= sizes != sizes[:1]
    if wrong.any():
        _refuse(path, content, numbers, sizes, int(np.flatnonzero(wrong)[0]), columns, width)
    up_to = (is_word & ~is_left_out).cumsum()
    # At every gap and at the end; of several gaps in a row the first.
    ends = np.unique(np.append(up_to[~is_word & ~is_left_out], up_to[-1]))
    return rows, (numbers + 1).tolist(), ends[ends > 0]


def _refuse(
    path: Path, content: list[str], numbers: NDArray[np.int64], sizes: NDArray[np.int64], row: int,
    columns: Columns, width: int,
) -> NoReturn:  # fmt: skip
    """Raise ValueError for a word's line that has too few columns, or too many."""
    line = int(numbers[row])
    why = f"data.word_column={columns.word} and data.tag_column={columns.tag} need {width}"
    if sizes[row] >= width:
        why = f"line {numbers[0] + 1} has {sizes[0]}"
    between = {"whitespace": "white space", "tab": "a tab", "space": "a space"}[columns.separator]
    raise ValueError(
        f"{path}:{line + 1}: {sizes[row]} column(s) in {shown(content[line])}, but {why}, separated by "
        f"{between}: correct the line, or set data.separator"
    )


def _check_cells(sentences: Sentences, tagged: bool = True) -> None:
    """Raise ValueError for a word or tag that is empty, or a word that is far too long."""
    cells = {"word": sentences.words, "tag": sentences.tags} if tagged else {"word": sentences.words}
    for name, values in cells.items():
        empty = next((place for place, value in enumerate(values) if not value.strip()), None)
        if empty is not None:
            raise ValueError(f"{sentences.place(empty)}: the {name} is empty: fill it in")
    odd = next((place for place, tag in enumerate(sentences.tags) if not tag.isprintable()), None)
    if odd is not None:
        raise ValueError(
            f"{sentences.place(odd)}: the tag {shown(sentences.tags[odd])} has a character that cannot be "
            f"seen: remove it"
        )
    long = next((place for place, word in enumerate(sentences.words) if len(word) > LONGEST_WORD), None)
    if long is not None:
        raise ValueError(
            f"{sentences.place(long)}: a word of {len(sentences.words[long]):,} characters; at most "
            f"{LONGEST_WORD:,} are read: separate its columns"
        )
