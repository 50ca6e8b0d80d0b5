"""Lines of handwriting with their transcripts: those of a file, or joined from its characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.data import transcripts
from gatewise.data.joined import JoinsExamples
from gatewise.data.strokes.base import (
    StepFeatures,
    StrokeFiles,
    drawn_from,
    one_drawing,
    scaler,
    with_steps,
)
from gatewise.data.strokes.dataset import Lines
from gatewise.data.strokes.drawings import Drawings, Stroke
from gatewise.data.strokes.formats import read_drawings
from gatewise.data.strokes.tracks import Tracks, tracks_of
from gatewise.data.text.parts import PARTS
from gatewise.data.transcripts import TooLong, UnitName, Units
from gatewise.kinds.kind import Input
from gatewise.kinds.strokes import Normalise, WrittenFacts
from gatewise.settings import Count, NotNegative, Positive


class StrokeLines(StrokeFiles):
    """Pen strokes with a transcript each, which a file gives as their label or text.

    Args:
        units: what a transcript is made of: characters or, parted by white space, words or phonemes.
        alphabet: the units in one text; None learns them from the training transcripts.
        too_long: what is done with a transcript that has more units than its drawing has steps.
        stack: steps of a drawing that are one of the model, which then has fewer.
        ngram_order: so many units in a row are counted in the training transcripts, for a language model of
            them; None counts none.
        features, normalise, batch_frames, settings: those of
            :class:`gatewise.data.strokes.base.StrokeFiles`; how far a step is to the right says nothing here.
    """

    facts_type = WrittenFacts
    facts: WrittenFacts | None
    by_class = False
    decided = ("units", "alphabet", "ngram_order")

    def __init__(
        self,
        units: UnitName = "characters",
        alphabet: str | None = None,
        too_long: TooLong = "refuse",
        stack: Positive = 1,
        ngram_order: Positive | None = None,
        features: StepFeatures = ("y", "dx", "dy", "pen_up"),
        normalise: Normalise = "height",
        batch_frames: Positive | None = 8000,
        **settings: Any,
    ) -> None:
        super().__init__(features=features, normalise=normalise, batch_frames=batch_frames, **settings)
        self.unit_name: UnitName = units
        self.alphabet, self.ngram_order, self.stack = alphabet, ngram_order, stack
        self.too_long: TooLong = too_long

    def prepared(self, part: str, drawings: Drawings) -> Drawings:
        """The lines of a part, of the drawings of its file."""
        del part
        return drawings

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file:
            assert self.facts is not None
            test = self.prepared("test", self.read(self.test_file, "test_file"))
            self.test_data = self._dataset("test", test, *self._fitting(test, self.facts.units))
            return
        parts = {part: self.prepared(part, drawings) for part, drawings in self.read_parts().items()}
        learnt: dict[str, Any] = {}
        if self.facts is None:
            texts = [str(label) for label in parts["train"].labels]
            learnt = transcripts.learnt(texts, self.unit_name, self.alphabet)
        units = learnt["units"] if self.facts is None else self.facts.units
        fitting = {part: self._fitting(drawings, units) for part, drawings in parts.items()}
        if self.facts is None:
            self.facts = self._facts(*fitting["train"], learnt)
        for part, drawings in parts.items():
            setattr(self, f"{part}_data", self._dataset(part, drawings, *fitting[part]))
        if self.varied.is_any:
            self.train_data.varied = self.varied
        self._example = parts["test"].strokes[0]

    def _fitting(self, drawings: Drawings, names: Sequence[str]) -> tuple[Tracks, list[Units]]:
        """The tracks and units of the drawings; those with too many units are left out, or refused."""
        place = drawings.places.__getitem__
        texts = [str(label) for label in drawings.labels]
        units = transcripts.encoded(texts, names, transcripts.JOINERS[self.unit_name], place)
        tracks = tracks_of(drawings, self.reading)
        numbers = transcripts.fitting(units, tracks.lengths, self.stack, self.too_long, place)
        if len(numbers) < len(units):
            tracks, units = tracks.chosen(numbers), [units[number] for number in numbers]
        return tracks, units

    def _facts(self, tracks: Tracks, units: list[Units], learnt: dict[str, Any]) -> WrittenFacts:
        mean, std = scaler(tracks, self.reading)
        order = self.ngram_order
        return WrittenFacts(
            feature_size=len(mean),
            mean=mean,
            std=std,
            ngrams=() if order is None else transcripts.ngrams(units, order),
            **learnt,
            **asdict(self.reading),
        )

    def _dataset(self, part: str, drawings: Drawings, tracks: Tracks, units: list[Units]) -> Lines:
        assert self.facts is not None
        names = [place.rpartition("/")[2] for place in drawings.places]
        return Lines(tracks, units, self.facts, names=names if part == "test" else None)

    @classmethod
    def read_input(cls, given: Path | str, facts: WrittenFacts) -> Input:
        """All lines of a UNIPEN or JSONL file, or of rows of points, prepared as in training.

        Raises ValueError if the file cannot be read.
        """
        drawings = read_drawings(Path(given), facts.y_down, facts.segments)
        names = [place.rpartition("/")[2] for place in drawings.places]
        batch = Lines(tracks_of(drawings, facts), None, facts, names=names)[list(range(len(drawings)))]
        labels = [label or "" for label in drawings.labels]
        columns = {"text": labels} if any(labels) else {}
        return Input(batch, Path(given).name, columns, picture=drawn_from(drawings))

    @classmethod
    def read_strokes(cls, given: Any, facts: WrittenFacts) -> Input:
        drawing = one_drawing(given)
        tracks = tracks_of(drawing, facts)
        picture = with_steps(drawing, tracks, facts)
        return Input(Lines(tracks, None, facts)[[0]], "drawing", picture=picture)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        parts = self.parts()
        rows: dict[str, str | int] = {f"{name} lines": len(part) for name, part in parts.items()}
        lengths = np.concatenate([part.lengths for part in parts.values()])
        units = np.concatenate([part.units.lengths for part in parts.values()])
        return rows | {
            "steps per line": f"{lengths.min()} to {lengths.max()}",
            "features": ", ".join(self.facts.step_features),
            "units": f"{len(self.facts.units)} {self.unit_name}",
            "transcripts": f"{units.min()} to {units.max()} units each",
        }


class JoinedStrokes(JoinsExamples, StrokeLines):
    """Lines joined from single characters of one writer, where the file tells; a transcript is their labels.

    Every character of a part is in about the same number of its lines.

    Args:
        train_lines, validation_lines, test_lines: how many are joined from the characters of each part.
        least, most: characters of a line.
        gap: most space between two characters, in heights of the line's characters.
        lift: how far up or down a character may be moved, in the same unit.
        test_seed: of the lines of the test, so that trainings with several seeds have the same test.
        settings: those of :class:`StrokeLines`, for characters with a label each.
    """

    def __init__(
        self,
        train_lines: Positive = 6000,
        validation_lines: Positive = 500,
        test_lines: Positive = 1000,
        least: Positive = 3,
        most: Positive = 7,
        gap: NotNegative = 0.4,
        lift: NotNegative = 0.1,
        test_seed: Count = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.counts = dict(zip(PARTS, (train_lines, validation_lines, test_lines), strict=True))
        self.sizes, self.gap, self.lift, self.test_seed = (least, most), gap, lift, test_seed

    def prepared(self, part: str, drawings: Drawings) -> Drawings:
        generator = self.generator(part)
        joiner = transcripts.JOINERS[self.unit_name]
        made = Drawings()
        writers = [writer or "" for writer in drawings.writers]
        for number, name, chosen in self.strings_of(part, writers, generator):
            strokes = self._line([drawings.strokes[each] for each in chosen], generator)
            label = joiner.join(str(drawings.labels[each]) for each in chosen)
            made.add(strokes, label, name or None, f"line {number + 1} of {name or 'the file'}")
        return made

    def _line(self, characters: Sequence[list[Stroke]], generator: np.random.Generator) -> list[Stroke]:
        """Characters from left to right, each about as high in the line as the others."""
        points = [np.concatenate(strokes) for strokes in characters]
        low, high = (np.array([of(each, 0) for each in points]) for of in (np.min, np.max))
        height = float(np.median((high - low)[:, 1])) or float(np.median((high - low)[:, 0])) or 1.0
        gaps = generator.uniform(0.0, self.gap, len(characters)) * height
        lifts = generator.uniform(-self.lift, self.lift, len(characters)) * height
        widths = (high - low)[:, 0] + gaps
        moved_x = widths.cumsum() - widths - low[:, 0]
        moved_y = lifts - (low + high)[:, 1] / 2
        return [
            stroke + np.array([x, y])
            for strokes, x, y in zip(characters, moved_x, moved_y, strict=True)
            for stroke in strokes
        ]
