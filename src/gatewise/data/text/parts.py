"""Which of the texts are to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import folds_of, held_out


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
    parts: dict[str, NDArray[np.int64]] = {}
    is_left = np.ones(len(own), bool)
    # Each part has its own generator, so that giving one file more changes no other draw.
    for index, (part, share) in enumerate({"test": test_fraction, "validation": validation_fraction}.items()):
        if part in counts:
            continue
        left = np.flatnonzero(is_left)
        is_fold = part == "test" and fold is not None
        if is_fold:
            chosen = folds_of(own, folds, seed, stratify) == fold
        else:
            generator = np.random.default_rng([seed, 2 + index])
            chosen = held_out(own[left], round(share * len(own)), generator, stratify)
        parts[part] = left[chosen]
        if not len(parts[part]):
            said = f"fold={fold} of {folds}" if is_fold else f"{part}_fraction={share}"
            raise ValueError(
                f"data.{said} of {len(own)} texts leaves none for {part}: give more texts, or a larger share"
            )
        is_left[parts[part]] = False
    parts["train"] = np.flatnonzero(is_left)
    first = len(own)
    for part in ("validation", "test"):
        if part in counts:
            parts[part] = np.arange(first, first + counts[part])
            first += counts[part]
    return parts


def strata_of(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number [N] for each combination of targets [N] or [N, questions]."""
    return targets if targets.ndim == 1 else np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
