"""Texts with a class each as batches of token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import absent
from gatewise.data.files import find_folder
from gatewise.data.text.corpora import LABELLED
from gatewise.data.text.described import shares_of
from gatewise.data.text.documents import Documents, read_files, read_folder, read_unlabelled
from gatewise.data.text.log_ratios import with_counts
from gatewise.data.text.naive_bayes import NaiveBayesLogistic
from gatewise.data.text.texts import TextsOfClasses, classes_of, targets_of
from gatewise.data.text.tokenized import Tokenized
from gatewise.data.text.with_labels import TextsWithLabels, check_fold
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.labelled_text import LabelledTextFacts
from gatewise.settings import Count, DataFiles, Folder, Word, rule

Corpus = Literal["king_james_verses"]


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
def check_test(fold: Any, test_folder: Any) -> None:
    """Raise ValueError if the test part is said twice."""
    check_fold(fold, test_folder)


class LabelledText(TextsWithLabels):
    """Texts with a class each, split into training, validation and test parts.

    Args:
        corpus: one of ``LABELLED``. Give this, ``files`` or ``folder``.
        files: tables (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``), or a file for each class with a text a
            line.
        folder: or a folder that holds a folder for each class, with a file for each text.
        validation_files, validation_folder, test_files, test_folder: parts of their own; without one,
            a part is held out.
        label_column: the column of a table that has the classes.
        fold: the number of the part that is the test.
        log_count_ratios: whether a token is given with how much it, its pair with the one before and its
            letters speak for each class in the training texts; a training text's own counts are left out.
        settings: those of :class:`gatewise.data.text.with_labels.TextsWithLabels`.
    """

    facts_type = LabelledTextFacts
    decided = (
        "tokenizer",
        "lowercase",
        "normalize",
        "min_count",
        "max_vocabulary",
        "max_length",
        "log_count_ratios",
    )

    def __init__(
        self,
        corpus: Corpus | None = None,
        files: DataFiles | None = None,
        folder: Folder | None = None,
        validation_files: DataFiles | None = None,
        validation_folder: Folder | None = None,
        test_files: DataFiles | None = None,
        test_folder: Folder | None = None,
        label_column: Word = "label",
        fold: Count | None = None,
        log_count_ratios: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(files, validation_files, test_files, fold=fold, **settings)
        self.corpus, self.label_column, self.log_count_ratios = corpus, label_column, log_count_ratios
        self.folder_of = {"train": folder, "validation": validation_folder, "test": test_folder}

    @staticmethod
    def classes_in(facts: LabelledTextFacts) -> tuple[str, ...]:
        return facts.classes

    def classes(self, documents: Documents) -> tuple[str, ...]:
        classes = classes_of(documents)
        if len(classes) < 2:
            raise ValueError(
                f"data.{self.setting_of('train')}: every text has the label {classes[0]!r}: a classification "
                f"needs two classes or more"
            )
        return classes

    def targets(self, documents: Documents, classes: tuple[str, ...]) -> NDArray[np.int64]:
        return targets_of(documents, classes)

    def check_classes(
        self, classes: tuple[str, ...], targets: NDArray[np.int64], train: NDArray[np.int64]
    ) -> None:
        counts = np.bincount(targets, minlength=len(classes))
        without = np.flatnonzero(np.bincount(targets[train], minlength=len(classes)) == 0)
        if len(without):
            raise ValueError(
                f"data.{self.setting_of('train')}: class {classes[without[0]]!r} has {counts[without[0]]} "
                f"text(s), and none of them is left to train on: give more of it, or leave it out"
            )

    def make_facts(
        self, train: Tokenized, classes: tuple[str, ...], targets: NDArray[np.int64]
    ) -> LabelledTextFacts:
        facts = LabelledTextFacts(
            **self.how_read(train),
            label_column=self.label_column,
            classes=classes,
            class_counts=tuple(np.bincount(targets, minlength=len(classes)).tolist()),
        )
        return with_counts(facts, train, targets) if self.log_count_ratios else facts

    def has_own(self, part: str) -> bool:
        return self.folder_of[part] is not None or super().has_own(part)

    def setting_of(self, part: str) -> str:
        if part == "train" and self.corpus is not None:
            return "corpus"
        setting = super().setting_of(part)
        return setting if self.folder_of[part] is None else setting.replace("files", "folder")

    def read(self, part: str) -> Documents:
        if part == "train" and self.corpus is not None:
            return LABELLED[self.corpus]()
        folder = self.folder_of[part]
        if folder is None:
            return super().read(part)
        return read_folder(find_folder(folder, self.folders, f"data.{self.setting_of(part)}"))

    def read_files(self, paths: list[Path]) -> Documents:
        return read_files(paths, self.text_column, self.label_column)

    @classmethod
    def read_table(cls, path: Path, facts: LabelledTextFacts) -> Documents:
        return read_unlabelled(path, facts.text_column, facts.label_column)

    @staticmethod
    def given(found: Documents, facts: LabelledTextFacts) -> tuple[NDArray[np.int64], dict[str, list[str]]]:
        index = {label: i for i, label in enumerate(facts.classes)}
        labels = found.labels or [""] * len(found.texts)
        targets = np.array([index.get(label, IGNORED) for label in labels])
        return targets, {"label": labels} if found.labels is not None else {}

    def linear_models(self) -> int:
        return len(self.facts.classes)

    def predicted(self, train: Tokenized, test: Tokenized, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        return NaiveBayesLogistic(train, targets, len(self.facts.classes)).predict(test)

    def shares(self) -> dict[str, str]:
        facts: LabelledTextFacts = self.facts
        rows = {"classes": shares_of(facts.classes, facts.class_counts)}
        if facts.feature_counts:
            rows["log-count ratios"] = (
                f"of {len(facts.vocabulary):,} words, {len(facts.pairs):,} pairs and "
                f"{len(facts.letters):,} sequences of letters"
            )
        return rows

    def missing_in(self, part: TextsOfClasses) -> list[str]:
        missing = absent(self.facts.classes, part.targets)
        return [f"class {missing[0]}", *missing[1:]] if missing else []
