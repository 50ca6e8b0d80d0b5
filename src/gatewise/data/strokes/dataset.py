"""Characters as padded batches, varied anew in each epoch of the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.strokes.tracks import Tracks
from gatewise.data.strokes.varied import Variation
from gatewise.kinds.sequences import SequenceBatch
from gatewise.kinds.strokes import StrokeFacts


class Characters(BatchDataset):
    """Tracks with the class of each; ``dataset[indices]`` pads their scaled steps to the longest."""

    def __init__(
        self, tracks: Tracks, targets: Sequence[int], facts: StrokeFacts, varied: Variation | None = None
    ) -> None:
        self.tracks, self.facts, self.varied = tracks, facts, varied
        self.targets = torch.tensor(targets)
        self.lengths = torch.from_numpy(tracks.lengths)
        self.neighbours: dict[str, Tensor] | None = None
        """As ``targets``, but what simple classifiers give, by name; set before a test."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        chosen = np.asarray(indices)
        tracks = self.tracks.chosen(chosen)
        if self.varied is not None:
            tracks = tracks.turned(self.varied.matrices(len(self))[chosen]).normalised(self.facts.normalise)
        inputs = padded(scaled(tracks, self.facts), self.lengths[chosen])
        answers = self.neighbours
        neighbours = None if answers is None else {name: given[chosen] for name, given in answers.items()}
        return SequenceBatch(inputs, self.lengths[chosen], self.targets[chosen], neighbours)


def scaled(tracks: Tracks, facts: StrokeFacts) -> Tensor:
    """[sum of lengths, F] float32: the steps as the network reads them."""
    steps = tracks.steps(facts.step_features)
    return torch.from_numpy(((steps - facts.mean) / facts.std).astype(np.float32))


def padded(steps: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, F]: sequences that lie one after the other, padded with zeros."""
    places, is_real = padded_places(lengths.cumsum(0) - lengths, lengths)
    inputs = steps.new_zeros(*is_real.shape, steps.shape[1])
    inputs[is_real] = steps[places[is_real]]
    return inputs
