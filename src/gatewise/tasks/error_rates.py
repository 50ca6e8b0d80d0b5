"""Word and phoneme error rates of pronunciations, of which a word may have several that are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.tasks.scores import Measure
from gatewise.tasks.summed import SummedErrors


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
    """What the error rates of B answers are computed from: counts [B, 4] int64, to be summed over rows.

    The columns: 1 where an answer is none of its references, 1, the symbols to insert, delete or replace for
    the nearest reference, and the symbols of that reference. Symbols are separated by white space.
    """
    numbers: dict[str, int] = {}
    owner = np.repeat(np.arange(len(answers)), [len(given) for given in references])
    own = numbered([answer.split() for answer in answers], numbers)
    right, lengths = numbered([text.split() for given in references for text in given], numbers)
    distances = edit_distances(own[0][owner], own[1][owner], right, lengths)
    # For each answer the nearest reference, and of equal ones the longest, as it has the lower rate.
    order = np.lexsort([-lengths, distances, owner])
    best = order[np.unique(owner[order], return_index=True)[1]]
    nearest, size = distances[best], lengths[best]
    return torch.from_numpy(np.stack([nearest > 0, np.ones_like(nearest), nearest, size], 1).astype(np.int64))


def measures() -> Mapping[str, Measure]:
    """Word and phoneme error rate; each metric is updated with :func:`statistics`."""
    return {
        "word_error_rate": Measure(
            "share of words whose answer is none of the right ones, in percent; lower is better",
            SummedErrors(0, 2, percent),
        ),
        "symbol_error_rate": Measure(
            "symbols to insert, delete or replace for the nearest right answer, in percent of its symbols; "
            "lower is better",
            SummedErrors(2, 4, percent),
        ),
    }


def edit_distances(
    first: NDArray[np.int64],
    first_lengths: NDArray[np.int64],
    second: NDArray[np.int64],
    second_lengths: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Levenshtein distances [N] of N pairs: ids [N, S] and [N, T], with lengths [N], padded at their ends."""
    steps = np.arange(second.shape[1] + 1)
    row = np.broadcast_to(steps, (len(first), len(steps)))
    distances = second_lengths.copy()  # where the first is empty
    for i in range(first.shape[1]):
        replaced = row[:, :-1] + (second != first[:, i : i + 1])
        best = np.minimum(row[:, 1:] + 1, replaced)
        best = np.concatenate([row[:, :1] + 1, best], 1)
        # An insertion costs one for each step to the right of the cell that it starts from.
        row = np.minimum.accumulate(best - steps, 1) + steps
        ends = first_lengths == i + 1
        distances[ends] = row[ends, second_lengths[ends]]
    return distances


def numbered(
    symbols: Sequence[Sequence[str]], numbers: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Ids [N, longest] padded with -1, lengths [N]) of N lists; new symbols are added to ``numbers``."""
    lengths = np.array([len(each) for each in symbols], dtype=np.int64)
    padded = np.full((len(symbols), lengths.max(initial=0)), -1)
    flat = [numbers.setdefault(symbol, len(numbers)) for each in symbols for symbol in each]
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded, lengths


def percent(sums: list[int]) -> float:
    wrong, total = sums
    return 100 * wrong / total if total else 0.0
