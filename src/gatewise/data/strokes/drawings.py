"""What a pen wrote, as it is read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]
"""[points, 2]: where the pen was while it was down; y grows upwards."""


@dataclass
class Drawings:
    """Characters or lines, each of one or more strokes."""

    strokes: list[list[Stroke]] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    writers: list[str | None] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    """``file:line`` of each, for messages."""

    def __len__(self) -> int:
        return len(self.strokes)

    def add(self, strokes: list[Stroke], label: str | None, writer: str | None, place: str) -> None:
        """Add one; ValueError where it has no point, or one that is no number."""
        if not strokes or not all(map(len, strokes)):
            raise ValueError(f"{place}: a stroke without a point: give each at least one, or drop it")
        if not all(np.isfinite(stroke).all() and np.abs(stroke).max() < _LARGEST for stroke in strokes):
            raise ValueError(f"{place}: a point that is no number, or larger than {_LARGEST:g}: correct it")
        self.strokes.append(strokes)
        self.labels.append(label)
        self.writers.append(writer)
        self.places.append(place)

    def chosen(self, indices: Sequence[int] | NDArray[np.int64]) -> Drawings:
        """Those of some indices."""
        lists = (self.strokes, self.labels, self.writers, self.places)
        return Drawings(*([of[i] for i in indices] for of in lists))  # type: ignore[arg-type]


_LARGEST = 1e12
"""Coordinates whose squares and sums are still far from the end of the range of float64."""
