"""Labelled feature sequences (speech frames, sensor readings) as padded batches."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from gatewise.data.classes import absent, class_indices, natural_order, rows_of_missing
from gatewise.data.files import find_file
from gatewise.data.module import SequenceDataModule
from gatewise.data.sequences.formats import read_sequences
from gatewise.data.sequences.labelled import (
    UNLABELLED,
    LabelledSequences,
    Missing,
    Reading,
    is_constant,
    moments,
)
from gatewise.data.sequences.neighbours import Answers, answers_to_scaled
from gatewise.data.sequences.padded import PaddedSequences
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sequences import FeatureFacts
from gatewise.settings import (
    Count,
    DataFile,
    Folders,
    Fraction,
    Positive,
    rule,
)

log = logging.getLogger(__name__)

ArchiveName = Literal[
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PLAID",
    "UnitTest",
]
"""Sets of the UCR and UEA archives that come with sktime."""
ARCHIVE = "datasets/data/{name}/{name}_{part}.ts"
"""Where a part of one of them lies in that package."""


@rule
def check_one_source(train_file: str | None, dataset: str | None) -> None:
    """Raise ValueError unless there is one source of sequences."""
    if (train_file is None) == (dataset is None):
        got = "none of them" if train_file is None else f"{train_file} and {dataset}"
        raise ValueError(
            f"give one of data.train_file and data.dataset, and set the other to null; got {got}"
        )


class FeatureSequences(SequenceDataModule):
    """Sequences of feature vectors with one class label each, from ``.ts``, ``.csv`` or ``.npz`` files.

    Args:
        train_file: labelled sequences; the class names and the scaler come from them.
        dataset: instead of that, a set of the UCR and UEA archives that comes with sktime, in its own two
            parts.
        test_file: without it, ``test_fraction`` of the training file is held out.
        validation_file: without it, ``validation_fraction`` of the training file is held out.
        validation_fraction, test_fraction: shares of the whole training file, of every class alike, drawn
            with the seed.
        package: an installed package (such as ``sktime``) to search for files that no folder has.
        scale: whether inputs are scaled to (x - mean) / std of each feature over the training frames.
        missing, thin, normalise, label_column, sequence_column, step_column: how files are read and what is
            done with each sequence before that, see :class:`gatewise.data.sequences.labelled.Reading`.
        neighbours: whether nearest neighbours and centroids of the training and validation sequences stand
            beside each test.
        dtw_cells: most cells of dynamic time warping, the work of these; None: any number.
        cache_dir: where their answers are kept for the next training, if they are slow; None keeps nothing.
    """

    facts_type = FeatureFacts
    facts: FeatureFacts | None
    train_data: PaddedSequences
    validation_data: PaddedSequences
    test_data: PaddedSequences

    def __init__(
        self,
        train_file: DataFile | None = None,
        test_file: DataFile | None = None,
        validation_file: DataFile | None = None,
        validation_fraction: Fraction = 0.2,
        test_fraction: Fraction = 0.2,
        package: str | None = None,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        scale: bool = True,
        dataset: ArchiveName | None = None,
        missing: Missing = "refuse",
        thin: Positive = 1,
        normalise: bool = False,
        label_column: str = "label",
        sequence_column: str | None = "sequence",
        step_column: str | None = None,
        neighbours: bool = True,
        dtw_cells: Count | None = 3_000_000_000,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        if dataset is not None:
            train_file, package = ARCHIVE.format(name=dataset, part="TRAIN"), "sktime"
            test_file = test_file or ARCHIVE.format(name=dataset, part="TEST")
        self.train_file = str(train_file)
        self.test_file = test_file
        self.validation_file = validation_file
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.package = package
        self.scale = scale
        self.constant: list[int] = []
        """Numbers (from 1) of the features that have a single value in the training frames."""
        self.reading = Reading(missing, thin, normalise, label_column, sequence_column, step_column)
        self.neighbours, self.dtw_cells = neighbours, dtw_cells
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._example: NDArray[np.float64] | None = None
        self._compared: tuple[LabelledSequences, LabelledSequences] | None = None
        """Sequences that simple classifiers learn from, and those that they are tested on."""

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file:
            self._load_test(self._read(self.test_file, "test_file"))
            return
        train = self._read(self.train_file, "train_file")
        _check_labels(train)
        test = self._read(self.test_file, "test_file") if self.test_file else None
        validation = self._read(self.validation_file, "validation_file") if self.validation_file else None
        whole = train
        train, validation, test = self._parts(train, validation, test)
        if self.facts is None:
            self.facts = _facts(train, self.scale, self.reading)
            if len(self.facts.classes) < 2:
                raise ValueError(
                    f"data.train_file: every sequence of {train.file} has the label "
                    f"{self.facts.classes[0]!r}: a classification needs two classes or more"
                )
        if self.scale:
            self.constant = (np.flatnonzero(is_constant(np.concatenate(train.sequences))) + 1).tolist()
        self.train_data = self._dataset(train, "train_file")
        self.validation_data = self._dataset(validation, "validation_file")
        self.test_data = self._dataset(test, "test_file")
        self._example = test.as_read[0] if test.as_read else test.sequences[0]
        if self.neighbours:
            # In the order of the file, whatever part of it a seed has drawn for validation.
            drawn_only = self.test_file and not self.validation_file
            self._compared = (whole if drawn_only else train.joined(validation)), test

    def _load_test(self, test: LabelledSequences) -> None:
        """The test part alone; what simple classifiers learn from is read where it is still there."""
        self.test_data = self._dataset(test, "test_file")
        if not self.neighbours:
            return
        try:
            train = self._read(self.train_file, "train_file")
            if self.validation_file:
                train = train.joined(self._read(self.validation_file, "validation_file"))
            self._dataset(train, "train_file")  # which refuses what does not fit
        except ValueError as error:
            log.info("no nearest neighbours, as the training sequences cannot be read: %s", error)
        else:
            self._compared = train, test

    def test_dataloader(self) -> DataLoader[Any]:
        if self._compared is not None and self.test_data.neighbours is None:
            found = self._answers(*self._compared)
            self.test_data.neighbours = {name: torch.from_numpy(a) for name, a in found.classes.items()}
        return super().test_dataloader()

    def _answers(self, train: LabelledSequences, test: LabelledSequences) -> Answers:
        """What simple classifiers give to the test sequences, each feature scaled as the network's are."""
        assert self.facts is not None
        targets = np.array(_class_indices(train, self.facts, "train_file"))
        return answers_to_scaled(
            train.sequences, targets, test.sequences, self.scale, self.dtw_cells, self.cache_dir
        )

    @classmethod
    def read_input(cls, given: Path | str, facts: FeatureFacts) -> Input:
        """All sequences of a ``.ts``, ``.csv``, ``.npz`` or ``.npy`` file, prepared as in training.

        A target is the class index if the file's label is one of the training classes, else IGNORED. Raises
        ValueError if the file cannot be read or its features are not as many as in training.
        """
        names = ("missing", "thin", "normalise", "label_column", "sequence_column", "step_column")
        reading = Reading(**{name: getattr(facts, name) for name in names})
        data = read_sequences(Path(given), reading).named(facts.features)
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
        reading = self.reading
        done = [f"means of {reading.thin} steps"] if reading.thin > 1 else []
        done += ["each by itself to mean 0, standard deviation 1"] if reading.normalise else []
        done += [f"missing values: {reading.missing}"] if reading.missing != "refuse" else []
        if done:
            rows["prepared"] = ", ".join(done)
        if self.constant:
            rows["constant features"] = f"{', '.join(map(str, self.constant))}: centred only"
        classes = self.facts.classes
        return rows | rows_of_missing(parts, lambda part: absent(classes, part.targets), "class ")

    def largest_batch(self) -> int:
        return min(self.batch_size, len(self.train_data)) * int(self.train_data.lengths.max())

    def save_example(self, folder: Path) -> str:
        assert self._example is not None
        path = folder / "example.npy"
        np.save(path, self._example)
        return str(path)

    def _read(self, file: str, setting: str) -> LabelledSequences:
        data = read_sequences(find_file(file, self.folders, f"data.{setting}", self.package), self.reading)
        if self.facts is not None:
            data = data.named(self.facts.features)
        return data

    def _dataset(self, data: LabelledSequences, setting: str) -> PaddedSequences:
        assert self.facts is not None
        return PaddedSequences(data, _class_indices(data, self.facts, setting), self.facts)

    def _parts(
        self, train: LabelledSequences, validation: LabelledSequences | None, test: LabelledSequences | None
    ) -> tuple[LabelledSequences, LabelledSequences, LabelledSequences]:
        """Training, validation and test; what has no file of its own is held out of the training file."""
        validation, test = (part and part.named(train.features) for part in (validation, test))
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
            held_out[part] = train.chosen(left[np.sort(drawn)])
            left = np.delete(left, drawn)
        rest = train.chosen(left) if held_out else train
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


def _facts(train: LabelledSequences, scale: bool, reading: Reading) -> FeatureFacts:
    counts = Counter(_labels(train, "train_file"))
    classes = sorted(counts, key=natural_order)
    frames = np.concatenate(train.sequences)
    mean, std = moments(frames)
    # Rounding can give a constant feature a tiny std, which would blow it up.
    std[is_constant(frames)] = 1.0
    if not scale:
        mean, std = np.zeros_like(mean), np.ones_like(std)
    return FeatureFacts(
        feature_size=train.feature_size,
        classes=tuple(classes),
        class_counts=tuple(counts[label] for label in classes),
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        features=train.features,
        **asdict(reading),
    )


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
        raise ValueError(f"data.{setting}: {data.file} has no labels: add them to the file")
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


def _class_indices(data: LabelledSequences, facts: FeatureFacts, setting: str) -> list[int]:
    """Class index of each sequence; ValueError for a label that is not in the training data."""
    labels = _labels(data, setting)
    return class_indices(labels, facts.classes, data.places.__getitem__)
