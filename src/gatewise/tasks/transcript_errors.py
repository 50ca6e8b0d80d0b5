"""Word and unit error rates of transcripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.kinds.transcripts import TranscriptFacts
from gatewise.tasks.error_rates import edit_distances, numbered, percent
from gatewise.tasks.scores import Measure
from gatewise.tasks.summed import SummedErrors

UNIT_EDITS = 2
"""The column of :func:`statistics` with the units that are wrong."""


def statistics(
    answers: Sequence[Sequence[int]], references: Sequence[Sequence[int]], facts: TranscriptFacts
) -> Tensor:
    """What the error rates of B answers are computed from: counts [B, 6] int64, to be summed over rows.

    The columns: words to insert, delete or replace, and the words of the reference; the same of units; 1
    where the answer is not the reference, and 1. Words are what white space parts.
    """
    names = facts.units
    splits: tuple[Callable[[Sequence[int]], list[str]], ...] = (
        lambda units: facts.text(units).split(),
        lambda units: [names[unit] for unit in units],
    )
    edits: list[NDArray[np.int64]] = []
    for split in splits:
        numbers: dict[str, int] = {}
        own, right = (numbered([split(units) for units in texts], numbers) for texts in (answers, references))
        edits += [edit_distances(*own, *right), right[1]]
    counts = np.stack([*edits, edits[UNIT_EDITS] > 0, np.ones_like(edits[0])], 1)
    return torch.from_numpy(counts.astype(np.int64))


def measures() -> Mapping[str, Measure]:
    """Word, unit and transcript error rate; each metric is updated with :func:`statistics`."""
    meaning = "{} to insert, delete or replace, in percent of those of the transcripts; lower is better"
    return {
        "word_error_rate": Measure(meaning.format("words"), SummedErrors(0, 2, percent)),
        "unit_error_rate": Measure(meaning.format("units"), SummedErrors(2, 4, percent)),
        "transcript_error_rate": Measure(
            "share of transcripts with a mistake, in percent; lower is better", SummedErrors(4, 6, percent)
        ),
    }
