"""Sequences of feature vectors with a transcript: what was said or written, shorter than its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        if self.feature_size < 1:
            raise self.wrong("feature_size", "must be at least 1")
        self.check_distinct("units")
        self.check_scaler(self.feature_size, "features (feature_size)")

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
