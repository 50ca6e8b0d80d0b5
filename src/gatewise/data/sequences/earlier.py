"""Labelled feature sequences as runs of before 26 November 2026 have split them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gatewise.data.sequences.module import FeatureSequences


class SharesOfTheRest(FeatureSequences):
    """The validation part is a share of what the test part leaves, as in the runs that name this class.

    Without it, a resumed run would train on other sequences than before.
    """

    def _sizes(self, labels: NDArray[np.str_], shares: Mapping[str, float]) -> dict[str, dict[str, int]]:
        names, left = np.unique(labels, return_counts=True)
        sizes = {}
        for part, share in shares.items():
            given = [min(round(share * int(count)), int(count) - 1) for count in left]
            left = left - given
            sizes[part] = dict(zip(names.tolist(), given, strict=True))
        return sizes
