"""Labelled sequences as they are read, and what is done with each before it is scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.settings.checks import shown

UNLABELLED = "?"
"""What a file has in place of a label that is not known."""
Missing = Literal["refuse", "interpolate", "forward_fill"]


@dataclass(frozen=True)
class LabelledSequences:
    """Feature sequences [T, F] float64; either all have a label or none has."""

    sequences: list[NDArray[np.float64]]
    labels: list[str] | None
    places: list[str]
    """``file:line`` or ``file: sequence i`` of each, for messages."""
    features: tuple[str, ...] = ()
    """Names of the F features, where the file names them."""
    as_read: list[NDArray[np.float64]] | None = None
    """Each as the file has it; None where nothing was done with them."""

    @property
    def feature_size(self) -> int:
        """F, the same for all sequences."""
        return int(self.sequences[0].shape[1])

    @property
    def file(self) -> str:
        """The file that the sequences are from."""
        return self.places[0].rsplit(":", 1)[0]

    def chosen(self, indices: NDArray[np.int64]) -> LabelledSequences:
        """Those of some indices, which have labels."""
        assert self.labels is not None
        return replace(
            self,
            sequences=[self.sequences[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            places=[self.places[i] for i in indices],
            as_read=None if self.as_read is None else [self.as_read[i] for i in indices],
        )

    def joined(self, other: LabelledSequences) -> LabelledSequences:
        """These and those of another file, all with labels; what was done with them is forgotten."""
        assert self.labels is not None
        assert other.labels is not None
        return LabelledSequences(
            self.sequences + other.sequences,
            self.labels + other.labels,
            self.places + other.places,
            self.features,
        )

    def named(self, features: Sequence[str]) -> LabelledSequences:
        """With the features of these names in this order; ValueError where the file has not just these."""
        if not self.features or not features or self.features == tuple(features):
            return self
        if sorted(self.features) != sorted(features):
            raise ValueError(
                f"{self.file}:1: the features are {shown(', '.join(self.features))}, but those of the "
                f"training are {shown(', '.join(features))}: give the same columns"
            )
        order = [self.features.index(name) for name in features]
        as_read = None if self.as_read is None else [s[:, order] for s in self.as_read]
        sequences = [s[:, order] for s in self.sequences]
        return replace(self, sequences=sequences, features=tuple(features), as_read=as_read)


@dataclass(frozen=True)
class Reading:
    """How files are read, and what is done with each sequence for itself.

    ``missing``: NaN is refused, or filled by a straight line between the values around it or by the value
    before it; at an end of the sequence by the nearest value. ``thin``: the mean of so many steps becomes
    one. ``normalise``: each feature of each sequence gets mean 0 and standard deviation 1. The columns are
    those of a table, see :mod:`gatewise.data.sequences.table`.
    """

    missing: Missing = "refuse"
    thin: int = 1
    normalise: bool = False
    label_column: str = "label"
    sequence_column: str | None = "sequence"
    step_column: str | None = None

    def prepared(self, data: LabelledSequences) -> LabelledSequences:
        """Filled, thinned and normalised; ValueError for a feature without a single value."""
        if self.missing == "refuse" and self.thin == 1 and not self.normalise:
            return data
        sequences = list(map(self._prepared, data.sequences, data.places))
        return replace(data, sequences=sequences, as_read=data.sequences)

    def _prepared(self, sequence: NDArray[np.float64], place: str) -> NDArray[np.float64]:
        if self.missing != "refuse":
            sequence = filled(sequence, self.missing, place)
        if self.thin > 1:
            sequence = thinned(sequence, self.thin)
        return normalised(sequence) if self.normalise else sequence


def filled(sequence: NDArray[np.float64], missing: Missing, place: str) -> NDArray[np.float64]:
    """A sequence [T, F] with a number in place of each NaN."""
    gaps = np.isnan(sequence)
    if not gaps.any():
        return sequence
    sequence = sequence.copy()
    times = np.arange(len(sequence))
    for feature in np.flatnonzero(gaps.any(0)).tolist():
        gap = gaps[:, feature]
        there = times[~gap]
        if not len(there):
            raise ValueError(
                f"{place}: feature {feature + 1} has no value at all: drop the sequence or the feature"
            )
        values = sequence[there, feature]
        if missing == "interpolate":
            sequence[gap, feature] = np.interp(times[gap], there, values)
        else:
            sequence[gap, feature] = values[np.maximum(np.searchsorted(there, times[gap]) - 1, 0)]
    return sequence


def thinned(sequence: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """The mean of each ``steps`` steps, the last of those that are left."""
    starts = np.arange(0, len(sequence), steps)
    counts = np.diff(np.append(starts, len(sequence)))
    means: NDArray[np.float64] = np.add.reduceat(sequence / steps, starts) * (steps / counts)[:, None]
    return means


def normalised(sequence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each feature brought to mean 0 and standard deviation 1; one that is constant to 0."""
    mean, std = moments(sequence)
    std[is_constant(sequence)] = 1.0
    return (sequence - mean) / std


def moments(frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column, also where squares would leave the range of float64."""

    def unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # A power of two: multiplying by it changes no digit.
        exponents = np.frexp(np.abs(values).max(axis=0))[1]
        power: NDArray[np.float64] = np.ldexp(1.0, np.clip(exponents, -1000, 1000))
        return power

    scale = unit(frames)
    mean = (frames / scale).mean(axis=0)
    deviations = frames / scale - mean
    inner = unit(deviations)
    return mean * scale, np.sqrt(((deviations / inner) ** 2).mean(axis=0)) * inner * scale


def is_constant(frames: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each column has one value, but for the rounding of float64."""
    with np.errstate(over="ignore"):
        spread = frames.max(axis=0) - frames.min(axis=0)
    constant: NDArray[np.bool_] = spread <= 4 * np.finfo(np.float64).eps * np.abs(frames).max(axis=0)
    return constant
