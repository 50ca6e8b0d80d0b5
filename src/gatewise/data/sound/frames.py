"""Recordings as padded batches of scaled frames, changed at random in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewise.data.buckets import LengthBuckets
from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.sequences.labelled import is_constant, moments
from gatewise.data.sound.augmentation import Augmenter
from gatewise.data.sound.features import Frames, frames_of
from gatewise.data.sound.heard import Heard
from gatewise.data.sound.recordings import Recordings
from gatewise.kinds.sequences import SequenceBatch

Scaler = tuple[NDArray[np.float64], NDArray[np.float64]]
"""The mean and the standard deviation of each feature."""


def scaler_of(frames: Frames) -> Scaler:
    """That of frames [T, F]; of a feature with one value, which would be blown up, the deviation is 1."""
    exact = frames.astype(np.float64)
    mean, std = moments(exact)
    std[is_constant(exact)] = 1.0
    return mean, std


def scaled(frames: Frames, scaler: Scaler) -> Frames:
    mean, std = scaler
    return ((frames - mean) / std).astype(np.float32)


def by_speaker(heard: Heard, speakers: Sequence[str]) -> dict[str, Scaler]:
    """The scaler of each speaker over the recordings at hand; one who is not known is none."""
    numbers = np.repeat(np.arange(len(speakers)), heard.lengths)
    who = np.array(speakers)
    return {
        name: scaler_of(heard.frames[np.isin(numbers, np.flatnonzero(who == name))])
        for name in sorted(set(speakers) - {""})
    }


@dataclass(frozen=True)
class Normaliser:
    """Brings the features of recordings to a mean of 0 and a deviation of 1, as ``form.normalise`` says."""

    normalise: str
    of_speakers: Mapping[str, Scaler]

    @classmethod
    def of(cls, normalise: str, heard: Heard, speakers: Sequence[str]) -> Normaliser:
        return cls(normalise, by_speaker(heard, speakers) if normalise == "speaker" else {})

    def recording(self, frames: Frames, speaker: str) -> Frames:
        """One recording [T, F]; where its speaker is not known it is normalised by itself."""
        if self.normalise == "training":
            return frames
        return scaled(frames, self.of_speakers.get(speaker) or scaler_of(frames))

    def all(self, heard: Heard, speakers: Sequence[str]) -> Heard:
        """Many recordings."""
        if self.normalise == "training":
            return heard
        each = np.split(heard.frames, heard.starts[1:])
        done = [self.recording(frames, speaker) for frames, speaker in zip(each, speakers, strict=True)]
        return replace(heard, frames=np.concatenate(done))


@dataclass(frozen=True)
class InTraining:
    """What it takes to change recordings in training."""

    augmenter: Augmenter
    seed: int
    recordings: Recordings
    normaliser: Normaliser
    scaler: Scaler


class Drawn(list[int]):
    """The indices of a batch, with the epoch that it is of."""

    epoch = 0


class EpochBuckets(LengthBuckets):
    """The same batches, each with its epoch, on which depends how its examples are changed.

    A worker process sees the batch alone.
    """

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch()
        for indices in super().__iter__():
            batch = Drawn(indices)
            batch.epoch = epoch
            yield batch


class RecordedFrames(BatchDataset):
    """Scaled frames in one flat tensor; a subclass makes batches of :meth:`padded`.

    With ``training``, what is drawn for a recording depends on the seed, the epoch and its number alone: it
    is the same in any process, in any order, and in a resumed epoch.
    """

    def __init__(self, heard: Heard, scaler: Scaler, training: InTraining | None = None) -> None:
        self.frames = torch.from_numpy(scaled(heard.frames, scaler))
        """[sum of lengths, F]"""
        self.lengths = torch.from_numpy(heard.lengths)
        self.starts = torch.from_numpy(heard.starts)
        self.training = training

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """(Inputs [B, T, F] padded with zeros, their lengths [B]) of some recordings."""
        if self.training is None:
            lengths = self.lengths[indices]
            places, real = padded_places(self.starts[indices], lengths)
            inputs = self.frames.new_zeros(*real.shape, self.frames.shape[1])
            inputs[real] = self.frames[places[real]]
            return inputs, lengths
        changed = [self._changed(index, self.training, getattr(indices, "epoch", 0)) for index in indices]
        lengths = torch.tensor([len(frames) for frames in changed])
        inputs = self.frames.new_zeros(len(changed), int(lengths.max()), self.frames.shape[1])
        for row, frames in zip(inputs, changed, strict=True):
            row[: len(frames)] = torch.from_numpy(frames)
        return inputs, lengths

    def _changed(self, index: int, training: InTraining, epoch: int) -> Frames:
        augmenter = training.augmenter
        generator = np.random.default_rng([training.seed, epoch, index])
        if augmenter.by.changes_sound:
            sound = training.recordings.read(index, augmenter.form)
            frames = frames_of(augmenter.sound(sound.samples, generator), augmenter.form)
            frames = training.normaliser.recording(frames, training.recordings.speakers[index])
            frames = scaled(frames, training.scaler)
        else:
            start = int(self.starts[index])
            frames = self.frames[start : start + int(self.lengths[index])].numpy()
        return augmenter.frames(frames, generator)


class LabelledFrames(RecordedFrames):
    """Recordings with a class each."""

    def __init__(
        self, heard: Heard, scaler: Scaler, targets: Sequence[int], training: InTraining | None = None
    ) -> None:
        super().__init__(heard, scaler, training)
        self.targets = torch.tensor(targets)
        self.neighbours: dict[str, Tensor] | None = None
        """As ``targets``, but what simple classifiers give, by name; set before a test."""

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        inputs, lengths = self.padded(indices)
        answers = self.neighbours
        neighbours = None if answers is None else {name: given[indices] for name, given in answers.items()}
        return SequenceBatch(inputs, lengths, self.targets[indices], neighbours)
