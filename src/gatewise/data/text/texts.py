"""A data set of labelled texts, and the classes of what was read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data.classes import class_indices, natural_order
from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.text.documents import Documents
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds.labelled_text import LabelledTextBatch, ReadTextFacts


class TextsOfClasses(BatchDataset):
    """Texts in one flat tensor of ids; ``dataset[indices]`` pads them to the longest of the batch.

    Args:
        split: more texts than these.
        chosen: [N] which of them.
        targets: [N] their classes, or [N, questions] where there are several.
        facts: with the vocabulary.
        texts: the N texts as they were read.
        ratios: [tokens of the N texts, ratio_size] the log-count ratios, where there are any.
    """

    def __init__(
        self,
        split: Tokenized,
        chosen: NDArray[np.int64],
        targets: NDArray[np.int64],
        facts: ReadTextFacts,
        texts: list[str] | None = None,
        ratios: NDArray[np.float32] | None = None,
    ) -> None:
        ids = split.ids_in(facts.vocabulary)
        own = split.select(chosen, facts.max_length)
        lengths = np.maximum(own.lengths, 1)
        tokens = np.zeros(lengths.sum(), np.int64)  # a text without a token stays <unk>
        is_token = np.repeat(own.lengths > 0, lengths)
        tokens[is_token] = ids[own.ids]
        self.ratios: torch.Tensor | None = None
        """[sum of lengths, ratio_size]: the log-count ratios of each token; None where there are none."""
        if ratios is not None:
            self.ratios = torch.zeros(len(tokens), ratios.shape[1])
            self.ratios[torch.from_numpy(is_token)] = torch.from_numpy(ratios)
        self.tokens = torch.from_numpy(tokens)
        """[sum of lengths]"""
        self.lengths = torch.from_numpy(lengths)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.targets = torch.from_numpy(targets)
        self.texts = texts
        self.linear: torch.Tensor | None = None
        """[N]: the classes that the linear baseline gives."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> LabelledTextBatch:
        lengths = self.lengths[indices]
        places, real = padded_places(self.starts[indices], lengths)
        tokens = self.tokens[places].masked_fill_(~real, 0)
        texts = None if self.texts is None else [self.texts[i] for i in indices]
        linear = None if self.linear is None else self.linear[indices]
        ratios = None if self.ratios is None else self.ratios[places].masked_fill_(~real.unsqueeze(-1), 0.0)
        return LabelledTextBatch(tokens, lengths, self.targets[indices], texts, linear, ratios)


def classes_of(documents: Documents) -> tuple[str, ...]:
    """The labels in their order; ValueError for two that look alike, which would be two classes."""
    assert documents.labels is not None
    classes = sorted(set(documents.labels), key=natural_order)
    seen: dict[str, str] = {}
    for label in classes:
        other = seen.setdefault(" ".join(unicodedata.normalize("NFC", label).split()), label)
        if other != label:
            place, before = (documents.place(documents.labels.index(name)) for name in (label, other))
            raise ValueError(f"{place}: label {label!r} looks like {other!r} of {before}: write them alike")
    return tuple(classes)


def targets_of(documents: Documents, classes: Sequence[str]) -> NDArray[np.int64]:
    """Class index of each text; ValueError for a label that is not in the training data."""
    assert documents.labels is not None
    return np.array(class_indices(documents.labels, classes, documents.place), dtype=np.int64)


def check_tokens(documents: Documents, split: Tokenized) -> None:
    """Raise ValueError, with file and line, for a text that has no token, such as one of invisible signs."""
    empty = np.flatnonzero(split.lengths == 0)
    if len(empty):
        raise ValueError(
            f"{documents.place(int(empty[0]))}: the text {documents.texts[empty[0]][:30]!r} has no token: "
            f"fill it in or drop it"
        )
