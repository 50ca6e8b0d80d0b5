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
class LabelledTextFacts(Facts):
    """Texts with a class each."""

    kind: ClassVar[str] = "labelled_text"
    summary: ClassVar[str] = "texts with a class each"

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
        self.text.check()
        if self.max_length is not None and self.max_length < 1:
            raise self.wrong("max_length", "must be null or at least 1")
        for name in ("text_column", "label_column"):
            if not getattr(self, name):
                raise self.wrong(name, "must be the name of a column")
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

    @property
    def text(self) -> TextFacts:
        """The vocabulary and how a text is split, as of running text."""
        return TextFacts(
            self.vocabulary, self.counts, self.tokenizer, self.lowercase, self.normalize, marks=True
        )


class LabelledTextBatch(NamedTuple):
    """Texts as token ids, padded at the end with 0, and their classes."""

    tokens: Tensor
    """[B, T] int64: token ids."""
    lengths: Tensor
    """[B] int64: tokens of each text without padding."""
    targets: Tensor
    """[B] int64: class index, or IGNORED if the label is unknown."""
    texts: Sequence[str] | None = None
    """The B texts as they were read, in batches of the test split only."""
    linear: Tensor | None = None
    """[B] int64: the classes that the linear baseline gives, in batches of the test split only."""
    ratios: Tensor | None = None
    """[B, T, ratio_size] float32: the log-count ratios of each token, 0 on padding; None without them."""
