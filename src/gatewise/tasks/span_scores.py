"""Precision, recall and F1 of spans, counted as conlleval counts them, over an epoch and all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.tag_schemes import Spans, SpanTags

What = Literal["f1", "precision", "recall"]
Surfaces = set[tuple[tuple[str, ...], str]]
"""Different entities, each as its words and its class."""


class SpanCounts(Metric):
    """How many spans of each class are right, were predicted, and are there: [3, classes].

    A span is right if its first and last word and its class are (Tjong Kim Sang & De Meulder, "Introduction
    to the CoNLL-2003 Shared Task", CoNLL 2003). The counts of every class are summed over all batches and
    processes, so that a score from them is that of the whole text. Predictions and targets are tags [N], with
    IGNORED as a target between sentences.
    """

    full_state_update = False
    right: Tensor
    """[classes] int64: spans that are right."""
    predicted: Tensor
    """[classes] int64: all that were predicted."""
    true: Tensor
    """[classes] int64: all that there are."""

    def __init__(self, tags: SpanTags, **settings: Any) -> None:
        super().__init__(**settings)
        self.tags = tags
        for name in ("right", "predicted", "true"):
            zeros = torch.zeros(max(len(tags.names), 1), dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Add tags [N], in which a target IGNORED ends a sentence."""
        found, true = spans_of(predicted, targets, self.tags)
        is_right = is_among(found, true)
        for name, classes in (
            ("right", found.classes[is_right]), ("predicted", found.classes), ("true", true.classes)
        ):  # fmt: skip
            counts = np.bincount(classes, minlength=len(self.right))
            setattr(self, name, getattr(self, name) + torch.from_numpy(counts).to(self.right.device))

    def compute(self) -> Tensor:
        """Spans that are right, predicted and true, by class."""
        return torch.stack([self.right, self.predicted, self.true])


class SpanScore(SpanCounts):
    """The F1, precision or recall of spans, over all classes together; 0 where there is nothing to count."""

    higher_is_better = True

    def __init__(self, tags: SpanTags, what: What = "f1", **settings: Any) -> None:
        super().__init__(tags, **settings)
        self.what = what

    def compute(self) -> Tensor:
        """The score."""
        return scores(*super().compute().sum(1))[self.what]


def scores(right: Tensor, predicted: Tensor, true: Tensor) -> dict[What, Tensor]:
    """Precision, recall and F1 of counts."""
    right = right.to(torch.get_default_dtype())
    # F1 = 2PR / (P + R), and 0 where that is 0 / 0.
    return {
        "f1": 2 * right / (predicted + true).clamp(min=1),
        "precision": right / predicted.clamp(min=1),
        "recall": right / true.clamp(min=1),
    }


def spans_of(predicted: Tensor, targets: Tensor, tags: SpanTags) -> tuple[Spans, Spans]:
    """(Spans of the predictions, true spans) of tags [N], in which a target IGNORED ends a sentence."""
    truth = targets.cpu().numpy()
    is_between = truth == IGNORED
    begins = np.concatenate([[True], is_between[:-1]])
    outside = int(np.flatnonzero(tags.prefixes == 0)[0])
    rows = (predicted.cpu().numpy(), truth)
    found, true = (tags.spans(np.where(is_between, outside, row), begins) for row in rows)
    return found, true


def is_among(found: Spans, true: Spans) -> NDArray[np.bool_]:
    """Which of the spans found are among the true ones: same first word, last word and class."""
    if not len(true.first):
        return np.zeros(len(found.first), bool)
    place = np.minimum(np.searchsorted(true.first, found.first), len(true.first) - 1)
    same: NDArray[np.bool_] = (
        (true.first[place] == found.first)
        & (true.end[place] == found.end)
        & (true.classes[place] == found.classes)
    )
    return same


class SurfaceScore:
    """Precision, recall and F1 of different entities, however often each of them occurs.

    An entity is its words, as they are written, and its class; it is right where it was found at a place at
    which it is (Derczynski et al., "Results of the WNUT2017 Shared Task on Novel and Emerging Entity
    Recognition", W-NUT 2017).
    """

    def __init__(self, tags: SpanTags) -> None:
        self.tags = tags
        self.right: Surfaces = set()
        self.predicted: Surfaces = set()
        self.true: Surfaces = set()

    def update(self, predicted: Tensor, targets: Tensor, words: Sequence[str]) -> None:
        """Add tags [N] and the N words, in which a target IGNORED ends a sentence."""
        found, true = spans_of(predicted, targets, self.tags)
        is_right = is_among(found, true)
        self.right |= self._named(Spans(*(part[is_right] for part in found)), words)
        self.predicted |= self._named(found, words)
        self.true |= self._named(true, words)

    def _named(self, spans: Spans, words: Sequence[str]) -> Surfaces:
        names = self.tags.names
        rows = zip(*(part.tolist() for part in spans), strict=True)
        return {(tuple(words[first:end]), names[label]) for first, end, label in rows}

    def add(self, others: Iterable[tuple[Surfaces, Surfaces, Surfaces]]) -> None:
        """Add what other processes have counted: what is right, predicted and true."""
        for right, predicted, true in others:
            self.right |= right
            self.predicted |= predicted
            self.true |= true

    def counted(self) -> tuple[Surfaces, Surfaces, Surfaces]:
        """What is right, predicted and true."""
        return self.right, self.predicted, self.true

    def compute(self) -> Tensor:
        """The F1."""
        return scores(*(torch.tensor(len(part)) for part in self.counted()))["f1"]
