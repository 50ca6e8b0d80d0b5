"""Classes of labelled examples: their order, and parts that hold every class alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def natural_order(label: str) -> tuple[bool, int, str]:
    """Sort key: whole numbers by value, before all other labels in alphabetical order."""
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


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
