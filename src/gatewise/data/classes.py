"""Classes of labelled examples: their order, and parts that hold every class alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gatewise.settings import did_you_mean, listed

MOST_MISSING = 10
"""Classes that a part lacks which are named."""


def natural_order(label: str) -> tuple[bool, int, str]:
    """Sort key: whole numbers by value, before all other labels in alphabetical order."""
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


def class_indices(labels: Sequence[str], classes: Sequence[str], place: Callable[[int], str]) -> list[int]:
    """The class index of each label; ValueError, with its place, for one that the training data lacks."""
    index = {label: i for i, label in enumerate(classes)}
    for number, label in enumerate(labels):
        if label not in index:
            raise ValueError(
                f"{place(number)}: label {label!r} is not among the classes of the training data"
                f"{did_you_mean(label, classes)}: {', '.join(classes)}"
            )
    return [index[label] for label in labels]


def absent(classes: Sequence[str], targets: Tensor) -> list[str]:
    """The classes of which none of the targets is."""
    present = set(targets.tolist())
    return [label for i, label in enumerate(classes) if i not in present]


def rows_of_missing(
    parts: Mapping[str, Any],
    missing_in: Callable[[Any], Sequence[str]],
    what: str = "",
    most: int = MOST_MISSING,
) -> dict[str, str | int]:
    """Rows for the screen that name what the validation and test parts lack, ``what`` before the names."""
    missing = {name: missing_in(parts[name]) for name in ("validation", "test")}
    return {f"not in {name}": what + listed(names, most) for name, names in missing.items() if names}


def folds_of(targets: NDArray[np.int64], folds: int, seed: int, stratify: bool) -> NDArray[np.int64]:
    """The fold [N] of each example, 0 to ``folds`` - 1, drawn with the seed.

    Sizes differ by at most one; with ``stratify`` also those of each class.
    """
    order = _drawn(targets, np.random.default_rng([seed, 1]), stratify)
    numbers = np.empty(len(targets), np.int64)
    numbers[order] = np.arange(len(targets)) % folds
    return numbers


def held_out(
    targets: NDArray[np.int64], count: int, generator: np.random.Generator, stratify: bool
) -> NDArray[np.bool_]:
    """Which ``count`` of the examples [N] are held out; with ``stratify`` the same share of every class."""
    order = _drawn(targets, generator, stratify)
    # Evenly over the examples, which lie class by class.
    steps = np.arange(len(order) + 1) * count // max(len(order), 1)
    chosen = np.zeros(len(targets), bool)
    chosen[order[np.diff(steps) > 0]] = True
    return chosen


def _drawn(targets: NDArray[np.int64], generator: np.random.Generator, stratify: bool) -> NDArray[np.int64]:
    """All examples in a random order, with ``stratify`` class by class."""
    order = generator.permutation(len(targets))
    return order[np.argsort(targets[order], kind="stable")] if stratify else order
