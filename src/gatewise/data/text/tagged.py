"""Sentences with a tag for each word as batches of ids."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
import torch

from gatewise.data.classes import rows_of_missing
from gatewise.data.files import read_text
from gatewise.data.text.by_length import TextsInShares
from gatewise.data.text.columns import LONGEST_WORD, Columns, Sentences, read_columns, read_words
from gatewise.data.text.parts import PARTS
from gatewise.data.text.sentences import TaggedSentences, learnt_tags, targets_of, usual_tags
from gatewise.data.text.tagged_cache import TAGGED_TEXT, Prepared
from gatewise.data.text.tagged_corpora import TAGGED
from gatewise.data.text.typed import check_typed, first_words, typed
from gatewise.data.text.vocabularies import vocabulary_of
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.tag_schemes import SpanScheme, TagScheme
from gatewise.kinds.tagged_text import Separator, TaggedTextFacts, is_sign, looked_up, words_of
from gatewise.kinds.tokens import UNKNOWN
from gatewise.settings import AtLeast, DataFiles, Positive, Word, listed, rule

log = logging.getLogger(__name__)

Corpus = Literal["greek_new_testament"]
COLUMN_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes", ".col", ".tsv", ".annotated")
"""Suffixes of files to predict for that have a word a line; any other has a sentence a line."""
MOST_LISTED = 20
"""Tags or classes in a description."""


@rule
def check_source(corpus: Any, files: Any) -> None:
    """Raise ValueError if there is no text to train on, or two sources of it."""
    if (corpus is None) == (files is None):
        got = "both" if files is not None else "neither"
        raise ValueError(f"give one of corpus ({', '.join(get_args(Corpus))}) and files; got {got}")


@rule
def check_columns(word_column: int, tag_column: int) -> None:
    """Raise ValueError for words and tags in one column."""
    if word_column == tag_column:
        raise ValueError(f"word_column={word_column} and tag_column={tag_column} are one column: name two")


class TaggedText(TextsInShares):
    """Sentences with a tag for each word, split into training, validation and test parts.

    Args:
        corpus: one of ``TAGGED``. Give this or ``files``.
        files: column files, a word a line and a blank line between sentences.
        validation_files, test_files: parts of their own; without one, sentences are held out.
        word_column, tag_column: the columns of words and tags, from 0; -1 is the last.
        separator: what is between the columns.
        comment: what lines that are left out begin with; None: every line is read.
        scheme: how the files say spans, see :mod:`gatewise.kinds.tag_schemes`; a corpus has plain tags.
        tagged_as: how the model says them.
        lowercase, zero_digits: whether words are looked up in lower case, and with every digit as 0; their
            spelling is read as it is.
        min_count: words that occur less often in training become ``<unk>``.
        max_vocabulary: largest size of the vocabulary, with ``<unk>``; None means no limit.
        longest_word: characters that are read of a word, from its start.
        settings: those of :class:`gatewise.data.text.by_length.TextsInShares`; its texts are sentences, and
            its tokens words.
    """

    facts_type = TaggedTextFacts
    baseline = ("baseline of usual tags", "files")
    decided = (
        "scheme",
        "tagged_as",
        "lowercase",
        "zero_digits",
        "min_count",
        "max_vocabulary",
        "longest_word",
    )
    facts: TaggedTextFacts | None
    train_data: TaggedSentences
    validation_data: TaggedSentences
    test_data: TaggedSentences

    def __init__(
        self,
        corpus: Corpus | None = None,
        files: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        word_column: int = 0,
        tag_column: int = -1,
        separator: Separator = "whitespace",
        comment: Word | None = None,
        scheme: TagScheme = "iob2",
        tagged_as: SpanScheme = "iobes",
        lowercase: bool = True,
        zero_digits: bool = True,
        min_count: Positive = 1,
        max_vocabulary: Annotated[int, AtLeast(2)] | None = None,
        longest_word: Positive = 30,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.corpus = corpus
        self.files = {"train": files, "validation": validation_files, "test": test_files}
        self.columns = Columns(word_column, tag_column, separator, comment)
        self.scheme: TagScheme = scheme if corpus is None else "plain"
        self.tagged_as: SpanScheme = tagged_as
        self.lowercase, self.zero_digits = lowercase, zero_digits
        self.min_count, self.max_vocabulary, self.longest_word = min_count, max_vocabulary, longest_word

    def has_own(self, part: str) -> bool:
        return self.files[part] is not None

    def load_test(self) -> None:
        facts = self.facts
        assert facts is not None
        prepared = self._once(["test"], lambda: _numbered({"test": self._read("test")}, facts))
        self.test_data = _data_of("test", prepared)

    def load_all(self) -> None:
        own = [part for part in PARTS if part == "train" or self.has_own(part)]
        prepared = self._once(own, self._prepared)
        self.facts, self.repeated = prepared.facts, prepared.repeated
        self.train_data, self.validation_data, self.test_data = (_data_of(part, prepared) for part in PARTS)
        words = set(prepared.sentences["train"].types)
        self.unseen = {}
        for part in ("validation", "test"):
            is_new = np.array([word not in words for word in prepared.sentences[part].types])
            self.unseen[part] = float(is_new[prepared.sentences[part].ids].mean())

    def _once(self, parts: list[str], make: Callable[[], Prepared]) -> Prepared:
        """The sentences of parts that have sources of their own, prepared or from an earlier start."""

        def files() -> dict[str, list[Path]]:
            return {part: self._paths(part) for part in parts}

        prepared = self.prepared_once(TAGGED_TEXT, files, self._making(), make)
        for line in prepared.told:
            log.warning("%s", line)
        return prepared

    def _making(self) -> dict[str, Any]:
        """The settings that decide what is made of the files."""
        own = {name: getattr(self, name) for name in self.decided}
        return {**own, "columns": asdict(self.columns), "shares": self.shares, "seed": self.seed}

    def _prepared(self) -> Prepared:
        parts = self._parts()
        facts = self.facts or self._make_facts(parts["train"])
        prepared = _numbered(parts, facts)
        train, test = prepared.sentences["train"], prepared.sentences["test"]
        usual = usual_tags(train, prepared.targets["train"], len(facts.tags))
        usual_of = dict(zip(train.types, usual.tolist(), strict=True))
        other = int(np.argmax(facts.tag_counts))
        trained_on = set(map(tuple, train.texts()))
        return replace(
            prepared,
            usual=np.array([usual_of.get(word, other) for word in test.types], np.int64),
            repeated=sum(tuple(text) in trained_on for text in test.texts()),
        )

    def _paths(self, part: str) -> list[Path]:
        """The files that a part is read from, which has a source of its own."""
        if part == "train" and self.corpus is not None:
            return TAGGED[self.corpus].files()
        setting = "files" if part == "train" else f"{part}_files"
        return [self.find(file, setting) for file in self.files[part] or ()]

    def _read(self, part: str) -> Sentences:
        if part == "train" and self.corpus is not None:
            return TAGGED[self.corpus].read()
        return read_columns(self._paths(part), self.columns)

    def _parts(self) -> dict[str, Sentences]:
        """The sentences of each part."""
        parts = {part: self._read(part) for part in PARTS if part == "train" or self.has_own(part)}
        whole = parts["train"]
        count = len(whole.lengths)
        left = np.arange(count)
        for part, drawn, rest in self.held_out(count, parts.keys()):
            if not len(drawn):
                raise ValueError(
                    f"data.{part}_fraction={self.shares[part]} of {count} sentence(s) leaves none for "
                    f"{part}: give more sentences (a blank line ends one), a larger share, or "
                    f"data.{part}_files"
                )
            parts[part], left = whole.selected(drawn), rest
        if not len(left):
            raise ValueError(f"no sentence of {count} is left to train on: give more, or smaller shares")
        if len(left) < count:
            parts["train"] = whole.selected(left)
        return parts

    def _make_facts(self, train: Sentences) -> TaggedTextFacts:
        tags = learnt_tags(train, self.scheme, self.tagged_as)
        if len(tags) < 2:
            raise ValueError(
                f"data.{'corpus' if self.corpus else 'files'}: every word to train on has the tag "
                f"{tags[0]!r}: a tagging needs two or more"
            )
        tagged_as = "plain" if self.scheme == "plain" else self.tagged_as
        targets, _ = targets_of(train, tags, self.scheme, tagged_as)
        seen = Counter(looked_up(word, self.lowercase, self.zero_digits) for word in train.words)
        vocabulary = vocabulary_of(seen, self.min_count, self.max_vocabulary, what="words")
        characters = Counter(unicodedata.normalize("NFC", "".join(train.words)))
        return TaggedTextFacts(
            vocabulary.tokens,
            vocabulary.counts,
            self.lowercase,
            self.zero_digits,
            (UNKNOWN, *sorted(characters)),
            self.longest_word,
            tags,
            tuple(np.bincount(targets, minlength=len(tags)).tolist()),
            self.scheme,
            tagged_as,
            self.columns.word,
            self.columns.tag,
            self.columns.separator,
            self.columns.comment,
        )

    @classmethod
    def read_input(cls, given: Path | str, facts: TaggedTextFacts) -> Input:
        """A sentence in words, or the sentences of a file: a word a line, or with other suffixes one a line.

        Where a column file has tags, a target is the tag's id, or IGNORED if it is none of the training's.
        Raises ValueError if the file cannot be used.
        """
        columns = Columns(facts.word_column, facts.tag_column, facts.separator, facts.comment)
        path = given if isinstance(given, Path) else Path("input")
        if path.suffix.lower() in COLUMN_FILES:
            found = read_words(path, columns)
        else:
            texts = read_text(path).split("\n") if isinstance(given, Path) else [given]
            found = _typed(texts, facts, path)
        data = TaggedSentences(found.numbered(), np.full(len(found.words), IGNORED), facts, with_texts=True)
        unknown = (data.words == 0).sum()
        if unknown:
            log.warning(
                "%d of %d words are not in the vocabulary, read as %s",
                unknown, len(data.words), UNKNOWN,
            )  # fmt: skip
        tags = {"tag in the file": found.tags} if any(found.tags) else {}
        steps = found.words if len(found.lengths) == 1 else ()
        return Input(data[list(range(len(data)))], path.name, tags, steps)

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: TaggedTextFacts) -> Input:
        """A sentence a line, with the words of each that are not in the vocabulary as ``unknown``."""
        found = _typed(lines, facts, Path("input"))
        if len(found.lengths) < len(lines):
            raise ValueError("a line has no word: give at least one")
        data = TaggedSentences(found.numbered(), np.full(len(found.words), IGNORED), facts, with_texts=True)
        known = set(facts.vocabulary)
        unknown = [
            [word for word in dict.fromkeys(text) if facts.looked_up(word) not in known]
            for text in found.texts()
        ]
        return Input(data[list(range(len(data)))], "input", {"unknown": unknown})

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        facts = self.facts
        parts = self.parts()
        rows: dict[str, str | int] = {
            name: f"{len(part):,} sentences, {len(part.words):,} words" for name, part in parts.items()
        }
        lengths = torch.cat([part.lengths for part in parts.values()]).float()
        counts = dict(zip(facts.tags, facts.tag_counts, strict=True))
        what = "tags"
        if facts.spans is not None:
            what, counts = "spans to train on", self._span_counts(facts)
        rows |= {
            what: listed([f"{name} {count:,}" for name, count in counts.items()], MOST_LISTED),
            "words per sentence": f"{int(lengths.min())} to {int(lengths.max())}, half of them up to "
            f"{int(lengths.median())}",
            "scheme": facts.scheme
            if facts.scheme in ("plain", facts.tagged_as)
            else f"{facts.scheme}, learnt as {facts.tagged_as}",
            "vocabulary": len(facts.vocabulary),
            "characters": len(facts.characters),
            "words not in training": ", ".join(f"{s:.2%} of {part}" for part, s in self.unseen.items()),
        }
        rows |= rows_of_missing(parts, self._missing, most=MOST_LISTED)
        if self.repeated:
            rows["also in training"] = f"{self.repeated} of the test sentences, word for word"
        return rows

    def _missing(self, part: TaggedSentences) -> list[str]:
        """Tags, or classes of spans, that training has and a part does not."""
        facts = self.facts
        assert facts is not None
        there = {facts.tags[i] for i in torch.unique(part.targets).tolist()}
        if facts.spans is None:
            return [tag for tag in facts.tags if tag not in there]
        classes = {tag.partition("-")[2] for tag in there}
        return [name for name in facts.spans.names if name not in classes]

    def _span_counts(self, facts: TaggedTextFacts) -> dict[str, int]:
        """How many spans of each class there are to train on: those of B and S."""
        counts: dict[str, int] = {}
        for tag, count in zip(facts.tags, facts.tag_counts, strict=True):
            if tag[:2] in ("B-", "S-"):
                counts[tag[2:]] = counts.get(tag[2:], 0) + count
        return counts

    def save_example(self, folder: Path) -> str:
        del folder  # a few words do not need a file
        assert self.test_data.texts is not None
        words = " ".join(word for word in self.test_data.texts[0] if word.isalnum())
        return typed(first_words(words, 8) or ["..."])


def _numbered(parts: Mapping[str, Sentences], facts: TaggedTextFacts) -> Prepared:
    """Sentences by part as numbers."""
    scheme = cast("TagScheme", facts.scheme)
    read = {part: targets_of(own, facts.tags, scheme, facts.tagged_as) for part, own in parts.items()}
    return Prepared(
        facts,
        {part: own.numbered() for part, own in parts.items()},
        {part: targets for part, (targets, _) in read.items()},
        None,
        [line for _, line in read.values() if line],
    )


def _data_of(part: str, prepared: Prepared) -> TaggedSentences:
    is_test = part == "test"
    return TaggedSentences(
        prepared.sentences[part], prepared.targets[part], prepared.facts, prepared.usual if is_test else None,
        with_texts=is_test,
    )  # fmt: skip


def _typed(texts: Sequence[str], facts: TaggedTextFacts, path: Path) -> Sentences:
    """Sentences split into words; a text without a word is none.

    Signs that are words of their own are left out where the training text has none. Raises ValueError for
    what is no text, or where there is no word at all.
    """
    has_signs = any(is_sign(word) for word in facts.vocabulary)
    rows, lines = [], []
    for number, text in enumerate(texts, start=1):
        check_typed(text, str(path))
        words = [word for word in words_of(text) if has_signs or not is_sign(word)]
        longest = max(map(len, words), default=0)
        if longest > LONGEST_WORD:
            raise ValueError(
                f"{path}:{number}: a word of {longest:,} characters; at most {LONGEST_WORD:,} are read: "
                f"split it"
            )
        if words:
            rows.append(words)
            lines += [number] * len(words)
    if not rows:
        shown = f"input={texts[0]!r}" if path == Path("input") else path
        raise ValueError(f"{shown} has no word: give at least one")
    lengths = np.array([len(row) for row in rows])
    flat = [word for row in rows for word in row]
    return Sentences(flat, [""] * len(flat), lengths, [(0, path)], lines)
