"""Texts with several labels each: several columns of a table, or several labels in one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import absent, natural_order
from gatewise.data.text.described import MOST_NAMED, shares_of
from gatewise.data.text.documents import TABLES, Documents, read_files, read_unlabelled
from gatewise.data.text.naive_bayes import NaiveBayesLogistic
from gatewise.data.text.texts import TextsOfClasses, classes_of, targets_of
from gatewise.data.text.tokenized import Tokenized
from gatewise.data.text.with_labels import TextsWithLabels
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.labelled_text import SeveralLabelsFacts
from gatewise.settings import DataFiles, Names, Word, did_you_mean, rule

NO_YES = ("no", "yes")
"""The answers where a text has a label or has it not."""


@rule
def check_labels(label_columns: Any, label_separator: Any, text_column: Any) -> None:
    """Raise ValueError for a separator of several columns, and for a column that is text and label."""
    columns = [label_columns] if isinstance(label_columns, str) else list(label_columns)
    if label_separator is not None and len(columns) > 1:
        raise ValueError(
            f"label_separator={label_separator} is for several labels in one column, and label_columns "
            f"names {len(columns)}: give one of both"
        )
    if text_column in columns:
        raise ValueError(f"text_column={text_column} is one of label_columns too: name another column")


@dataclass(frozen=True)
class Questions:
    """What is asked of every text, and the answers to choose from."""

    names: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]


class SeveralLabels(TextsWithLabels):
    """Texts with several labels each, split into training, validation and test parts.

    With ``label_separator``, the only column of ``label_columns`` holds any number of labels with this
    between them, none as well, and each label is a question to which the answer is ``no`` or ``yes``.
    Otherwise each column is a question, and its values are the answers. Other settings are those of
    :class:`gatewise.data.text.with_labels.TextsWithLabels`; ``files`` are tables.
    """

    facts_type = SeveralLabelsFacts

    def __init__(
        self,
        files: DataFiles,
        text_column: Word = "text",
        label_columns: Names = ("label",),
        label_separator: Word | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(files, text_column=text_column, **settings)
        self.label_columns, self.label_separator = tuple(label_columns), label_separator

    def read_files(self, paths: list[Path]) -> Documents:
        other = next((path for path in paths if path.suffix.lower() not in TABLES), None)
        if other is not None:
            raise ValueError(f"{other} is no table, and several labels stand in one: {', '.join(TABLES)}")
        may_be_empty = self.label_separator is not None
        read = [read_files(paths, self.text_column, column, may_be_empty) for column in self.label_columns]
        return replace(read[0], answers=[documents.labels or [] for documents in read])

    @staticmethod
    def classes_in(facts: SeveralLabelsFacts) -> Questions:
        return Questions(facts.questions, tuple(map(facts.answers_of, range(len(facts.questions)))))

    def classes(self, documents: Documents) -> Questions:
        assert documents.answers is not None
        if self.label_separator is not None:
            labels = {
                label for value in documents.answers[0] for label in _split(value, self.label_separator)
            }
            if not labels:
                raise ValueError(f"data.files: no text has a label in the column {self.label_columns[0]!r}")
            names = tuple(sorted(labels, key=natural_order))
            return Questions(names, (NO_YES,) * len(names))
        answers = tuple(classes_of(replace(documents, labels=values)) for values in documents.answers)
        for column, found in zip(self.label_columns, answers, strict=True):
            if len(found) < 2:
                raise ValueError(
                    f"data.files: every text has the {column} {found[0]!r}: leave this column out of "
                    f"data.label_columns"
                )
        return Questions(self.label_columns, answers)

    def targets(self, documents: Documents, classes: Questions) -> NDArray[np.int64]:
        """[N, questions]; ValueError for a label that the training data lacks."""
        assert documents.answers is not None
        if self.label_separator is None:
            columns = zip(documents.answers, classes.answers, strict=True)
            return np.stack(
                [targets_of(replace(documents, labels=values), answers) for values, answers in columns], 1
            )
        index = {label: i for i, label in enumerate(classes.names)}
        targets = np.zeros((len(documents.texts), len(index)), np.int64)
        for row, value in enumerate(documents.answers[0]):
            for label in _split(value, self.label_separator):
                if label not in index:
                    raise ValueError(
                        f"{documents.place(row)}: label {label!r} is not among those of the training data"
                        f"{did_you_mean(label, classes.names)}: {', '.join(classes.names)}"
                    )
                targets[row, index[label]] = 1
        return targets

    def check_classes(self, classes: Questions, targets: NDArray[np.int64], train: NDArray[np.int64]) -> None:
        for question, (name, answers) in enumerate(zip(classes.names, classes.answers, strict=True)):
            counts = np.bincount(targets[:, question], minlength=len(answers))
            missing = np.flatnonzero(np.bincount(targets[train, question], minlength=len(answers)) == 0)
            if len(missing):
                raise ValueError(
                    f"data.files: {answers[missing[0]]!r} is the {name} of {counts[missing[0]]} text(s), and "
                    f"none of them is left to train on: give more of it, or leave it out"
                )

    def make_facts(
        self, train: Tokenized, classes: Questions, targets: NDArray[np.int64]
    ) -> SeveralLabelsFacts:
        sizes = tuple(map(len, classes.answers))
        counts = [np.bincount(targets[:, q], minlength=size).tolist() for q, size in enumerate(sizes)]
        return SeveralLabelsFacts(
            **self.how_read(train),
            label_columns=self.label_columns,
            label_separator=self.label_separator,
            questions=classes.names,
            sizes=sizes,
            answers=tuple(answer for answers in classes.answers for answer in answers),
            answer_counts=tuple(count for own in counts for count in own),
        )

    def predicted(self, train: Tokenized, test: Tokenized, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        columns = []
        for question, size in enumerate(self.facts.sizes):
            columns.append(NaiveBayesLogistic(train, targets[:, question], size).predict(test))
        return np.stack(columns, 1)

    def linear_models(self) -> int:
        return sum(size if size > 2 else 1 for size in self.facts.sizes)

    def shares(self) -> dict[str, str]:
        facts: SeveralLabelsFacts = self.facts
        rows = {}
        for question, first in list(enumerate(facts.starts))[:MOST_NAMED]:
            counts = facts.answer_counts[first : first + facts.sizes[question]]
            rows[facts.questions[question]] = shares_of(facts.answers_of(question), counts)
        if len(facts.questions) > MOST_NAMED:
            rows["more labels"] = str(len(facts.questions) - MOST_NAMED)
        return rows

    def missing_in(self, part: TextsOfClasses) -> list[str]:
        facts: SeveralLabelsFacts = self.facts
        return [
            f"{asked} {answer}"
            for question, asked in enumerate(facts.questions)
            for answer in absent(facts.answers_of(question), part.targets[:, question])
        ]

    @classmethod
    def read_table(cls, path: Path, facts: SeveralLabelsFacts) -> Documents:
        read = [read_unlabelled(path, facts.text_column, column) for column in facts.label_columns]
        return replace(read[0], answers=[documents.labels or [] for documents in read])

    @staticmethod
    def given(found: Documents, facts: SeveralLabelsFacts) -> tuple[NDArray[np.int64], dict[str, list[str]]]:
        targets = np.full((len(found.texts), len(facts.questions)), IGNORED)
        named = zip(facts.label_columns, found.answers or (), strict=False)
        return targets, {column: values for column, values in named if values}


def _split(value: str, separator: str) -> list[str]:
    return [label.strip() for label in value.split(separator) if label.strip()]
