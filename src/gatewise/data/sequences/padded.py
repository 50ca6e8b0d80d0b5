"""Sequences of different lengths as padded batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.sequences.labelled import LabelledSequences
from gatewise.kinds.sequences import LabelledFacts, SequenceBatch


class PaddedSequences(BatchDataset):
    """Scaled sequences in one flat tensor; ``dataset[indices]`` pads them to the longest of the batch."""

    def __init__(self, data: LabelledSequences, targets: Sequence[int], facts: LabelledFacts) -> None:
        if data.feature_size != facts.feature_size:
            raise ValueError(
                f"{data.places[0]}: {data.feature_size} features, but the training data has "
                f"{facts.feature_size}: give sequences of {facts.feature_size} features"
            )
        mean, std = np.array(facts.mean), np.array(facts.std)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            # Scaled in float64: in float32 a value of a hundred million has no decimals.
            scaled = [((sequence - mean) / std).astype(np.float32) for sequence in data.sequences]
        for place, sequence in zip(data.places, scaled, strict=True):
            if not np.isfinite(sequence).all():
                feature = int(np.argwhere(~np.isfinite(sequence))[0][1]) + 1
                raise ValueError(f"{place}: feature {feature} holds numbers too large to scale: correct them")
        self.frames = torch.from_numpy(np.concatenate(scaled))
        """[sum of lengths, F]"""
        self.lengths = torch.tensor([len(sequence) for sequence in data.sequences])
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.targets = torch.tensor(targets)
        self.neighbours: dict[str, torch.Tensor] | None = None
        """As ``targets``, but what simple classifiers give, by name; set before a test."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        lengths = self.lengths[indices]
        places, real = padded_places(self.starts[indices], lengths)
        inputs = self.frames.new_zeros(*real.shape, self.frames.shape[1])
        inputs[real] = self.frames[places[real]]
        answers = self.neighbours
        neighbours = None if answers is None else {name: given[indices] for name, given in answers.items()}
        return SequenceBatch(inputs, lengths, self.targets[indices], neighbours)
