"""Sequences of feature vectors with a transcript: what was said or written, shorter than its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gatewise.kinds.kind import Facts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TranscriptFacts(Facts):
    """What all transcribed sequences share, wherever their feature vectors come from."""

    summary: ClassVar[str] = "feature sequences with transcripts"

    feature_size: int
    units: tuple[str, ...]
    """What a transcript is made of, in the order of their indices: words, characters or phonemes."""
    joiner: str
    """What stands between two units of a text: a space for words, nothing for characters."""
    mean: tuple[float, ...]
    """Mean of each feature over the training frames; inputs are scaled to (x - mean) / std."""
    std: tuple[float, ...]
    usual: tuple[int, ...] = field(default=(), kw_only=True)
    """Units of the most frequent transcript of the training, the trivial answer."""
    ngrams: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)
    """Every n units in a row of the training transcripts, and how often: for a language model of them.

    Before a transcript there are n - 1 times -1, behind it is one; none where no model was asked for.
    """

    @property
    def seconds(self) -> float | None:
        """From one frame to the next; None where frames are not equally far apart in time."""
        return None

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        if self.feature_size < 1:
            raise self.wrong("feature_size", "must be at least 1")
        self.check_distinct("units")
        self.check_scaler(self.feature_size, "features (feature_size)")
        if not all(0 <= unit < len(self.units) for unit in self.usual):
            raise self.wrong("usual", "must be numbers of units")
        if len({len(ngram) for ngram in self.ngrams}) > 1 or not all(map(self._is_ngram, self.ngrams)):
            raise self.wrong("ngrams", "must be equally many units in a row each, and a count")

    def _is_ngram(self, ngram: tuple[int, ...]) -> bool:
        return len(ngram) >= 2 and ngram[-1] > 0 and all(-1 <= unit < len(self.units) for unit in ngram[:-1])

    def text(self, indices: Sequence[int]) -> str:
        """The transcript of these units."""
        return self.joiner.join(self.units[index] for index in indices)


class TranscribedBatch(NamedTuple):
    """Feature sequences with their transcripts, padded at the end with zeros."""

    inputs: Tensor
    """[B, T, F] float: scaled features."""
    lengths: Tensor
    """[B] int64: frames of each sequence without padding."""
    targets: Tensor
    """[B, U] int64: units of each transcript, padded with IGNORED."""
    target_lengths: Tensor
    """[B] int64: units of each transcript; -1 where it is not known."""
    names: Sequence[str] | None = None
    """What to call each sequence, as its file, in batches of the test split and of a user's input only."""
