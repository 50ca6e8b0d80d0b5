"""Texts with a class each as batches of token ids."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from gatewise.data.files import find_folder
from gatewise.data.module import SequenceDataModule
from gatewise.data.text.buckets import LengthBuckets
from gatewise.data.text.corpora import LABELLED
from gatewise.data.text.described import described, shares_of
from gatewise.data.text.documents import Documents, read_files, read_folder, read_unlabelled
from gatewise.data.text.log_ratios import SplitRatios, with_counts
from gatewise.data.text.naive_bayes import NaiveBayesLogistic
from gatewise.data.text.parts import parts_of, strata_of
from gatewise.data.text.texts import TextsOfClasses, check_tokens, classes_of, targets_of
from gatewise.data.text.tokenized import Tokenized, tokenized
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.labelled_text import LabelledTextFacts
from gatewise.kinds.tokens import UNKNOWN, Normalization, TokenizerName, Vocabulary, make_tokenizer
from gatewise.settings import (
    AtLeast,
    Count,
    DataFiles,
    Folder,
    Folders,
    Fraction,
    Positive,
    Word,
    rule,
    split_fractions,
)

log = logging.getLogger(__name__)

Corpus = Literal["king_james_verses"]
MOST_LINEAR = 50
"""Most classes for which the linear baseline is trained: one model for each."""


@rule
def check_source(
    corpus: Any, files: Any, folder: Any, validation_files: Any, validation_folder: Any, test_files: Any,
    test_folder: Any,
) -> None:  # fmt: skip
    """Raise ValueError if there is no text to train on, or more than one source of a part."""
    sources = {"corpus": corpus, "files": files, "folder": folder}
    chosen = [name for name, value in sources.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(
            f"give one of corpus ({', '.join(get_args(Corpus))}), files (a table, or a file for each class) "
            f"and folder (one folder in it for each class); got {' and '.join(chosen) or 'none of them'}"
        )
    for part, given in (
        ("validation", (validation_files, validation_folder)), ("test", (test_files, test_folder))
    ):  # fmt: skip
        if None not in given:
            raise ValueError(f"{part}_files and {part}_folder are two sources of one part: give one")


@rule
def check_split(
    validation_fraction: float, test_fraction: float, fold: Any, folds: Any, test_files: Any, test_folder: Any
) -> None:
    """Raise ValueError if no text is left to train on, or the test part is said twice."""
    if fold is None:
        split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)
        return
    if fold >= folds:
        raise ValueError(f"fold={fold} of folds={folds}: give a number from 0 to {folds - 1}")
    if test_files is not None or test_folder is not None:
        raise ValueError(f"fold={fold} is a test part, and so are test_files and test_folder: give one")
    split_fractions(f"to train on beside a fold of {folds}", validation_fraction=validation_fraction,
                    one_fold=1 / folds)  # fmt: skip


class LabelledText(SequenceDataModule):
    """Texts with a class each, split into training, validation and test parts.

    Args:
        corpus: one of ``LABELLED``. Give this, ``files`` or ``folder``.
        files: tables (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``), or a file for each class with a text a
            line.
        folder: or a folder that holds a folder for each class, with a file for each text.
        validation_files, validation_folder, test_files, test_folder: parts of their own; without one,
            a part is held out.
        text_column, label_column: the columns of a table.
        validation_fraction, test_fraction: shares of all texts to hold out, drawn with the seed.
        fold: instead of ``test_fraction``, the number of the part of ``folds`` that is the test; the parts
            are drawn with the seed, so that trainings with the same seed and other folds have other tests.
        stratify: whether every part has the same share of each class.
        tokenizer, lowercase, normalize: how a text is split, as for running text.
        min_count: tokens that occur less often in training become ``<unk>``.
        max_vocabulary: largest size of the vocabulary, with ``<unk>``; None means no limit.
        max_length: tokens that are read of a text, from its start; None means all.
        batch_size: texts of a step at most, over all processes.
        batch_tokens: tokens of a step at most, padding included, over all processes; None means no limit.
        log_count_ratios: whether a token is given with how much it, its pair with the one before and its
            letters speak for each class in the training texts; a training text's own counts are left out.
        linear_baseline: whether a linear model is trained beside, on the training and validation parts.
    """

    facts_type = LabelledTextFacts
    takes_words = True
    lines_at_once = 64
    facts: Any
    train_data: TextsOfClasses
    validation_data: TextsOfClasses
    test_data: TextsOfClasses

    def __init__(
        self,
        corpus: Corpus | None = None,
        files: DataFiles | None = None,
        folder: Folder | None = None,
        validation_files: DataFiles | None = None,
        validation_folder: Folder | None = None,
        test_files: DataFiles | None = None,
        test_folder: Folder | None = None,
        text_column: Word = "text",
        label_column: Word = "label",
        validation_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        fold: Count | None = None,
        folds: Annotated[int, AtLeast(2)] = 10,
        stratify: bool = True,
        tokenizer: TokenizerName = "word",
        lowercase: bool = True,
        normalize: Normalization | None = "NFC",
        min_count: Positive = 1,
        max_vocabulary: Annotated[int, AtLeast(2)] | None = None,
        max_length: Positive | None = None,
        batch_tokens: Positive | None = None,
        log_count_ratios: bool = False,
        linear_baseline: bool = True,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.corpus = corpus
        self.sources = {
            "train": (files, folder),
            "validation": (validation_files, validation_folder),
            "test": (test_files, test_folder),
        }
        self.text_column, self.label_column = text_column, label_column
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.fold, self.folds, self.stratify = fold, folds, stratify
        self.tokenizer, self.lowercase, self.normalize = tokenizer, lowercase, normalize
        self.min_count, self.max_vocabulary, self.max_length = min_count, max_vocabulary, max_length
        self.batch_tokens, self.linear_baseline = batch_tokens, linear_baseline
        self.log_count_ratios = log_count_ratios
        self._whole: tuple[Tokenized, Tokenized, NDArray[np.int64]] | None = None
        """Texts to train the linear baseline on, those to test it on, and the classes of the first."""

    def load(self, test_only: bool) -> None:
        if test_only and self.sources["test"] != (None, None):
            try:
                self._load_all()
            except ValueError as error:
                log.info("no linear baseline, as the training texts cannot be read: %s", error)
            else:
                return
            assert self.facts is not None
            test = self._read("test")
            split = tokenized(test.texts, self.facts.text.make_tokenizer())
            check_tokens(test, split)
            chosen = np.arange(len(split))
            targets = self._targets(test, self.classes_in(self.facts))
            ratios = SplitRatios(self.facts, split, self.seed).of(chosen)
            self.test_data = TextsOfClasses(split, chosen, targets, self.facts, test.texts, ratios)
            return
        self._load_all()

    def _load_all(self) -> None:
        facts = self.facts
        read = {part: self._read(part) for part in self.sources if part == "train" or any(self.sources[part])}
        classes = self._classes(read["train"]) if facts is None else self.classes_in(facts)
        targets = np.concatenate([self._targets(documents, classes) for documents in read.values()])
        texts = [text for documents in read.values() for text in documents.texts]
        made = make_tokenizer(self.tokenizer, self.lowercase, self.normalize)
        split = tokenized(texts, made if facts is None else facts.text.make_tokenizer())
        first = 0
        for documents in read.values():
            check_tokens(documents, split.select(np.arange(first, first + len(documents.texts))))
            first += len(documents.texts)
        parts = parts_of(
            strata_of(targets), {part: len(documents.texts) for part, documents in read.items()},
            self.validation_fraction, self.test_fraction, self.fold, self.folds, self.seed, self.stratify,
        )  # fmt: skip
        if facts is None:
            self._check_classes(classes, targets[: len(read["train"].texts)], parts["train"])
            train = split.select(parts["train"], self.max_length)
            facts = self.facts = self._make_facts(train, classes, targets[parts["train"]])
        self.longest_text = int(split.lengths.max())
        ratios = SplitRatios(facts, split, self.seed)
        data = {
            part: TextsOfClasses(
                split,
                chosen,
                targets[chosen],
                facts,
                [texts[i] for i in chosen] if part == "test" else None,
                ratios.of(chosen, targets[chosen] if part == "train" else None),
            )
            for part, chosen in parts.items()
        }
        self.train_data, self.validation_data, self.test_data = (data[part] for part in self.sources)
        trained_on = set(map(texts.__getitem__, parts["train"].tolist()))
        self.repeated = sum(texts[i] in trained_on for i in parts["test"].tolist())
        learnt = np.concatenate([parts["train"], parts["validation"]])
        self._whole = (split.select(learnt), split.select(parts["test"]), targets[learnt])

    @staticmethod
    def classes_in(facts: Any) -> Any:
        """The classes of the training, as :meth:`_classes` has given them."""
        return facts.classes

    def _classes(self, documents: Documents) -> Any:
        """The classes of the training source; ValueError where a classification has nothing to decide."""
        classes = classes_of(documents)
        if len(classes) < 2:
            raise ValueError(
                f"data.{self._setting('train')}: every text has the label {classes[0]!r}: a classification "
                f"needs two classes or more"
            )
        return classes

    def _targets(self, documents: Documents, classes: Any) -> NDArray[np.int64]:
        return targets_of(documents, classes)

    def _read(self, part: str) -> Documents:
        files, folder = self.sources[part]
        if part == "train" and self.corpus is not None:
            return LABELLED[self.corpus]()
        setting = self._setting(part)
        if files is not None:
            return self._read_files([self.find(file, setting) for file in files])
        return read_folder(find_folder(str(folder), self.folders, f"data.{setting}"))

    def _read_files(self, paths: list[Path]) -> Documents:
        return read_files(paths, self.text_column, self.label_column)

    def _setting(self, part: str) -> str:
        kind = "folder" if self.sources[part][1] is not None else "files"
        return "corpus" if part == "train" and self.corpus else kind if part == "train" else f"{part}_{kind}"

    def _check_classes(self, classes: Any, targets: NDArray[np.int64], train: NDArray[np.int64]) -> None:
        """Raise ValueError for a class of which no text is among those to train on."""
        counts = np.bincount(targets, minlength=len(classes))
        without = np.flatnonzero(np.bincount(targets[train], minlength=len(classes)) == 0)
        if len(without):
            raise ValueError(
                f"data.{self._setting('train')}: class {classes[without[0]]!r} has {counts[without[0]]} "
                f"text(s), and none of them is left to train on: give more of it, or leave it out"
            )

    def _make_facts(self, train: Tokenized, classes: Any, targets: NDArray[np.int64]) -> Any:
        facts = LabelledTextFacts(
            **self._reading(train),
            label_column=self.label_column,
            classes=tuple(classes),
            class_counts=tuple(np.bincount(targets, minlength=len(classes)).tolist()),
        )
        if not self.log_count_ratios:
            return facts
        return with_counts(facts, train, targets)

    def _reading(self, train: Tokenized) -> dict[str, Any]:
        """Values of the facts: the vocabulary of the training texts, and how a text is read."""
        counts = np.bincount(train.ids, minlength=len(train.types)).tolist()
        seen = Counter({token: count for token, count in zip(train.types, counts, strict=True) if count})
        vocabulary = Vocabulary.build(seen, (UNKNOWN,), self.min_count, self.max_vocabulary)
        if len(vocabulary.tokens) == 1:
            raise ValueError(
                f"none of the {len(train.ids)} training tokens comes {self.min_count} times or more, so that "
                f"all would be {UNKNOWN}: give more text or make data.min_count smaller"
            )
        names = ("tokenizer", "lowercase", "normalize", "max_length", "text_column")
        own = {name: getattr(self, name) for name in names}
        return {"vocabulary": vocabulary.tokens, "counts": vocabulary.counts, **own}

    @cached_property
    def _linear(self) -> NDArray[np.int64] | None:
        """The classes that the linear baseline gives to the test texts; None where there is none."""
        if not self.linear_baseline or self._whole is None:
            return None
        assert self.facts is not None
        if self._linear_models() > MOST_LINEAR:
            log.info("no linear baseline: it takes too long for more than %d classes", MOST_LINEAR)
            return None
        return self._predicted(*self._whole)

    def _linear_models(self) -> int:
        """Models that the linear baseline trains."""
        return len(self.facts.classes)

    def _predicted(self, train: Tokenized, test: Tokenized, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the linear baseline gives to test texts, trained on the others with these targets."""
        assert self.facts is not None
        return NaiveBayesLogistic(train, targets, len(self.facts.classes)).predict(test)

    def test_dataloader(self) -> DataLoader[Any]:
        if self.test_data.linear is None and self._linear is not None:
            self.test_data.linear = torch.from_numpy(self._linear)
        return super().test_dataloader()

    def sampler(
        self, dataset: Any, shuffle: bool, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> Sampler[list[int]]:
        lengths = dataset.lengths.numpy()
        size, tokens = self.batch_size, self.batch_tokens
        return LengthBuckets(lengths, size, tokens, shuffle, self.seed, rank, world_size, epoch)

    @classmethod
    def read_input(cls, given: Path | str, facts: Any) -> Input:
        """One text in words, or the texts of a table or of a file with a text a line.

        A target is the class index if the table's label is one of the training classes, else IGNORED. A text
        without a token is read as ``<unk>``. Raises ValueError if the file cannot be used.
        """
        if isinstance(given, Path):
            found = cls._read_table(given, facts)
        else:
            if any("\ud800" <= character <= "\udfff" for character in given):
                raise ValueError(f"input={given!a} has bytes that are not UTF-8: set the terminal to UTF-8")
            found = Documents([given], None, [Path()], [0])
        name = given.name if isinstance(given, Path) else "input"
        return cls._read_texts(found, facts, name)

    @classmethod
    def _read_table(cls, path: Path, facts: Any) -> Documents:
        return read_unlabelled(path, facts.text_column, facts.label_column)

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: Any) -> Input:
        """Texts, with the tokens of each that are not in the vocabulary as the column ``unknown``."""
        texts = list(lines)
        given = cls._read_texts(Documents(texts, None, [], []), facts, "input")
        return replace(given, columns={"unknown": list(map(facts.text.unknown, texts))})

    @staticmethod
    def _given(found: Documents, facts: Any) -> tuple[NDArray[np.int64], dict[str, list[str]]]:
        """(Targets of texts to predict for, IGNORED where no class is known; their labels as columns)."""
        index = {label: i for i, label in enumerate(facts.classes)}
        labels = found.labels or [""] * len(found.texts)
        targets = np.array([index.get(label, IGNORED) for label in labels])
        return targets, {"label": labels} if found.labels is not None else {}

    @classmethod
    def _read_texts(cls, found: Documents, facts: Any, name: str) -> Input:
        split = tokenized(found.texts, facts.text.make_tokenizer())
        targets, columns = cls._given(found, facts)
        chosen = np.arange(len(split))
        data = TextsOfClasses(
            split, chosen, targets, facts, found.texts, SplitRatios(facts, split).of(chosen)
        )
        unread = (split.lengths == 0).sum()
        unknown = (data.tokens == 0).sum() - unread
        if unread:
            log.warning("%d text(s) without a token, read as %s", unread, UNKNOWN)
        if unknown:
            log.warning(
                "%d of %d tokens are not in the vocabulary, read as %s", unknown, len(data.tokens), UNKNOWN
            )
        typed = [split.types[token] for token in split.ids[: facts.max_length]] if len(split) == 1 else []
        return Input(data[list(range(len(split)))], name, columns, typed)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        facts = self.facts
        parts = {"training": self.train_data, "validation": self.validation_data, "test": self.test_data}
        rows = described(parts, facts, self.longest_text, self._shares())
        if self.fold is not None:
            rows["test part"] = f"fold {self.fold} of {self.folds}, drawn with seed {self.seed}"
        if self.repeated:
            rows["also in training"] = f"{self.repeated} of the test texts, word for word"
        return rows | self._absent({name: parts[name] for name in ("validation", "test")})

    def _shares(self) -> dict[str, str]:
        """The classes with their shares of the training texts, and what speaks for them."""
        facts = self.facts
        rows = {"classes": shares_of(facts.classes, facts.class_counts)}
        if facts.feature_counts:
            rows["log-count ratios"] = (
                f"of {len(facts.vocabulary):,} words, {len(facts.pairs):,} pairs and "
                f"{len(facts.letters):,} sequences of letters"
            )
        return rows

    def _absent(self, parts: dict[str, TextsOfClasses]) -> dict[str, str | int]:
        """The classes that a part lacks."""
        assert self.facts is not None
        rows: dict[str, str | int] = {}
        for name, part in parts.items():
            present = set(part.targets.tolist())
            missing = [label for i, label in enumerate(self.facts.classes) if i not in present]
            if missing:
                more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
                rows[f"not in {name}"] = f"class {', '.join(missing[:10])}{more}"
        return rows

    def largest_batch(self) -> int:
        longest = int(self.train_data.lengths.max())
        largest = min(self.batch_size, len(self.train_data)) * longest
        return largest if self.batch_tokens is None else min(largest, max(self.batch_tokens, longest))

    def save_example(self, folder: Path) -> str:
        del folder  # a few words do not need a file
        assert self.test_data.texts is not None
        # Punctuation is dropped, which a shell would need quoted.
        words = "".join(c if c.isalnum() else " " for c in self.test_data.texts[0]).split()
        return '"' + " ".join(words[:8]) + '"'
