"""Labelled feature sequences (speech frames, sensor readings) as padded batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data.files import find_file
from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.data.sequences.formats import UNLABELLED, LabelledSequences, read_sequences
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.settings import Count, DataFile, Fraction, Positive, did_you_mean, rule, split_fractions


@rule
def check_held_out(
    validation_file: str | None, test_file: str | None, validation_fraction: float, test_fraction: float
) -> None:
    """Raise ValueError if nothing of the training file is left to train on."""
    if not (test_file or validation_file):
        split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


class FeatureSequences(SequenceDataModule):
    """Sequences of feature vectors with one class label each, from ``.ts`` or ``.npz`` files.

    Args:
        train_file: labelled sequences; the class names and the scaler come from them.
        test_file: without it, ``test_fraction`` of the training file is held out.
        validation_file: without it, ``validation_fraction`` of the rest of the training file is held out.
        validation_fraction, test_fraction: shares of every class, drawn with the seed.
        package: an installed package (such as ``sktime``) to search for files that no folder has.
        scale: whether inputs are scaled to (x - mean) / std of each feature over the training frames.
    """

    facts_type = FeatureFacts
    facts: FeatureFacts | None
    train_data: PaddedSequences
    validation_data: PaddedSequences
    test_data: PaddedSequences

    def __init__(
        self,
        train_file: DataFile,
        test_file: DataFile | None = None,
        validation_file: DataFile | None = None,
        validation_fraction: Fraction = 0.2,
        test_fraction: Fraction = 0.2,
        package: str | None = None,
        folders: Sequence[str | Path] = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        scale: bool = True,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.train_file = train_file
        self.test_file = test_file
        self.validation_file = validation_file
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.package = package
        self.scale = scale

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file:
            self.test_data = self._dataset(self._read(self.test_file, "test_file"), "test_file")
            return
        train = self._read(self.train_file, "train_file")
        _labels(train, "train_file")
        test = self._read(self.test_file, "test_file") if self.test_file else None
        if test is None:
            train, test = self._hold_out(train, self.test_fraction, "test")
        validation = self._read(self.validation_file, "validation_file") if self.validation_file else None
        if validation is None:
            train, validation = self._hold_out(train, self.validation_fraction, "validation")
        if self.facts is None:
            self.facts = _facts(train, self.scale)
        self.train_data = self._dataset(train, "train_file")
        self.validation_data = self._dataset(validation, "validation_file")
        self.test_data = self._dataset(test, "test_file")

    @classmethod
    def read_input(cls, given: Path | str, facts: FeatureFacts) -> Input:
        """All sequences of a ``.ts``, ``.npz`` or ``.npy`` file, scaled as in training.

        A target is the class index if the file's label is one of the training classes, else IGNORED. Raises
        ValueError if the file cannot be read or its features are not as many as in training.
        """
        data = read_sequences(Path(given))
        index = {label: i for i, label in enumerate(facts.classes)}
        targets = [index.get(label, IGNORED) for label in data.labels or [UNLABELLED] * len(data.sequences)]
        labels = [facts.classes[target] if target != IGNORED else "" for target in targets]
        batch = PaddedSequences(data, targets, facts)[list(range(len(targets)))]
        return Input(batch, Path(given).name, {"label": labels} if any(labels) else {})

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        lengths = torch.cat([d.lengths for d in (self.train_data, self.validation_data, self.test_data)])
        return {
            "training sequences": len(self.train_data),
            "validation sequences": len(self.validation_data),
            "test sequences": len(self.test_data),
            "steps per sequence": f"{int(lengths.min())} to {int(lengths.max())}",
            "features": self.facts.feature_size,
            "classes": len(self.facts.classes),
        }

    def save_example(self, folder: Path) -> str:
        assert self.facts is not None
        scaled = self.test_data[[0]].inputs[0].numpy()
        path = folder / "example.npy"
        np.save(path, scaled * np.array(self.facts.std) + np.array(self.facts.mean))
        return str(path)

    def _read(self, file: str, setting: str) -> LabelledSequences:
        return read_sequences(find_file(file, self.folders, f"data.{setting}", self.package))

    def _dataset(self, data: LabelledSequences, setting: str) -> PaddedSequences:
        assert self.facts is not None
        return PaddedSequences(data, _class_indices(data, self.facts, setting), self.facts)

    def _hold_out(
        self, data: LabelledSequences, share: float, part: str
    ) -> tuple[LabelledSequences, LabelledSequences]:
        """(rest, held out): ``share`` of every class, drawn with the seed; never a whole class."""
        labels = np.array(_labels(data, "train_file"))
        held_out = np.zeros(len(labels), dtype=bool)
        # Each part has its own generator, so that giving one file more changes no other draw.
        generator = np.random.default_rng([self.seed, ("validation", "test").index(part)])
        for label in np.unique(labels):
            members = generator.permutation(np.flatnonzero(labels == label))
            held_out[members[: min(round(share * len(members)), len(members) - 1)]] = True
        if not held_out.any():
            raise ValueError(
                f"data.{part}_fraction={share} of {len(labels)} sequences in {len(np.unique(labels))} "
                f"classes leaves none for {part}: raise it or give data.{part}_file"
            )
        return _select(data, np.flatnonzero(~held_out)), _select(data, np.flatnonzero(held_out))


class PaddedSequences(BatchDataset):
    """Scaled sequences in one flat tensor; ``dataset[indices]`` pads them to the longest of the batch."""

    def __init__(self, data: LabelledSequences, targets: Sequence[int], facts: FeatureFacts) -> None:
        if data.feature_size != facts.feature_size:
            raise ValueError(
                f"{data.places[0]}: {data.feature_size} features, but the training data has "
                f"{facts.feature_size}: give sequences of {facts.feature_size} features"
            )
        mean = np.array(facts.mean, dtype=np.float32)
        std = np.array(facts.std, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scaled = [(sequence - mean) / std for sequence in data.sequences]
        for place, sequence in zip(data.places, scaled, strict=True):
            if not np.isfinite(sequence).all():
                feature = int(np.argwhere(~np.isfinite(sequence))[0][1]) + 1
                raise ValueError(f"{place}: feature {feature} holds numbers too large to scale: correct them")
        self.frames = torch.from_numpy(np.concatenate(scaled))
        """[sum of lengths, F]"""
        self.lengths = torch.tensor([len(sequence) for sequence in data.sequences])
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.targets = torch.tensor(targets)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        lengths, starts = self.lengths[indices], self.starts[indices]
        steps = torch.arange(int(lengths.max()))
        real = steps < lengths[:, None]
        inputs = self.frames.new_zeros(*real.shape, self.frames.shape[1])
        inputs[real] = self.frames[(starts[:, None] + steps)[real]]
        return SequenceBatch(inputs, lengths, self.targets[indices])


def _facts(train: LabelledSequences, scale: bool) -> FeatureFacts:
    counts = Counter(_labels(train, "train_file"))
    classes = sorted(counts, key=_natural_order)
    frames = np.concatenate(train.sequences).astype(np.float64)
    mean, std = frames.mean(axis=0), frames.std(axis=0)
    # Rounding can give a constant feature a tiny std, which would blow it up.
    std[std <= 1e-6 * np.abs(mean)] = 1.0
    if not scale:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    return FeatureFacts(
        feature_size=train.feature_size,
        classes=tuple(classes),
        class_counts=tuple(counts[label] for label in classes),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def _natural_order(label: str) -> tuple[bool, int, str]:
    """Sort key: whole numbers by value, before all other labels in alphabetical order."""
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


def _labels(data: LabelledSequences, setting: str) -> list[str]:
    """The label of each sequence; ValueError if one is unknown."""
    if data.labels is None:
        raise ValueError(
            f"data.{setting}: {data.places[0].rsplit(':', 1)[0]} has no labels: add them to the file"
        )
    for label, place in zip(data.labels, data.places, strict=True):
        if label in (UNLABELLED, ""):
            raise ValueError(f"{place}: the label is unknown ({label!r}): label the sequence or drop it")
    return data.labels


def _class_indices(data: LabelledSequences, facts: FeatureFacts, setting: str) -> list[int]:
    """Class index of each sequence; ValueError for a label that is not in the training data."""
    labels = _labels(data, setting)
    index = {label: i for i, label in enumerate(facts.classes)}
    for label, place in zip(labels, data.places, strict=True):
        if label not in index:
            raise ValueError(
                f"{place}: label {label!r} is not among the classes of the training data"
                f"{did_you_mean(label, facts.classes)}: {', '.join(facts.classes)}"
            )
    return [index[label] for label in labels]


def _select(data: LabelledSequences, indices: NDArray[np.int64]) -> LabelledSequences:
    assert data.labels is not None
    return LabelledSequences(
        [data.sequences[i] for i in indices],
        [data.labels[i] for i in indices],
        [data.places[i] for i in indices],
    )
