"""Batches of labelled texts as their tasks use them: part by part, and beside a linear model."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from gatewise.kinds.labelled_text import LabelledTextBatch
from gatewise.tasks.scores import Score

CHUNK = 256
"""Texts that are predicted for at once."""


def rows_of(batch: LabelledTextBatch, rows: Tensor) -> LabelledTextBatch:
    """What a network reads of some of the texts, padded to the longest of them."""
    lengths = batch.lengths[rows]
    tokens = batch.tokens[rows, : int(lengths.max())]
    ratios = None if batch.ratios is None else batch.ratios[rows, : tokens.shape[1]]
    return LabelledTextBatch(tokens, lengths, batch.targets[rows], ratios=ratios)


def in_chunks(batch: LabelledTextBatch) -> Iterator[tuple[Tensor, LabelledTextBatch]]:
    """(Which texts, what a network reads of them), from the shortest to the longest."""
    for rows in batch.lengths.argsort().split(CHUNK):
        yield rows, rows_of(batch, rows)


def linear_baseline(batch: LabelledTextBatch) -> dict[str, Score]:
    """The score of the answers that the linear model gives, where there are any."""
    if batch.linear is None:
        return {}
    return {"naive Bayes + logistic regression": Score(None, len(batch.linear), batch.linear, batch.targets)}
