"""Labelled feature sequences (speech frames, sensor readings) as padded batches."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data.classes import absent, class_indices, natural_order, rows_of_missing
from gatewise.data.files import find_file
from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset, SequenceDataModule
from gatewise.data.sequences.formats import UNLABELLED, LabelledSequences, read_sequences
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.settings import (
    Count,
    DataFile,
    Folders,
    Fraction,
    Positive,
    rule,
    split_fractions,
)


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
        validation_file: without it, ``validation_fraction`` of the training file is held out.
        validation_fraction, test_fraction: shares of the whole training file, of every class alike, drawn
            with the seed.
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
        folders: Folders = (),
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
        self.constant: list[int] = []
        """Numbers (from 1) of the features that have a single value in the training frames."""

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file:
            self.test_data = self._dataset(self._read(self.test_file, "test_file"), "test_file")
            return
        train = self._read(self.train_file, "train_file")
        _check_labels(train)
        test = self._read(self.test_file, "test_file") if self.test_file else None
        validation = self._read(self.validation_file, "validation_file") if self.validation_file else None
        train, validation, test = self._parts(train, validation, test)
        if self.facts is None:
            self.facts = _facts(train, self.scale)
            if len(self.facts.classes) < 2:
                raise ValueError(
                    f"data.train_file: every sequence of {_file(train)} has the label "
                    f"{self.facts.classes[0]!r}: a classification needs two classes or more"
                )
        if self.scale:
            self.constant = (np.flatnonzero(_is_constant(np.concatenate(train.sequences))) + 1).tolist()
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
        parts = self.parts()
        lengths = torch.cat([part.lengths for part in parts.values()])
        rows: dict[str, str | int] = {f"{name} sequences": len(part) for name, part in parts.items()}
        rows |= {
            "steps per sequence": f"{int(lengths.min())} to {int(lengths.max())}",
            "features": self.facts.feature_size,
            "classes": len(self.facts.classes),
        }
        if self.batch_size > len(self.train_data):
            rows["batch"] = f"all training sequences at once (data.batch_size={self.batch_size})"
        if self.constant:
            rows["constant features"] = f"{', '.join(map(str, self.constant))}: centred only"
        classes = self.facts.classes
        return rows | rows_of_missing(parts, lambda part: absent(classes, part.targets), "class ")

    def largest_batch(self) -> int:
        return min(self.batch_size, len(self.train_data)) * int(self.train_data.lengths.max())

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

    def _parts(
        self, train: LabelledSequences, validation: LabelledSequences | None, test: LabelledSequences | None
    ) -> tuple[LabelledSequences, LabelledSequences, LabelledSequences]:
        """Training, validation and test; what has no file of its own is held out of the training file."""
        labels = np.array(_labels(train, "train_file"))
        shares = {}
        if test is None:
            shares["test"] = self.test_fraction
        if validation is None:
            shares["validation"] = self.validation_fraction
        left = np.arange(len(labels))
        held_out: dict[str, LabelledSequences] = {}
        for part, sizes in self._sizes(labels, shares).items():
            # Each part has its own generator, so that giving one file more changes no other draw.
            generator = np.random.default_rng([self.seed, ("validation", "test").index(part)])
            drawn = []
            for label, size in sizes.items():
                members = generator.permutation(np.flatnonzero(labels[left] == label))
                drawn += members[:size].tolist()
            if not drawn:
                raise ValueError(
                    f"data.{part}_fraction={shares[part]} of {len(labels)} sequences in "
                    f"{len(np.unique(labels))} classes leaves none for {part}: raise it or give "
                    f"data.{part}_file"
                )
            held_out[part] = _select(train, left[np.sort(drawn)])
            left = np.delete(left, drawn)
        rest = _select(train, left) if held_out else train
        return rest, validation or held_out["validation"], test or held_out["test"]

    def _sizes(self, labels: NDArray[np.str_], shares: Mapping[str, float]) -> dict[str, dict[str, int]]:
        """How many sequences of each class a part gets, by part in the order of drawing."""
        names, counts = np.unique(labels, return_counts=True)
        room = counts - 1  # every class has to keep a sequence to train on
        sizes: dict[str, dict[str, int]] = {}
        for part, share in shares.items():
            given = _apportioned(share, counts, room)
            room = room - given
            sizes[part] = dict(zip(names.tolist(), given.tolist(), strict=True))
        return sizes


class PaddedSequences(BatchDataset):
    """Scaled sequences in one flat tensor; ``dataset[indices]`` pads them to the longest of the batch."""

    def __init__(self, data: LabelledSequences, targets: Sequence[int], facts: FeatureFacts) -> None:
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

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> SequenceBatch:
        lengths = self.lengths[indices]
        places, real = padded_places(self.starts[indices], lengths)
        inputs = self.frames.new_zeros(*real.shape, self.frames.shape[1])
        inputs[real] = self.frames[places[real]]
        return SequenceBatch(inputs, lengths, self.targets[indices])


def _facts(train: LabelledSequences, scale: bool) -> FeatureFacts:
    counts = Counter(_labels(train, "train_file"))
    classes = sorted(counts, key=natural_order)
    frames = np.concatenate(train.sequences)
    mean, std = _moments(frames)
    # Rounding can give a constant feature a tiny std, which would blow it up.
    std[_is_constant(frames)] = 1.0
    if not scale:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    return FeatureFacts(
        feature_size=train.feature_size,
        classes=tuple(classes),
        class_counts=tuple(counts[label] for label in classes),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
    )


def _moments(frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column, also where squares would leave the range of float64."""

    def unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # A power of two: multiplying by it changes no digit.
        exponents = np.frexp(np.abs(values).max(axis=0))[1]
        power: NDArray[np.float64] = np.ldexp(1.0, np.clip(exponents, -1000, 1000))
        return power

    scale = unit(frames)
    mean = (frames / scale).mean(axis=0)
    deviations = frames / scale - mean
    inner = unit(deviations)
    return mean * scale, np.sqrt(((deviations / inner) ** 2).mean(axis=0)) * inner * scale


def _is_constant(frames: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each column has one value, but for the rounding of float64."""
    with np.errstate(over="ignore"):
        spread = frames.max(axis=0) - frames.min(axis=0)
    constant: NDArray[np.bool_] = spread <= 4 * np.finfo(np.float64).eps * np.abs(frames).max(axis=0)
    return constant


def _apportioned(share: float, counts: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers that add up to ``share`` of all ``counts``, each nearly that share of its own.

    By largest remainders, as in an election; none is more than its ``room``.
    """
    exact = share * counts
    given: NDArray[np.int64] = np.minimum(np.floor(exact + 1e-9).astype(np.int64), room)
    for index in np.argsort(given - exact, kind="stable").tolist():
        if given.sum() >= round(share * int(counts.sum())):
            break
        given[index] += given[index] < room[index]
    return given


def _labels(data: LabelledSequences, setting: str) -> list[str]:
    """The label of each sequence; ValueError if one is unknown."""
    if data.labels is None:
        raise ValueError(f"data.{setting}: {_file(data)} has no labels: add them to the file")
    for label, place in zip(data.labels, data.places, strict=True):
        if label in (UNLABELLED, ""):
            raise ValueError(f"{place}: the label is unknown ({label!r}): label the sequence or drop it")
        if not label.isprintable():
            raise ValueError(f"{place}: the label {label!r} has a character that cannot be seen: remove it")
    return data.labels


def _check_labels(data: LabelledSequences) -> None:
    """Raise ValueError for two labels that look alike, which would be two classes."""
    seen: dict[str, tuple[str, str]] = {}
    for label, place in zip(_labels(data, "train_file"), data.places, strict=True):
        looks = " ".join(unicodedata.normalize("NFC", label).split())
        other, before = seen.setdefault(looks, (label, place))
        if other != label:
            raise ValueError(f"{place}: label {label!r} looks like {other!r} of {before}: write them alike")


def _file(data: LabelledSequences) -> str:
    return data.places[0].rsplit(":", 1)[0]


def _class_indices(data: LabelledSequences, facts: FeatureFacts, setting: str) -> list[int]:
    """Class index of each sequence; ValueError for a label that is not in the training data."""
    labels = _labels(data, setting)
    return class_indices(labels, facts.classes, data.places.__getitem__)


def _select(data: LabelledSequences, indices: NDArray[np.int64]) -> LabelledSequences:
    assert data.labels is not None
    return LabelledSequences(
        [data.sequences[i] for i in indices],
        [data.labels[i] for i in indices],
        [data.places[i] for i in indices],
    )
