"""The base of texts with labels as batches of token ids."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from gatewise.data.classes import rows_of_missing
from gatewise.data.text.by_length import TextsByLength
from gatewise.data.text.described import described
from gatewise.data.text.documents import Documents
from gatewise.data.text.labelled_cache import LABELLED, Prepared
from gatewise.data.text.log_ratios import SplitRatios
from gatewise.data.text.parts import PARTS, parts_of, strata_of
from gatewise.data.text.texts import TextsOfClasses, check_tokens
from gatewise.data.text.tokenized import Tokenized, tokenized
from gatewise.data.text.typed import check_typed, first_words, typed
from gatewise.data.text.vocabularies import vocabulary_of
from gatewise.kinds.kind import Input
from gatewise.kinds.tokens import UNKNOWN, Normalization, TokenizerName, make_tokenizer
from gatewise.settings import (
    AtLeast,
    Count,
    DataFiles,
    Folders,
    Fraction,
    Positive,
    Word,
    rule,
    split_fractions,
)

log = logging.getLogger(__name__)

MOST_LINEAR = 50
"""Most models that the linear baseline may have to train."""


@rule
def check_split(
    validation_fraction: float, test_fraction: float, fold: Any, folds: Any, test_files: Any
) -> None:
    """Raise ValueError if no text is left to train on, or the test part is said twice."""
    if fold is None:
        split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)
        return
    if fold >= folds:
        raise ValueError(f"fold={fold} of folds={folds}: give a number from 0 to {folds - 1}")
    check_fold(fold, test_files)
    split_fractions(f"to train on beside a fold of {folds}", validation_fraction=validation_fraction,
                    one_fold=1 / folds)  # fmt: skip


def check_fold(fold: Any, test: Any) -> None:
    """Raise ValueError for a fold where there is another test part."""
    if fold is not None and test is not None:
        raise ValueError(f"fold={fold} is a test part, and so are test_files and test_folder: give one")


class TextsWithLabels(TextsByLength):
    """Texts with labels, split into training, validation and test parts.

    A subclass says what the labels are, with the methods from :meth:`classes_in` on.

    Args:
        files: what is read, and what of it, a subclass says.
        validation_files, test_files: parts of their own; without one, a part is held out.
        text_column: the column of a table that has the texts.
        validation_fraction, test_fraction: shares of all texts to hold out, drawn with the seed.
        fold: instead of ``test_fraction``, the number of the part of ``folds`` that is the test; the parts
            are drawn with the seed, so that trainings with the same seed and other folds have other tests.
        stratify: whether every part has the same share of each class.
        tokenizer, lowercase, normalize: how a text is split, as for running text.
        min_count: tokens that occur less often in training become ``<unk>``.
        max_vocabulary: largest size of the vocabulary, with ``<unk>``; None means no limit.
        max_length: tokens that are read of a text, from its start; None means all.
        linear_baseline: whether a linear model is trained beside, on the training and validation parts.
        batch_tokens, batch_size, cache_dir: see :class:`gatewise.data.text.by_length.TextsByLength`.
    """

    baseline = ("linear baseline", "texts")
    decided: ClassVar[tuple[str, ...]] = (
        "tokenizer",
        "lowercase",
        "normalize",
        "min_count",
        "max_vocabulary",
        "max_length",
    )
    facts: Any
    train_data: TextsOfClasses
    validation_data: TextsOfClasses
    test_data: TextsOfClasses

    def __init__(
        self,
        files: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        text_column: Word = "text",
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
        linear_baseline: bool = True,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_tokens, folders, batch_size, seed, cache_dir)
        self.files = {"train": files, "validation": validation_files, "test": test_files}
        self.text_column = text_column
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.fold, self.folds, self.stratify = fold, folds, stratify
        self.tokenizer, self.lowercase, self.normalize = tokenizer, lowercase, normalize
        self.min_count, self.max_vocabulary, self.max_length = min_count, max_vocabulary, max_length
        self.linear_baseline = linear_baseline
        self._whole: tuple[Tokenized, Tokenized, NDArray[np.int64]] | None = None
        """Texts to train the linear baseline on, those to test it on, and the classes of the first."""

    # ---- what the labels are

    @staticmethod
    def classes_in(facts: Any) -> Any:
        """The classes of the training, as :meth:`classes` has given them."""
        raise NotImplementedError

    def classes(self, documents: Documents) -> Any:
        """The classes of the training source; ValueError where a classification has nothing to decide."""
        raise NotImplementedError

    def targets(self, documents: Documents, classes: Any) -> NDArray[np.int64]:
        """[N] or [N, questions]; ValueError for a label that the training data lacks."""
        raise NotImplementedError

    def check_classes(self, classes: Any, targets: NDArray[np.int64], train: NDArray[np.int64]) -> None:
        """Raise ValueError for a class of which no text is among those to train on."""
        raise NotImplementedError

    def make_facts(self, train: Tokenized, classes: Any, targets: NDArray[np.int64]) -> Any:
        """What is known of the training texts."""
        raise NotImplementedError

    def shares(self) -> dict[str, str]:
        """Rows for the screen: the classes with their shares of the training texts."""
        raise NotImplementedError

    def missing_in(self, part: TextsOfClasses) -> list[str]:
        """What the screen says a part lacks."""
        raise NotImplementedError

    def linear_models(self) -> int:
        """Models that the linear baseline trains."""
        raise NotImplementedError

    def predicted(self, train: Tokenized, test: Tokenized, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the linear baseline gives to test texts, trained on the others with these targets."""
        raise NotImplementedError

    # ---- reading

    def has_own(self, part: str) -> bool:
        return self.files[part] is not None

    def setting_of(self, part: str) -> str:
        """The setting that says where a part is read from."""
        return "files" if part == "train" else f"{part}_files"

    def read(self, part: str) -> Documents:
        """The texts of a part that has a source of its own."""
        return self.read_files(self.paths(part))

    def read_files(self, paths: list[Path]) -> Documents:
        """The texts of files with their labels."""
        raise NotImplementedError

    @classmethod
    def read_table(cls, path: Path, facts: Any) -> Documents:
        """The texts of a file to predict for, with the labels that it has."""
        raise NotImplementedError

    @staticmethod
    def given(found: Documents, facts: Any) -> tuple[NDArray[np.int64], dict[str, list[str]]]:
        """(Targets of texts to predict for, IGNORED where no class is known; their labels as columns)."""
        raise NotImplementedError

    def load_test(self) -> None:
        prepared = self._once(["test"], self._prepared_test)
        self.test_data = self._data_of("test", prepared)

    def load_all(self) -> None:
        own = [part for part in PARTS if part == "train" or self.has_own(part)]
        prepared = self._once(own, self._prepared)
        split, targets = prepared.split, prepared.targets
        self.facts, self.repeated = prepared.facts, prepared.repeated
        self.longest_text = int(split.lengths.max())
        self.train_data, self.validation_data, self.test_data = (
            self._data_of(part, prepared) for part in PARTS
        )
        learnt = np.concatenate([prepared.chosen["train"], prepared.chosen["validation"]])
        self._whole = (split.select(learnt), split.select(prepared.chosen["test"]), targets[learnt])

    def paths(self, part: str) -> list[Path]:
        """The files that a part is read from, which has a source of its own."""
        setting = self.setting_of(part)
        return [self.find(file, setting) for file in self.files[part] or ()]

    def making(self) -> dict[str, Any]:
        """The settings that decide what is made of the texts."""
        names = (
            "text_column validation_fraction test_fraction fold folds stratify tokenizer lowercase normalize"
        )
        names += " min_count max_vocabulary max_length seed"
        return {name: getattr(self, name) for name in names.split()}

    def _once(self, parts: list[str], make: Callable[[], Prepared]) -> Prepared:
        """The texts of parts that have sources of their own, prepared or from an earlier start."""

        def files() -> dict[str, list[Path]]:
            return {part: self.paths(part) for part in parts}

        return self.prepared_once(LABELLED, files, self.making(), make)

    def _data_of(self, part: str, prepared: Prepared) -> TextsOfClasses:
        chosen = prepared.chosen[part]
        texts = prepared.test_texts if part == "test" else None
        return TextsOfClasses(
            prepared.split, chosen, prepared.targets[chosen], prepared.facts, texts, prepared.ratios.get(part)
        )

    def _prepared_test(self) -> Prepared:
        """The test part alone, for the facts that are set."""
        test = self.read("test")
        split = tokenized(test.texts, self.facts.text.make_tokenizer())
        check_tokens(test, split)
        chosen = np.arange(len(split))
        targets = self.targets(test, self.classes_in(self.facts))
        ratios = SplitRatios(self.facts, split, self.seed).of(chosen)
        of_parts = {} if ratios is None else {"test": ratios}
        return Prepared(self.facts, split, targets, {"test": chosen}, of_parts, test.texts, 0)

    def _prepared(self) -> Prepared:
        facts = self.facts
        read = {part: self.read(part) for part in PARTS if part == "train" or self.has_own(part)}
        classes = self.classes(read["train"]) if facts is None else self.classes_in(facts)
        targets = np.concatenate([self.targets(documents, classes) for documents in read.values()])
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
            self.check_classes(classes, targets[: len(read["train"].texts)], parts["train"])
            train = split.select(parts["train"], self.max_length)
            facts = self.make_facts(train, classes, targets[parts["train"]])
        ratios = SplitRatios(facts, split, self.seed)
        found = {
            part: ratios.of(chosen, targets[chosen] if part == "train" else None)
            for part, chosen in parts.items()
        }
        trained_on = set(map(texts.__getitem__, parts["train"].tolist()))
        test = [texts[i] for i in parts["test"].tolist()]
        return Prepared(
            facts,
            split,
            targets,
            parts,
            {part: of_part for part, of_part in found.items() if of_part is not None},
            test,
            sum(text in trained_on for text in test),
        )

    def how_read(self, train: Tokenized) -> dict[str, Any]:
        """Values of the facts: the vocabulary of the training texts, and how a text is read."""
        counts = np.bincount(train.ids, minlength=len(train.types)).tolist()
        seen = Counter({token: count for token, count in zip(train.types, counts, strict=True) if count})
        vocabulary = vocabulary_of(seen, self.min_count, self.max_vocabulary)
        names = ("tokenizer", "lowercase", "normalize", "max_length", "text_column")
        own = {name: getattr(self, name) for name in names}
        return {"vocabulary": vocabulary.tokens, "counts": vocabulary.counts, **own}

    # ---- the linear baseline

    @cached_property
    def _linear(self) -> NDArray[np.int64] | None:
        """The classes that the linear baseline gives to the test texts; None where there is none."""
        if not self.linear_baseline or self._whole is None:
            return None
        if self.linear_models() > MOST_LINEAR:
            log.info("no linear baseline: it takes too long for more than %d classes", MOST_LINEAR)
            return None
        return self.predicted(*self._whole)

    def test_dataloader(self) -> DataLoader[Any]:
        if self.test_data.linear is None and self._linear is not None:
            self.test_data.linear = torch.from_numpy(self._linear)
        return super().test_dataloader()

    # ---- predicting

    @classmethod
    def read_input(cls, given: Path | str, facts: Any) -> Input:
        """One text in words, or the texts of a table or of a file with a text a line.

        A target is the class index if the table's label is one of the training classes, else IGNORED. A text
        without a token is read as ``<unk>``. Raises ValueError if the file cannot be used.
        """
        if isinstance(given, Path):
            return cls._read_texts(cls.read_table(given, facts), facts, given.name)
        check_typed(given)
        return cls._read_texts(Documents([given], None, [Path()], [0]), facts, "input")

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: Any) -> Input:
        """Texts, with the tokens of each that are not in the vocabulary as the column ``unknown``."""
        texts = list(lines)
        given = cls._read_texts(Documents(texts, None, [], []), facts, "input")
        return replace(given, columns={"unknown": list(map(facts.text.unknown, texts))})

    @classmethod
    def _read_texts(cls, found: Documents, facts: Any, name: str) -> Input:
        split = tokenized(found.texts, facts.text.make_tokenizer())
        targets, columns = cls.given(found, facts)
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
        steps = [split.types[token] for token in split.ids[: facts.max_length]] if len(split) == 1 else []
        return Input(data[list(range(len(split)))], name, columns, steps)

    # ---- what is shown

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        parts = self.parts()
        rows = described(parts, self.facts, self.longest_text, self.shares())
        if self.fold is not None:
            rows["test part"] = f"fold {self.fold} of {self.folds}, drawn with seed {self.seed}"
        if self.repeated:
            rows["also in training"] = f"{self.repeated} of the test texts, word for word"
        return rows | rows_of_missing(parts, self.missing_in)

    def save_example(self, folder: Path) -> str:
        del folder  # a few words do not need a file
        assert self.test_data.texts is not None
        return typed(first_words(self.test_data.texts[0], 8))
