"""What a forecaster is told of its series, and the windows that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """Sizes and places in the windows of a forecaster."""

    features: int
    """F: numbers of each step seen."""
    columns: int
    """The first of them, which are values of the series; masks and the calendar come behind."""
    targets: tuple[int, ...]
    """Places of the C targets among the columns."""
    known: tuple[int, ...]
    """Places of the columns that are known for the steps to forecast."""
    masks: tuple[int | None, ...]
    """For each column the place of the feature that says where it is there; None where it always is."""
    known_features: int
    """K: numbers known of each step to forecast."""
    lookback: int
    horizon: int
    season: int
    categories: tuple[int, ...]
    """How many each of the Q categories has, with the one that stands for all others."""
    known_categories: tuple[int, ...]
    """Places among these of the ones that are known for the steps to forecast."""
    static: int
    static_categories: tuple[int, ...]
    series: int
    mean: tuple[float, ...]
    """[C]: a value of a target in its own units is scaled · std + mean."""
    std: tuple[float, ...]


class Window(Protocol):
    """Windows as ``gatewise.kinds.series.WindowBatch`` has them."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...
    @property
    def future(self) -> Tensor | None: ...
    @property
    def categories(self) -> Tensor | None: ...
    @property
    def static(self) -> Tensor | None: ...
    @property
    def static_categories(self) -> Tensor | None: ...
    @property
    def series(self) -> Tensor | None: ...
    @property
    def scales(self) -> Tensor | None: ...
    @property
    def phase(self) -> Tensor | None: ...
