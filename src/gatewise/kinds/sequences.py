"""Labelled sequences of feature vectors: speech frames, sensor readings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gatewise.kinds.kind import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True)
class LabelledFacts(Facts):
    """What all labelled sequences of feature vectors share, wherever the vectors come from."""

    summary: ClassVar[str] = "labelled feature sequences"

    feature_size: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    """Number of training examples of each class, for the majority baseline."""
    mean: tuple[float, ...]
    """Mean of each feature over the training frames; inputs are scaled to (x - mean) / std."""
    std: tuple[float, ...]

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        if self.feature_size < 1:
            raise self.wrong("feature_size", "must be at least 1")
        self.check_distinct("classes")
        self.check_counts("class_counts", len(self.classes), "classes")
        self.check_scaler(self.feature_size, "features (feature_size)")

    def agrees_with(self, earlier: Facts) -> bool:
        """Whether they are equal but for the rounding of float32, in which means once were computed."""
        if not isinstance(earlier, type(self)) or len(earlier.mean) != len(self.mean):
            return False
        scalers = zip(self.mean, earlier.mean, self.std, earlier.std, strict=True)
        return replace(self, mean=earlier.mean, std=earlier.std) == earlier and all(
            max(abs(mean - other_mean), abs(std - other_std)) <= 1e-6 * abs(mean) + 1e-5 * std
            for mean, other_mean, std, other_std in scalers
        )


@dataclass(frozen=True)
class FeatureFacts(LabelledFacts):
    """Labelled sequences of feature vectors that a file has as they are (speech frames, sensor readings)."""

    kind: ClassVar[str] = "features"

    missing: str = "refuse"
    """What is done with values that are not known, before all else; see ``data.missing``."""
    thin: int = 1
    """So many steps of a file are one, their mean."""
    normalise: bool = False
    """Whether each feature of each sequence is brought to mean 0 and standard deviation 1 by itself."""
    label_column: str = "label"
    sequence_column: str | None = "sequence"
    step_column: str | None = None
    """Columns of a table, as the settings of the data name them."""
    features: tuple[str, ...] = ()
    """Names of the features in their order, where the training file names them."""

    def check(self) -> None:
        super().check()
        if self.missing not in ("refuse", "interpolate", "forward_fill"):
            raise self.wrong("missing", "must be refuse, interpolate or forward_fill")
        if self.thin < 1:
            raise self.wrong("thin", "must be at least 1")
        if self.features and len(self.features) != self.feature_size:
            raise self.wrong("features", f"must name each of the {self.feature_size} features (feature_size)")


class SequenceBatch(NamedTuple):
    """Labelled feature sequences, padded at the end with zeros."""

    inputs: Tensor
    """[B, T, F] float: scaled features."""
    lengths: Tensor
    """[B] int64: number of steps of each sequence without padding."""
    targets: Tensor
    """[B] int64: class index, or IGNORED if the label is unknown."""
    neighbours: Mapping[str, Tensor] | None = None
    """As ``targets``, but what simple classifiers give, by name, in batches of the test split only."""
