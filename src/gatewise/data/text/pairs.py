"""Read parallel text: two files of which each line is one's translation of the other's, or tables.

two files           plain text, ``.gz`` or not; line n of one is line n of the other.
``.csv``, ``.tsv``  a header line with the names of the columns, then a pair a row, quoted as usual; or no
                    header, and the two texts in the first columns.
``.jsonl``          an object a line, as in ``{"source": "...", "target": "..."}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewise.data.files import read_text
from gatewise.data.text.documents import LONGEST_TEXT
from gatewise.data.text.tables import TABLES, table_rows


@dataclass(frozen=True)
class Pairs:
    """Texts and their translations, in the order in which they were read."""

    sources: list[str]
    references: list[tuple[str, ...]]
    """Every right translation of each text, the first of them that of the file."""

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, indices: Sequence[int]) -> Pairs:
        """Some of the pairs, in this order."""
        return Pairs([self.sources[i] for i in indices], [self.references[i] for i in indices])

    def reversed(self) -> Pairs:
        """The texts as translations of their translations, of which each has one."""
        return Pairs([reference for (reference,) in self.references], [(source,) for source in self.sources])

    def filled(self) -> Pairs:
        """The pairs that have text on both sides."""
        pairs = enumerate(zip(self.sources, self.references, strict=True))
        return self.select([i for i, (text, right) in pairs if text.strip() and all(map(str.strip, right))])

    def each_reference(self) -> Pairs:
        """A pair for every translation, so that all of them are learnt from."""
        return Pairs(
            [text for text, right in zip(self.sources, self.references, strict=True) for _ in right],
            [(each,) for right in self.references for each in right],
        )


def read_files(source_paths: Sequence[Path], target_paths: Sequence[Path]) -> Pairs:
    """The pairs of files, the first with the first and so on, one pair a line.

    Raises ValueError, with files and numbers, where files or lines do not match, or a file is empty.
    """
    if len(source_paths) != len(target_paths):
        raise ValueError(
            f"{len(source_paths)} files of sources ({_names(source_paths)}) and {len(target_paths)} of "
            f"targets ({_names(target_paths)}): give one of targets for each of sources, in the same order"
        )
    sources: list[str] = []
    targets: list[str] = []
    for source_path, target_path in zip(source_paths, target_paths, strict=True):
        own, theirs = read_lines(source_path), read_lines(target_path)
        if len(own) != len(theirs):
            raise ValueError(
                f"{source_path} has {len(own):,} lines and {target_path} has {len(theirs):,}: every line "
                f"needs its translation on the same line of the other file"
            )
        sources += own
        targets += theirs
    return Pairs(sources, [(target,) for target in targets])


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, blank ones too; ValueError where all are blank or one is no line of text."""
    content = read_text(path)
    if not content.strip():
        raise ValueError(f"{path} holds no text: fill it, or leave it out")
    lines = content.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        check_length(line, path, number)
    return lines


def read_tables(
    paths: Sequence[Path], source_column: str, target_column: str, unnamed: Sequence[str] = ()
) -> Pairs:
    """The pairs of tables, one a row; ``unnamed`` are the first columns of tables without a header, in order.

    Raises ValueError, with file and line, where one cannot be read.
    """
    way = ", or set data.header=false where the first line is a pair already"
    needed = {source_column: "source_column", target_column: "target_column"}
    pairs = Pairs([], [])
    for path in paths:
        if path.suffix.lower() not in TABLES:
            raise ValueError(
                f"{path} is no table ({', '.join(TABLES)}): name plain text files with source_files and "
                f"target_files"
            )
        before = len(pairs)
        for line, row in table_rows(path, needed, (), unnamed, way):
            for column in needed:
                check_length(row[column], path, line)
            pairs.sources.append(_as_line(row[source_column]))
            pairs.references.append((_as_line(row[target_column]),))
        if len(pairs) == before:
            raise ValueError(f"{path} holds no pair below the names of its columns: fill it, or leave it out")
    return pairs


def check_length(text: str, path: Path, line: int) -> None:
    """Raise ValueError, with file and line, for a text that is too long for a sentence."""
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"{path}:{line}: a line of {len(text):,} characters; at most {LONGEST_TEXT:,} are read: split it"
        )


def _as_line(text: str) -> str:
    """A text of a table as one line, as a line comes out for each."""
    return " ".join(text.splitlines())


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths) or "none"
