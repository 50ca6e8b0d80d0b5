"""Texts with a class each: reviews and whether they are good, messages and what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gatewise.kinds.kind import Facts
from gatewise.kinds.text import TextFacts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReadTextFacts(Facts):
    """How texts with labels are read: what their tokens are, and where they stand in a table."""

    vocabulary: tuple[str, ...]
    """Token of each id; the first is ``<unk>``."""
    counts: tuple[int, ...]
    """How often each token occurs in the training texts."""
    tokenizer: str
    """``word``, ``char`` or ``whitespace``."""
    lowercase: bool
    normalize: str | None
    """The Unicode normal form of every token; None where the text was left as it is."""
    max_length: int | None
    """Tokens that are read of a text; None: all."""
    text_column: str
    """The column of texts in a table."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        self.text.check()
        if self.max_length is not None and self.max_length < 1:
            raise self.wrong("max_length", "must be null or at least 1")
        if not self.text_column:
            raise self.wrong("text_column", "must be the name of a column")

    @property
    def text(self) -> TextFacts:
        """The vocabulary and how a text is split, as of running text."""
        return TextFacts(
            self.vocabulary, self.counts, self.tokenizer, self.lowercase, self.normalize, marks=True
        )


@dataclass(frozen=True)
class LabelledTextFacts(ReadTextFacts):
    """Texts with a class each."""

    kind: ClassVar[str] = "labelled_text"
    summary: ClassVar[str] = "texts with a class each"

    label_column: str
    """The column of labels in a table."""
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    """Number of training texts of each class, for the majority baseline."""
    pairs: tuple[int, ...] = ()
    """P pairs of neighbours that have log-count ratios, in order: V times the id of one, plus the next's."""
    letters: tuple[str, ...] = ()
    """L sequences of letters that have log-count ratios."""
    feature_counts: tuple[int, ...] = ()
    """How many training texts of each class have each of the V words, P pairs and L sequences, one feature
    after the other; empty where tokens have no log-count ratios."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        super().check()
        if not self.label_column:
            raise self.wrong("label_column", "must be the name of a column")
        self.check_distinct("classes")
        self.check_counts("class_counts", len(self.classes), "classes")
        if self.feature_counts:
            features = len(self.vocabulary) + len(self.pairs) + len(self.letters)
            self.check_counts("feature_counts", features * len(self.classes), "features and classes")

    @property
    def ratio_size(self) -> int:
        """Log-count ratios of each token: of word, pair and letters, one for two classes or one for each."""
        if not self.feature_counts:
            return 0
        return 3 * (1 if len(self.classes) == 2 else len(self.classes))


@dataclass(frozen=True)
class SeveralLabelsFacts(ReadTextFacts):
    """Texts with the answers to several questions each: labels that a text has or not, or several columns."""

    kind: ClassVar[str] = "texts_of_several_labels"
    summary: ClassVar[str] = "texts with several labels each"

    label_columns: tuple[str, ...]
    """The columns of labels in a table."""
    label_separator: str | None
    """What stands between the labels of the only column; None where each column is a question."""
    questions: tuple[str, ...]
    """The columns, or the labels of which a text may have several."""
    sizes: tuple[int, ...]
    """The number of answers to each question."""
    answers: tuple[str, ...]
    """The answers to all questions, one question after the other; ``no`` and ``yes`` for a label."""
    answer_counts: tuple[int, ...]
    """Number of training texts of each answer."""

    def check(self) -> None:
        super().check()
        self.check_distinct("label_columns")
        self.check_distinct("questions")
        if len(self.sizes) != len(self.questions) or min(self.sizes) < 2:
            raise self.wrong(
                "sizes", f"must have a number of 2 or more for each of {len(self.questions)} questions"
            )
        if len(self.answers) != sum(self.sizes):
            raise self.wrong("answers", f"must be {sum(self.sizes)}")
        self.check_counts("answer_counts", len(self.answers), "answers")

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the answers to each question begin."""
        return tuple(sum(self.sizes[:question]) for question in range(len(self.sizes)))

    def answers_of(self, question: int) -> tuple[str, ...]:
        """The answers to a question by its number."""
        first = self.starts[question]
        return self.answers[first : first + self.sizes[question]]


class LabelledTextBatch(NamedTuple):
    """Texts as token ids, padded at the end with 0, and their classes."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    lengths: Tensor
    """[B] int64: tokens of each text without padding."""
    targets: Tensor
    """[B] int64: class index, or IGNORED if the label is unknown; [B, questions] where there are several."""
    texts: Sequence[str] | None = None
    """The B texts as they were read, in batches of the test split only."""
    linear: Tensor | None = None
    """As ``targets``, but what the linear baseline gives, in batches of the test split only."""
    ratios: Tensor | None = None
    """[B, T, ratio_size] float32: the log-count ratios of each token, 0 on padding; None without them."""
