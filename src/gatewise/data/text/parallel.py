"""Texts and their translations as batches of token ids."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.data.text.by_length import TextsInShares
from gatewise.data.text.documents import LONGEST_TEXT, read_unlabelled
from gatewise.data.text.pairs import Pairs, read_files, read_tables
from gatewise.data.text.parallel_cache import PARALLEL_TEXT
from gatewise.data.text.parallel_corpora import PARALLEL
from gatewise.data.text.parallel_prepared import Making, Prepared, prepare, scored_pairs
from gatewise.data.text.parallel_set import Numbers, TextPairs, numbered
from gatewise.data.text.parts import PARTS
from gatewise.data.text.typed import check_typed, first_words, typed
from gatewise.kinds.kind import Input
from gatewise.kinds.parallel_text import UNKNOWN_ID, UNNAMED, Language, ParallelTextFacts, Units
from gatewise.kinds.tokens import Normalization
from gatewise.settings import AtLeast, DataFiles, Fraction, Positive, Word, rule

log = logging.getLogger(__name__)

T = TypeVar("T")
Corpus = Literal["kjv_bbe", "cmudict"]


@rule
def check_source(corpus: Any, files: Any, source_files: Any, target_files: Any) -> None:
    """Raise ValueError if there is no text to train on, or more than one source of it."""
    if (source_files is None) != (target_files is None):
        missing = "source_files" if source_files is None else "target_files"
        raise ValueError(f"source_files and target_files belong together: give {missing} too")
    given = {"corpus": corpus, "files": files, "source_files and target_files": source_files}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(
            f"give one of corpus ({', '.join(get_args(Corpus))}), files (tables with a column for each "
            f"language), or source_files and target_files (line n of one is line n of the other); got "
            f"{' and '.join(chosen) or 'none of them'}"
        )


@rule
def check_parts(
    corpus: Any,
    validation_files: Any, validation_source_files: Any, validation_target_files: Any,
    test_files: Any, test_source_files: Any, test_target_files: Any,
) -> None:  # fmt: skip
    """Raise ValueError for a part that has one side only, or two sources."""
    parts = {
        "validation": (validation_files, validation_source_files, validation_target_files),
        "test": (test_files, test_source_files, test_target_files),
    }
    for part, (tables, sources, targets) in parts.items():
        if (sources is None) != (targets is None):
            missing = f"{part}_{'source' if sources is None else 'target'}_files"
            raise ValueError(
                f"{part}_source_files and {part}_target_files belong together: give {missing} too"
            )
        if tables is not None and sources is not None:
            raise ValueError(
                f"{part}_files and {part}_source_files are two sources of one part: give one of them"
            )
        if corpus is not None and (tables is not None or sources is not None):
            raise ValueError(f"corpus={corpus} has a {part} part of its own: set {part} files to null")


@rule
def check_units(source_units: str, target_units: str, joint: bool, vocabulary_size: int | None) -> None:
    """Raise ValueError for subwords without a size, and for a vocabulary of two kinds of units."""
    if joint and source_units != target_units:
        raise ValueError(
            f"joint=true makes one vocabulary of both languages, but source_units={source_units} and "
            f"target_units={target_units}: set joint=false or the same units"
        )
    if vocabulary_size is None and "subword" in (source_units, target_units):
        raise ValueError("subwords need a vocabulary_size, such as 8000: it says how long they become")


@rule
def check_header(header: bool, source_column: str, target_column: str) -> None:
    """Raise ValueError for names of columns that nothing names."""
    named = {"source_column": (source_column, "source"), "target_column": (target_column, "target")}
    wrong = [f"{name}={value}" for name, (value, default) in named.items() if value != default]
    if wrong and not header:
        raise ValueError(
            f"{wrong[0]}: with header=false no line names the columns: leave it out (reverse=true swaps the "
            f"sides)"
        )


@rule
def check_direction(corpus: Any, reverse: bool) -> None:
    """Raise ValueError for the direction in which a text has no answer of its own."""
    if corpus == "cmudict" and reverse:
        raise ValueError("corpus=cmudict goes from letters to sounds, of which a word may have several: set "
                         "reverse=false")  # fmt: skip


class ParallelText(TextsInShares):
    """Texts and their translations, split into training, validation and test parts.

    Args:
        corpus: one of ``PARALLEL``, with a split of its own. Give this, ``files``, or the next two.
        source_files, target_files: plain text, ``.gz`` or not; line n of one is line n of the other.
        files: or tables (``.csv``, ``.tsv``, ``.jsonl``) with a column for each language.
        validation_source_files, validation_target_files, validation_files, test_source_files,
            test_target_files, test_files: parts of their own; without one, a share is held out.
        source_column, target_column: the columns of tables.
        header: whether the first line of a CSV or TSV table names its columns; if not, the first column has
            the sources and the second the targets.
        source_language, target_language: names to show.
        reverse: whether to read the targets and write the sources.
        validation_fraction, test_fraction: shares of all pairs to hold out, drawn with the seed.
        source_units, target_units: ``subword``, ``word``, ``whitespace`` (for text that is split already) or
            ``char``. Subwords are trained on the training part only.
        joint: whether both languages have one vocabulary.
        vocabulary_size: largest size of each vocabulary, or of the joint one, special tokens counted.
        min_count: words or characters that occur less often in training become ``<unk>``.
        lowercase, normalize: the case and the Unicode normal form in which texts are read and written.
        max_length: pairs of which one side has more tokens are not trained on; others are never left out.
        batch_size: pairs of a step at most, over all processes.
        settings: the others of :class:`gatewise.data.text.by_length.TextsInShares`; its tokens are those of
            the longer side.
    """

    facts_type = ParallelTextFacts
    decided = (
        "source_units",
        "target_units",
        "joint",
        "vocabulary_size",
        "min_count",
        "lowercase",
        "normalize",
        "reverse",
    )
    lines_at_once = 32
    facts: ParallelTextFacts | None
    train_data: TextPairs
    validation_data: TextPairs
    test_data: TextPairs

    def __init__(
        self,
        corpus: Corpus | None = None,
        source_files: DataFiles | None = None,
        target_files: DataFiles | None = None,
        files: DataFiles | None = None,
        validation_source_files: DataFiles | None = None,
        validation_target_files: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        test_source_files: DataFiles | None = None,
        test_target_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        source_column: Word = "source",
        target_column: Word = "target",
        header: bool = True,
        source_language: Word = "source",
        target_language: Word = "target",
        reverse: bool = False,
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        source_units: Units = "subword",
        target_units: Units = "subword",
        joint: bool = True,
        vocabulary_size: Annotated[int, AtLeast(4)] | None = 8000,
        min_count: Positive = 1,
        lowercase: bool = False,
        normalize: Normalization | None = "NFC",
        max_length: Positive | None = None,
        batch_size: Positive = 64,
        **settings: Any,
    ) -> None:
        super().__init__(validation_fraction, test_fraction, batch_size=batch_size, **settings)
        self.corpus = corpus
        self.sources = {
            "train": (files, source_files, target_files),
            "validation": (validation_files, validation_source_files, validation_target_files),
            "test": (test_files, test_source_files, test_target_files),
        }
        self.reverse = reverse
        self.columns = (source_column, target_column)
        self.making = Making(
            _ordered(source_language, target_language, reverse),
            _ordered(source_units, target_units, reverse),
            _ordered(source_column, target_column, reverse),
            joint,
            vocabulary_size,
            min_count,
            lowercase,
            normalize,
            max_length,
            header,
        )

    def has_own(self, part: str) -> bool:
        return any(self.sources[part])

    def load_test(self) -> None:
        assert self.facts is not None
        facts = self.facts
        prepared = self._once(
            ["test"], lambda: Prepared(facts, {"test": scored_pairs(self._read("test"), facts)}, {})
        )
        self.test_data = prepared.parts["test"]

    def load_all(self) -> None:
        known, setting = self.facts, self._setting("train")
        prepared = self._once(PARTS, lambda: prepare(self._parts(), self.making, known, setting))
        self.facts, self.told = prepared.facts, prepared.told
        self.train_data, self.validation_data, self.test_data = (prepared.parts[name] for name in PARTS)

    def _once(self, parts: Sequence[str], make: Callable[[], Prepared]) -> Prepared:
        """Some parts, prepared or from an earlier start."""

        def files() -> dict[str, list[Path]]:
            if self.corpus is not None:
                return {"corpus": PARALLEL[self.corpus].files()}
            named = ((part, self._files(part)) for part in parts)
            return {f"{part} {name}": paths for part, own in named for name, paths in own.items()}

        split = [self.corpus, self.reverse, self.shares, self.seed]
        return self.prepared_once(PARALLEL_TEXT, files, [asdict(self.making), split], make)

    def _files(self, part: str) -> dict[str, list[Path]]:
        """The files of a part by setting, without its prefix."""
        prefix = "" if part == "train" else f"{part}_"
        return {
            name: [self.find(file, f"{prefix}{name}") for file in files]
            for name, files in zip(("files", "source_files", "target_files"), self.sources[part], strict=True)
            if files is not None
        }

    def _read(self, part: str) -> Pairs:
        files = self._files(part)
        if "files" in files:
            pairs = read_tables(files["files"], *self.columns, () if self.making.header else UNNAMED)
        else:
            pairs = read_files(files["source_files"], files["target_files"])
        return pairs.reversed() if self.reverse else pairs

    def _setting(self, part: str) -> str:
        tables, _, _ = self.sources[part]
        name = "files" if tables is not None else "source_files"
        if part == "train":
            return "corpus" if self.corpus else name
        return f"{part}_{name}"

    def _parts(self) -> dict[str, Pairs]:
        if self.corpus is not None:
            parts = PARALLEL[self.corpus].read()
            return {name: pairs.reversed() for name, pairs in parts.items()} if self.reverse else parts
        parts = {part: self._read(part) for part in PARTS if part == "train" or self.has_own(part)}
        whole = parts["train"]
        left = np.arange(len(whole))
        for part, drawn, rest in self.held_out(len(whole), parts.keys()):
            if not len(drawn) or not len(rest):
                raise ValueError(
                    f"data.{part}_fraction={self.shares[part]} of {len(whole)} pairs leaves none for {part} "
                    f"or to train on: give more pairs, or another share"
                )
            parts[part], left = whole.select(drawn.tolist()), rest
        parts["train"] = whole.select(left.tolist())
        return parts

    @staticmethod
    def draw(left: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        return left[generator.permutation(len(left))[:count]]

    @classmethod
    def read_input(cls, given: Path | str, facts: ParallelTextFacts) -> Input:
        """One text in words, or the lines of a file or rows of a table, blank ones too.

        A table has a header where those of the training had one. If it has a column of targets, they are the
        references. Raises ValueError if the file cannot
        be used; words outside the vocabulary are logged.
        """
        if isinstance(given, Path):
            unnamed = () if facts.header else UNNAMED
            found = read_unlabelled(given, facts.source_column, facts.target_column, unnamed)
            return _input(found.texts, facts, given.name, found.labels)
        return cls.read_lines([given], facts)

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: ParallelTextFacts) -> Input:
        """Texts to translate together. Raises ValueError for one that is no text."""
        for line in lines:
            check_typed(line, most=60)
            if len(line) > LONGEST_TEXT:
                raise ValueError(f"a text of {len(line):,} characters: split it into sentences")
        return _input([" ".join(line.splitlines()) for line in lines], facts, "input")

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        facts = self.facts
        parts = self.parts()
        rows: dict[str, str | int] = {f"{name} pairs": len(part) for name, part in parts.items()}
        for side in ("source", "target"):
            language: Language = getattr(facts, side)
            numbers: Numbers = getattr(self.train_data, side)
            how = [language.units, "lower case" if facts.lowercase else "", facts.normalize]
            rows[f"{side}"] = (
                f"{language.name}: {', '.join(word for word in how if word)}; half of the texts have up to "
                f"{int(np.median(numbers.lengths)) - 1} tokens, all up to {int(numbers.lengths.max()) - 1}"
            )
        sizes = [len(facts.source_vocabulary), len(facts.target_vocabulary)]
        rows["vocabulary"] = f"{sizes[0]}, joint" if facts.joint else f"{sizes[0]} and {sizes[1]}"
        for name, part in list(parts.items())[1:]:
            unknown = [float((numbers.ids == UNKNOWN_ID).mean()) for numbers in (part.source, part.target)]
            if any(unknown):
                shares = f"{unknown[0]:.2%} of the source, {unknown[1]:.2%} of the target"
                rows[f"unknown in {name}"] = shares
        told = self.told
        if told["unpaired"]:
            rows["not trained on"] = f"{told['unpaired']} pair(s) with an empty side"
        if told["too_long"]:
            longest = self.making.max_length
            rows["left out"] = f"{told['too_long']} training pair(s) of more than {longest} tokens"
        if told["repeated"]:
            rows["also in training"] = f"{told['repeated']} of the test pairs, word for word"
        return rows

    def save_example(self, folder: Path) -> str:
        del folder  # a few words do not need a file
        assert self.test_data.pairs is not None
        return typed(first_words(next(filter(str.strip, self.test_data.pairs.sources), ""), 12))


def _ordered(first: T, second: T, reverse: bool) -> tuple[T, T]:
    return (second, first) if reverse else (first, second)


def _input(
    texts: Sequence[str], facts: ParallelTextFacts, name: str, targets: Sequence[str] | None = None
) -> Input:
    """Texts to predict from, with their translations where those are known."""
    pairs = Pairs(list(texts), [(each,) for each in targets or [""] * len(texts)])
    source = numbered(pairs.sources, facts.source)
    target = numbered([right for (right,) in pairs.references], facts.target)
    unknown = int((source.ids == UNKNOWN_ID).sum())
    if unknown:
        log.warning("%d of %d tokens are not in the vocabulary", unknown, len(source.ids) - len(texts))
    batch = TextPairs(source, target, facts, pairs)[list(range(len(texts)))]
    return Input(batch if targets is not None else batch._replace(references=None), name)
