"""Drawings as padded batches, varied anew in each epoch of the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.strokes.tracks import Tracks
from gatewise.data.strokes.varied import Variation
from gatewise.data.transcripts import PaddedUnits, Units
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.sequences import SequenceBatch
from gatewise.kinds.strokes import StrokeFacts, WrittenFacts
from gatewise.kinds.transcripts import TranscribedBatch

Facts = StrokeFacts | WrittenFacts


class VariedTracks(BatchDataset):
    """Tracks whose steps are scaled, padded and, with ``varied``, varied anew in each epoch."""

    def __init__(self, tracks: Tracks, facts: Facts, varied: Variation | None = None) -> None:
        self.tracks, self.facts, self.varied = tracks, facts, varied
        self.lengths = torch.from_numpy(tracks.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def inputs(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(Steps [B, T, F], lengths [B]) of some."""
        tracks, facts = self.tracks.chosen(chosen), self.facts
        if self.varied is not None:
            tracks = tracks.turned(self.varied.matrices(len(self))[chosen]).normalised(facts.normalise)
        steps = (tracks.steps(facts.step_features) - facts.mean) / facts.std
        lengths = self.lengths[chosen]
        places, is_real = padded_places(lengths.cumsum(0) - lengths, lengths)
        flat = torch.from_numpy(steps.astype(np.float32))
        inputs = flat.new_zeros(*is_real.shape, flat.shape[1])
        inputs[is_real] = flat[places[is_real]]
        return inputs, lengths


class Characters(VariedTracks):
    """Drawings with the class of each."""

    def __init__(
        self, tracks: Tracks, targets: Sequence[int], facts: StrokeFacts, varied: Variation | None = None
    ) -> None:
        super().__init__(tracks, facts, varied)
        self.targets = torch.tensor(targets)
        self.neighbours: dict[str, Tensor] | None = None
        """As ``targets``, but what simple classifiers give, by name; set before a test."""

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        chosen = np.asarray(indices)
        answers = self.neighbours
        neighbours = None if answers is None else {name: given[chosen] for name, given in answers.items()}
        return SequenceBatch(*self.inputs(chosen), self.targets[chosen], neighbours)


class Lines(VariedTracks):
    """Drawings with the units of their transcripts, where these are known."""

    def __init__(
        self,
        tracks: Tracks,
        units: Sequence[Units] | None,
        facts: WrittenFacts,
        varied: Variation | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(tracks, facts, varied)
        self.units = None if units is None else PaddedUnits(units)
        self.names = names
        """What to call each, for a test or a user."""

    def __getitem__(self, indices: list[int]) -> TranscribedBatch:
        if self.units is None:
            targets, sizes = torch.full((len(indices), 0), IGNORED), torch.full((len(indices),), -1)
        else:
            targets, sizes = map(torch.from_numpy, self.units.padded(indices, IGNORED))
        names = None if self.names is None else [self.names[index] for index in indices]
        return TranscribedBatch(*self.inputs(np.asarray(indices)), targets, sizes, names)
