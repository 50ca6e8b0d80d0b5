"""Units in an order in which like ones are neighbours, for a heat map to show blocks instead of noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from gatewise.inspection.standardised import Floats, standardised, without_padding

MOST_OPTIMAL = 300
"""Units up to which the best order of the leaves is found; its time grows with their third power."""


def similar_order(values: Floats) -> NDArray[np.int64]:
    """Numbers of the units in order of similarity: [T, U] -> [U].

    Units are clustered by the mean of 1 - r, r being their correlation over the steps, and the branches of
    the tree turned so that neighbours are as alike as can be: the best of all turns for up to
    ``MOST_OPTIMAL`` units, beyond that the best turn at each join. Constant units come last, by number; steps
    that are NaN in all units are padding. The same array always gives the same order.
    """
    columns, varies = standardised(without_padding(values))
    varied = np.flatnonzero(varies)
    constant = np.flatnonzero(~varies)
    if len(varied) < 3:
        return np.concatenate([varied, constant]).astype(np.int64)
    columns = columns[:, varied]
    distance = np.clip(1.0 - columns.T @ columns, 0.0, 2.0)
    np.fill_diagonal(distance, 0.0)
    pairs = squareform(distance, checks=False)
    tree = linkage(pairs, method="average")
    if len(varied) <= MOST_OPTIMAL:
        order = leaves_list(optimal_leaf_ordering(tree, pairs))
    else:
        order = _turned(tree, distance)
    if order[0] > order[-1]:  # an order and its reverse are as good
        order = order[::-1]
    return np.concatenate([varied[order], constant]).astype(np.int64)


def _turned(tree: Floats, distance: Floats) -> NDArray[np.int64]:
    """Leaves of the tree, each join made at the nearest two of the ends of both branches."""
    leaves = len(tree) + 1
    branches: list[list[int]] = [[leaf] for leaf in range(leaves)]
    for join in tree[:, :2].astype(int):
        left, right = branches[join[0]], branches[join[1]]
        ends = (left[-1], left[0]), (right[0], right[-1])
        nearest = int(distance[np.ix_(*ends)].argmin())
        turned_left, turned_right = divmod(nearest, 2)
        branches.append(left[:: -1 if turned_left else 1] + right[:: -1 if turned_right else 1])
    return np.array(branches[-1], dtype=np.int64)
