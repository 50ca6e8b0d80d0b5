"""The base of all recordings: where they are, what is computed of them, and how they are split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from gatewise.data.files import find_folder
from gatewise.data.known.finding import find_set
from gatewise.data.module import SequenceDataModule
from gatewise.data.sound.augmentation import Augmentation, Augmenter
from gatewise.data.sound.features import check_computable
from gatewise.data.sound.frames import EpochBuckets, InTraining, Normaliser, RecordedFrames, Scaler, scaler_of
from gatewise.data.sound.heard import Heard, hear, heard_once
from gatewise.data.sound.recordings import (
    KNOWN,
    Columns,
    Recordings,
    read_folder,
    read_manifests,
    read_plain,
    sounds_in,
)
from gatewise.data.sound.split import Split
from gatewise.data.text.tables import TABLES
from gatewise.kinds.kind import Input
from gatewise.kinds.sound import SoundForm
from gatewise.settings import (
    Checked,
    Count,
    DataFiles,
    Folder,
    Folders,
    Fraction,
    Names,
    NotNegative,
    Positive,
    Word,
    rule,
    split_fractions,
)
from gatewise.settings.checks import not_negative

log = logging.getLogger(__name__)

KnownName = Literal["fsdd"]
Milliseconds = Annotated[float, Checked(not_negative)]


@rule
def check_one_source(dataset: Any, files: Any, folder: Any) -> None:
    """Raise ValueError unless there is one source of recordings."""
    sources = {"dataset": dataset, "files": files, "folder": folder}
    chosen = [name for name, value in sources.items() if value is not None]
    if len(chosen) != 1:
        raise ValueError(
            f"give one of dataset (fsdd), files (manifests) and folder (one folder in it for each class); "
            f"got {' and '.join(chosen) or 'none of them'}"
        )


@rule
def check_held_out(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError if nothing is left to train on."""
    split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


@rule
def check_speakers(validation_speakers: Any, test_speakers: Any) -> None:
    """Raise ValueError for a speaker who is to be in two parts."""
    both = sorted(set(validation_speakers or ()) & set(test_speakers or ()))
    if both:
        raise ValueError(
            f"validation_speakers and test_speakers both name {both[0]}: a speaker who is left out is in one "
            f"part alone"
        )


@rule
def check_band(sample_rate: int, low_hz: float, high_hz: Any) -> None:
    """Raise ValueError where there is no band between the lowest and the highest frequency."""
    most = sample_rate / 2
    high = most if high_hz is None else high_hz
    if high > most:
        raise ValueError(
            f"high_hz={high:g}: sound of sample_rate={sample_rate} holds nothing above {most:g} Hz: give no "
            f"more, or a higher rate"
        )
    if low_hz >= high:
        raise ValueError(f"low_hz={low_hz:g} must be below high_hz, which is {high:g}")


@rule
def check_frames(sample_rate: int, frame_ms: float, shift_ms: float) -> None:
    """Raise ValueError for frames that are too short, or that leave sound out between them."""
    for name, value in (("frame_ms", frame_ms), ("shift_ms", shift_ms)):
        if sample_rate * value < 1000:
            raise ValueError(
                f"{name}={value:g} is less than a sample of sample_rate={sample_rate}: give more"
            )
    if shift_ms > frame_ms:
        raise ValueError(
            f"shift_ms={shift_ms:g} is more than frame_ms={frame_ms:g}: sound between two frames would be "
            f"left out: give no more"
        )


@rule
def check_coefficients(features: str, bins: int, coefficients: int) -> None:
    """Raise ValueError for more coefficients than there are bands."""
    if features == "mfcc" and coefficients > bins:
        raise ValueError(f"coefficients={coefficients} of mfcc: there are bins={bins} bands: give no more")


@rule
def check_warp(features: str, augmentation: Any) -> None:
    """Raise ValueError where frequencies cannot be stretched, as there are none."""
    named = "frequency_warp"
    warp = augmentation.get(named) if isinstance(augmentation, dict) else getattr(augmentation, named, 0)
    if warp and features == "mfcc":
        raise ValueError(f"augmentation.frequency_warp={warp:g} is of log_mel alone: set it to 0 for mfcc")


class SoundData(SequenceDataModule):
    """Recordings in three parts, as frames of features.

    A subclass says what is learnt of them: :meth:`make_facts`, :meth:`dataset`, :meth:`targets_given`.

    Args:
        dataset: a known set of recordings. Give this, ``files`` or ``folder``.
        files: manifests: tables (``.csv``, ``.tsv``, ``.jsonl``) with a recording a row.
        folder: or a folder that holds a folder for each class, with a file for each recording.
        validation_files, test_files: manifests of parts of their own.
        path_column, speaker_column, split_column: the columns of a manifest; the last two may
            be missing in it.
        validation_fraction, test_fraction: shares of all recordings to hold out, drawn with the seed, for a
            part that has no files, no speakers, and nothing in the column of parts.
        validation_speakers, test_speakers: speakers whose recordings are that part.
        speakers_apart: whether no speaker may be in two parts; whole speakers are drawn then.
        sample_rate: other recordings are resampled to it.
        channel: what is taken of a recording with several channels.
        features, bins, coefficients, frame_ms, shift_ms, low_hz, high_hz, deltas: how frames are computed,
            see :class:`gatewise.kinds.sound.SoundForm`; ``high_hz`` is half of the sample rate where it is
            None.
        normalise: over what features are brought to mean 0 and standard deviation 1: all ``training`` frames,
            those of a ``recording``, or those of a ``speaker`` in a part.
        augmentation: how training recordings are changed at random.
        workers: processes that do so; 0 for this one.
        batch_frames: frames of a step at most, padding included, over all processes; None means no limit.
        batch_size: recordings of a step at most, over all processes; they are of about the same length.
        cache_dir: where features are kept for the next training, by content; None keeps none.
    """

    known_set = "dataset"
    takes_folders = True
    decided: ClassVar[tuple[str, ...]] = (
        *("sample_rate", "channel", "features", "bins", "coefficients", "frame_ms", "shift_ms"),
        *("low_hz", "high_hz", "deltas", "normalise"),
    )
    facts: Any
    train_data: RecordedFrames
    validation_data: RecordedFrames
    test_data: RecordedFrames

    def __init__(
        self,
        dataset: KnownName | None = None,
        files: DataFiles | None = None,
        folder: Folder | None = None,
        validation_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        path_column: Word = "path",
        speaker_column: Word = "speaker",
        split_column: Word = "split",
        validation_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        validation_speakers: Names | None = None,
        test_speakers: Names | None = None,
        speakers_apart: bool = False,
        sample_rate: Positive = 16000,
        channel: Literal["refuse", "mean", "left", "right"] = "refuse",
        features: Literal["log_mel", "mfcc"] = "log_mel",
        bins: Positive = 40,
        coefficients: Positive = 13,
        frame_ms: Milliseconds = 25.0,
        shift_ms: Milliseconds = 10.0,
        low_hz: NotNegative = 20.0,
        high_hz: NotNegative | None = None,
        deltas: Literal[0, 1, 2] = 0,
        normalise: Literal["training", "recording", "speaker"] = "training",
        augmentation: Augmentation | None = None,
        workers: Count = 0,
        batch_frames: Positive | None = None,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.known_name, self.folder = dataset, folder
        self.files = {"train": files, "validation": validation_files, "test": test_files}
        self.columns = Columns(path_column, speaker=speaker_column, split=split_column)
        self.split = Split(
            validation_fraction, test_fraction, validation_speakers, test_speakers, speakers_apart, seed
        )
        high = sample_rate / 2 if high_hz is None else float(high_hz)
        self.form = SoundForm(
            sample_rate, channel, features, bins, coefficients, float(frame_ms), float(shift_ms),
            float(low_hz), high, deltas, normalise,
        )  # fmt: skip
        self.augmentation, self.workers, self.batch_frames = augmentation, workers, batch_frames
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.recordings: dict[str, Recordings] = {}
        """Those of each part that has been loaded."""

    # ---- what is learnt of them

    def make_facts(self, train: Recordings, **of_frames: Any) -> Any:
        """What is known of the training recordings, with these values of its frames and their form."""
        raise NotImplementedError

    def dataset(
        self, part: str, recordings: Recordings, heard: Heard, scaler: Scaler, training: InTraining | None
    ) -> RecordedFrames:
        """The recordings of a part as batches."""
        raise NotImplementedError

    @classmethod
    def for_prediction(cls, recordings: Recordings, heard: Heard, scaler: Scaler, facts: Any) -> Input:
        """Recordings to predict for, of which labels may be unknown."""
        raise NotImplementedError

    by_class: ClassVar[bool] = True
    """Whether the same share of each class is held out."""

    def usable(self, recordings: Recordings) -> Recordings:
        """The recordings of a source that can be learnt from; ValueError for one that may not be left out."""
        return recordings

    def prepared(self, parts: dict[str, Recordings]) -> dict[str, Recordings]:
        """What is learnt of the recordings of each part, before their sound is read."""
        return parts

    def fitting(self, part: str, recordings: Recordings, heard: Heard) -> NDArray[np.int64]:  # noqa: ARG002
        """The numbers of the recordings of a part that can be used, now that their frames are known."""
        return np.arange(len(recordings))

    @classmethod
    def columns_of(cls, facts: Any) -> Columns:
        """The columns of a manifest to predict from."""
        return Columns(facts.path_column, facts.label_column, facts.speaker_column)

    # ---- reading

    def load(self, test_only: bool) -> None:
        if self.facts is not None:
            self.form = self.facts
        check_computable(self.form)
        if test_only and self.files["test"] is not None:
            parts = {"test": self.read("test")}
        else:
            sources = {
                part: self.read(part) for part, files in self.files.items() if files or part == "train"
            }
            parts = self.split.parts(sources, self.by_class)
        parts = self.prepared(parts)
        first, *others = parts.values()
        everything = first.joined(*others)
        heard = heard_once(everything, self.form, self.cache_dir)
        heard.warn(everything.paths)
        pieces = dict(zip(parts, heard.parts(list(map(len, parts.values()))), strict=True))
        for part in parts:
            numbers = self.fitting(part, parts[part], pieces[part])
            if len(numbers) < len(parts[part]):
                parts[part], pieces[part] = parts[part].chosen(numbers), pieces[part].chosen(numbers)
        self.recordings = parts
        normalisers = {
            part: Normaliser.of(self.form.normalise, pieces[part], recordings.speakers)
            for part, recordings in parts.items()
        }
        pieces = {part: normalisers[part].all(pieces[part], parts[part].speakers) for part in parts}
        if self.facts is None:
            mean, std = scaler_of(pieces["train"].frames)
            form = {each.name: getattr(self.form, each.name) for each in fields(SoundForm)}
            self.facts = self.make_facts(
                parts["train"],
                feature_size=self.form.vector_size,
                mean=tuple(mean.tolist()),
                std=tuple(std.tolist()),
                **form,
            )
        scaler = (np.array(self.facts.mean), np.array(self.facts.std))
        for part, recordings in parts.items():
            training = None
            if part == "train" and self.augmentation is not None:
                noises = self.augmentation.noises(self.folders, self.form)
                training = InTraining(
                    Augmenter(self.augmentation, self.form, noises),
                    self.seed, recordings, normalisers[part], scaler,
                )  # fmt: skip
            setattr(self, f"{part}_data", self.dataset(part, recordings, pieces[part], scaler, training))

    def read(self, part: str) -> Recordings:
        """The recordings of a part that has a source of its own."""
        files = self.files[part]
        if files is not None:
            setting = "files" if part == "train" else f"{part}_files"
            paths = [self.find(file, setting) for file in files]
            return self.usable(read_manifests(paths, self.columns, self.folders))
        if self.folder is not None:
            return self.usable(read_folder(find_folder(self.folder, self.folders, "data.folder")))
        assert self.known_name is not None
        folder = find_set(self.known_name, self.folders, "data.dataset")
        return self.usable(KNOWN[self.known_name](folder))

    @classmethod
    def read_input(cls, given: Path | str, facts: Any) -> Input:
        """A recording, those of a manifest, or those in a folder, prepared as in training.

        Raises ValueError if one of them cannot be used.
        """
        path = Path(given)
        if path.is_dir():
            recordings = read_plain(sounds_in(path))
            if not len(recordings):
                raise ValueError(f"input={given}: no recording is in this folder")
        elif path.suffix.lower() in TABLES:
            recordings = read_manifests([path], cls.columns_of(facts), needs_label=False)
        else:
            recordings = read_plain([path])
        heard = hear(recordings, facts, is_trained=True)
        heard.warn(recordings.paths)
        normaliser = Normaliser.of(facts.normalise, heard, recordings.speakers)
        scaler = (np.array(facts.mean), np.array(facts.std))
        return cls.for_prediction(recordings, normaliser.all(heard, recordings.speakers), scaler, facts)

    def save_example(self, folder: Path) -> str:
        return str(self.recordings["test"].save(0, folder, "example", self.form))

    # ---- batches

    def sampler(
        self, dataset: Any, shuffle: bool, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> Sampler[list[int]]:
        lengths = self._lengths(dataset)
        size, most = self.batch_size, self.batch_frames
        return EpochBuckets(lengths, size, most, shuffle, self.seed, rank, world_size, epoch)

    def _lengths(self, dataset: RecordedFrames) -> Any:
        """The most frames that each recording can come to have."""
        lengths = dataset.lengths.numpy()
        if dataset.training is None:
            return lengths
        return dataset.training.augmenter.by.longest(lengths, self.form)

    def loading(self, dataset: Any) -> Mapping[str, Any]:
        training = dataset.training
        if not self.workers or training is None or not training.augmenter.by.changes_sound:
            return {}
        return {"num_workers": self.workers, "persistent_workers": True}

    def largest_batch(self) -> int:
        lengths = self._lengths(self.train_data)
        longest = int(lengths.max())
        largest = min(self.batch_size, len(self.train_data)) * longest
        return largest if self.batch_frames is None else min(largest, max(self.batch_frames, longest))

    # ---- what is shown

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        parts, form = self.parts(), self.form
        seconds = [
            ((data.lengths.numpy() - 1) * form.shift_ms + form.frame_ms) / 1000 for data in parts.values()
        ]
        every = np.concatenate(seconds)
        rows: dict[str, str | int] = {f"{name} recordings": len(data) for name, data in parts.items()}
        rows["speakers"] = self._speakers()
        rows["sound"] = f"{_duration(every.sum())}, {every.min():.2f} to {every.max():.2f} s each"
        rows["features"] = form.in_words()
        return rows

    def _speakers(self) -> str:
        named = [(part, set(each.speakers) - {""}) for part, each in self.recordings.items()]
        if not any(names for _, names in named):
            return "not named"
        return ", ".join(f"{len(names)} in {part}" for part, names in named)


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
