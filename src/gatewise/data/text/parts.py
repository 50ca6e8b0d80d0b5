"""Which of the texts are to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import folds_of, held_out

PARTS = ("train", "validation", "test")
Draw: TypeAlias = Callable[[NDArray[np.int64], int, np.random.Generator], NDArray[np.int64]]
"""Draws so many of the texts with these numbers."""


def held_out_in_turn(
    left: NDArray[np.int64], counts: Mapping[str, int], seed: int, draw: Draw
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """(Part, its texts, those that are left), for each part that gets so many of the texts ``left``.

    The test is drawn first, then the validation part; the numbers of the texts are in their order.
    """
    # Each part has its own generator, so that giving one file more changes no other draw.
    for index, part in enumerate(("test", "validation")):
        if part in counts:
            drawn = np.sort(draw(left, counts[part], np.random.default_rng([seed, 2 + index])))
            left = np.setdiff1d(left, drawn, assume_unique=True)
            yield part, drawn, left


def draw_evenly(left: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """So many of the texts, whatever they are."""
    return left[held_out(np.zeros(len(left), np.int64), count, generator, stratify=False)]


def parts_of(
    targets: NDArray[np.int64],
    counts: Mapping[str, int],
    validation_fraction: float,
    test_fraction: float,
    fold: int | None,
    folds: int,
    seed: int,
    stratify: bool,
) -> dict[str, NDArray[np.int64]]:
    """The numbers of each part's texts, among those of all sources one after the other.

    ``counts`` are the texts of each source: of ``train``, from which a part is held out that has none of its
    own, and of the other parts. Raises ValueError where nothing is left for a part.
    """
    own = targets[: counts["train"]]
    shares = {"test": test_fraction, "validation": validation_fraction}
    parts: dict[str, NDArray[np.int64]] = {}
    left = np.arange(len(own))
    if fold is not None:
        is_test = folds_of(own, folds, seed, stratify) == fold
        parts["test"], left = left[is_test], left[~is_test]
        _check_some(parts["test"], "test", f"fold={fold} of {folds}", len(own))

    def draw(left: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        return left[held_out(own[left], count, generator, stratify)]

    wanted = {part: round(shares[part] * len(own)) for part in shares if part not in {*counts, *parts}}
    for part, drawn, rest in held_out_in_turn(left, wanted, seed, draw):
        _check_some(drawn, part, f"{part}_fraction={shares[part]}", len(own))
        parts[part], left = drawn, rest
    parts["train"] = left
    first = len(own)
    for part in ("validation", "test"):
        if part in counts:
            parts[part] = np.arange(first, first + counts[part])
            first += counts[part]
    return parts


def _check_some(drawn: NDArray[np.int64], part: str, said: str, count: int) -> None:
    if not len(drawn):
        raise ValueError(
            f"data.{said} of {count} texts leaves none for {part}: give more texts, or a larger share"
        )


def strata_of(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number [N] for each combination of targets [N] or [N, questions]."""
    return targets if targets.ndim == 1 else np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
