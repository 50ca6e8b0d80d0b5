"""What all data of pen strokes share: files, parts, how strokes become steps, and how they are varied."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from gatewise.data.buckets import LengthBuckets
from gatewise.data.classes import held_out
from gatewise.data.files import find_file
from gatewise.data.module import SequenceDataModule
from gatewise.data.sequences.labelled import is_constant, moments
from gatewise.data.strokes.drawings import Drawings
from gatewise.data.strokes.formats import read_drawings, strokes_of
from gatewise.data.strokes.tracks import Tracks, in_the_drawing
from gatewise.data.strokes.varied import Variation
from gatewise.kinds.strokes import Normalise, StrokeReading
from gatewise.settings import (
    Count,
    DataFile,
    Folders,
    Fraction,
    NotNegative,
    Positive,
    SomeOf,
    Word,
)

StepFeatures = Annotated[Sequence[str], SomeOf("x", "y", "dx", "dy", "pen_up")]


class StrokeFiles(SequenceDataModule):
    """Pen strokes from UNIPEN files, JSONL files or rows of points, in three parts.

    Args:
        train_file: what is trained on; the classes or characters, and the scaler, come from it.
        test_file, validation_file: without them, ``test_fraction`` and ``validation_fraction`` of the
            training file are held out.
        validation_fraction, test_fraction: shares of the whole training file.
        by_writer: whether whole writers are held out, where the file says who wrote what; otherwise, and in
            other files, drawings are drawn, the same share of every label.
        features: what each step has, see :class:`gatewise.kinds.strokes.StrokeReading`.
        normalise, spacing, y_down, segments: how strokes become steps, see there.
        rotate, stretch, shear: how drawings are varied in each epoch of the training, see
            :class:`gatewise.data.strokes.varied.Variation`.
        batch_frames: most steps of a batch, its padding too; None: any number.
    """

    reads_strokes = True
    by_class: ClassVar[bool] = True
    """Whether each part gets the same share of every label."""
    train_data: Any
    validation_data: Any
    test_data: Any

    def __init__(
        self,
        train_file: DataFile,
        test_file: DataFile | None = None,
        validation_file: DataFile | None = None,
        validation_fraction: Fraction = 0.2,
        test_fraction: Fraction = 0.2,
        by_writer: bool = True,
        features: StepFeatures = ("x", "y", "dx", "dy", "pen_up"),
        normalise: Normalise = "box",
        spacing: NotNegative = 0.1,
        y_down: bool = False,
        segments: Word | None = None,
        rotate: NotNegative = 0.0,
        stretch: NotNegative = 0.0,
        shear: NotNegative = 0.0,
        batch_frames: Positive | None = None,
        folders: Folders = (),
        batch_size: Positive = 64,
        seed: Count = 0,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.train_file, self.test_file, self.validation_file = train_file, test_file, validation_file
        self.fractions = {"test": test_fraction, "validation": validation_fraction}
        self.by_writer = by_writer
        self.reading = StrokeReading(tuple(features), normalise, spacing, y_down, segments or "")
        self.varied = Variation(rotate, stretch, shear, seed, self._epoch)
        self.batch_frames = batch_frames
        self.drawn: dict[str, NDArray[np.int64]] = {}
        """Which drawings of the training file each part has, of those that have no file of their own."""
        self._example: list[NDArray[np.float64]] = []

    def _epoch(self) -> int:
        # Read from the Trainer when a batch is made: overfit_batches has the same batches in every epoch.
        trainer = self.trainer
        if trainer is None or getattr(trainer, "overfit_batches", 0) > 0:
            return 0
        return int(trainer.current_epoch)

    def sampler(
        self, dataset: Any, shuffle: bool, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> Sampler[list[int]]:
        lengths = np.asarray(dataset.lengths)
        size, frames = self.batch_size, self.batch_frames
        return LengthBuckets(lengths, size, frames, shuffle, self.seed, rank, world_size, epoch)

    def largest_batch(self) -> int:
        longest = int(self.train_data.lengths.max())
        largest = min(self.batch_size, len(self.train_data)) * longest
        return largest if self.batch_frames is None else min(largest, max(self.batch_frames, longest))

    def read(self, file: str, setting: str) -> Drawings:
        """The drawings of a file, all with labels; ValueError where one has none."""
        path = find_file(file, self.folders, f"data.{setting}")
        drawings = read_drawings(path, self.reading.y_down, self.reading.segments)
        for label, place in zip(drawings.labels, drawings.places, strict=True):
            if not label or not label.strip():
                raise ValueError(f"{place}: no label: give it one, or drop it")
            if not label.isprintable():
                raise ValueError(
                    f"{place}: the label {label!r} has a character that cannot be seen: remove it"
                )
        return drawings

    def read_parts(self) -> dict[str, Drawings]:
        """The drawings of the training, the validation and the test, by name."""
        whole = self.read(self.train_file, "train_file")
        files = {"test": self.test_file, "validation": self.validation_file}
        parts = {part: self.read(file, f"{part}_file") for part, file in files.items() if file}
        left = np.arange(len(whole))
        for number, part in enumerate(files):
            if part in parts:
                continue
            # Each part has its own generator, so that giving one file more changes no other draw.
            generator = np.random.default_rng([self.seed, 1, number])
            is_out = self._held_out(whole, left, part, generator)
            if not is_out.any() or is_out.all():
                raise ValueError(
                    f"data.{part}_fraction={self.fractions[part]} of {len(whole)} drawings leaves none for "
                    f"{'training' if is_out.any() else part}: change it, or give data.{part}_file"
                )
            self.drawn[part], left = left[is_out], left[~is_out]
        self.drawn["train"] = left
        return parts | {part: whole.chosen(numbers) for part, numbers in self.drawn.items()}

    def _held_out(
        self, whole: Drawings, left: NDArray[np.int64], part: str, generator: np.random.Generator
    ) -> NDArray[np.bool_]:
        """Which of those that are left are held out for a part."""
        share = self.fractions[part]
        writers = sorted({writer or "" for writer in whole.writers})
        of_left = np.array([whole.writers[i] or "" for i in left])
        if self.by_writer and len(writers) > 2 and "" not in writers:
            names = np.unique(of_left)
            count = min(max(round(share * len(writers)), 1), len(names) - 1)
            return np.isin(of_left, generator.permutation(names)[:count])
        labels = np.unique([whole.labels[i] or "" for i in left], return_inverse=True)[1]
        return held_out(labels, round(share * len(whole)), generator, stratify=self.by_class)

    def save_example(self, folder: Path) -> str:
        path = folder / "example.jsonl"
        sign = -1 if self.reading.y_down else 1
        strokes = [(stroke * (1, sign)).tolist() for stroke in self._example]
        path.write_text(json.dumps({"strokes": strokes}) + "\n")
        return str(path)


def scaler(tracks: Tracks, reading: StrokeReading) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each feature over all steps, as facts have them."""
    steps = tracks.steps(reading.step_features)
    mean, std = moments(steps)
    std[is_constant(steps)] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def drawn_from(drawings: Drawings, most: int = 60) -> tuple[str, dict[str, Any]]:
    """The name of a picture of the first of them, and what it is drawn from."""
    return "strokes", {"strokes": [[s.tolist() for s in each] for each in drawings.strokes[:most]]}


def one_drawing(given: Any) -> Drawings:
    """A drawing as lists of [x, y], y upwards; ValueError if it is none."""
    drawing = Drawings()
    drawing.add(strokes_of(given), None, None, "the drawing")
    return drawing


def with_steps(drawing: Drawings, tracks: Tracks, reading: StrokeReading) -> tuple[str, dict[str, Any]]:
    """As :func:`drawn_from`, with where each step of the only drawing lies in it."""
    name, values = drawn_from(drawing)
    return name, {**values, "steps": in_the_drawing(tracks, drawing, reading.normalise).round(2).tolist()}
