"""Characters, or anything else that a pen wrote, with one label each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from gatewise.data.classes import absent, class_indices, natural_order, rows_of_missing
from gatewise.data.sequences.neighbours import answers
from gatewise.data.strokes.base import StrokeFiles, drawn_from, one_drawing, scaler, with_steps
from gatewise.data.strokes.dataset import Characters
from gatewise.data.strokes.drawings import Drawings
from gatewise.data.strokes.formats import read_drawings
from gatewise.data.strokes.tracks import Tracks, joined_tracks, tracks_of
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.strokes import StrokeFacts
from gatewise.settings import Count

log = logging.getLogger(__name__)

COMPARED = 16
"""Places of each drawing that nearest neighbours and centroids compare."""


class StrokeSequences(StrokeFiles):
    """Pen strokes with one label each.

    Args:
        neighbours: whether nearest neighbours and centroids of the training and validation drawings stand
            beside each test; they compare 16 places of each, in a box of side 1.
        dtw_cells: most cells of dynamic time warping, the work of these; None: any number.
        cache_dir: where their answers are kept for the next training, if they are slow; None keeps nothing.
        settings: those of :class:`gatewise.data.strokes.base.StrokeFiles`.
    """

    facts_type = StrokeFacts
    facts: StrokeFacts | None

    def __init__(
        self,
        neighbours: bool = True,
        dtw_cells: Count | None = 3_000_000_000,
        cache_dir: str | Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.neighbours, self.dtw_cells = neighbours, dtw_cells
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._compared: tuple[Tracks, list[int]] | None = None
        """What simple classifiers learn from."""

    def load(self, test_only: bool) -> None:
        if test_only and self.test_file:
            test = self.read(self.test_file, "test_file")
            self.test_data = self._dataset(test)
            if self.neighbours:
                self._compare_with_training()
        else:
            self._load_all()

    def _load_all(self) -> None:
        parts = self.read_parts()
        train, test = parts["train"], parts["test"]
        if self.facts is None:
            self.facts = self._facts(train)
        self.train_data = self._dataset(train)
        if self.varied.is_any:
            self.train_data.varied = self.varied
        self.validation_data = self._dataset(parts["validation"])
        self.test_data = self._dataset(test)
        self._example = test.strokes[0]
        if self.neighbours:
            tracks, targets = _joined([self.train_data, self.validation_data])
            numbers = np.concatenate([self.drawn.get(part, []) for part in ("train", "validation")])
            if len(numbers) == len(targets):
                # In the order of the file, whatever part of it a seed has drawn for validation.
                order = np.argsort(numbers)
                tracks, targets = tracks.chosen(order), [targets[number] for number in order]
            self._compared = tracks, targets

    def _compare_with_training(self) -> None:
        try:
            parts = [self.read(self.train_file, "train_file")]
            if self.validation_file:
                parts.append(self.read(self.validation_file, "validation_file"))
            data = [self._dataset(part) for part in parts]
        except ValueError as error:
            log.info("no nearest neighbours, as the training drawings cannot be read: %s", error)
        else:
            self._compared = _joined(data)

    def _facts(self, train: Drawings) -> StrokeFacts:
        counts = Counter(str(label) for label in train.labels)
        classes = tuple(sorted(counts, key=natural_order))
        if len(classes) < 2:
            raise ValueError(
                f"data.train_file: every drawing of {self.train_file} has the label {classes[0]!r}: a "
                f"classification needs two classes or more"
            )
        mean, std = scaler(tracks_of(train, self.reading), self.reading)
        return StrokeFacts(
            feature_size=len(mean),
            classes=classes,
            class_counts=tuple(counts[label] for label in classes),
            mean=mean,
            std=std,
            **asdict(self.reading),
        )

    def _dataset(self, drawings: Drawings) -> Characters:
        assert self.facts is not None
        labels = [str(label) for label in drawings.labels]
        targets = class_indices(labels, self.facts.classes, drawings.places.__getitem__)
        return Characters(tracks_of(drawings, self.facts), targets, self.facts)

    def test_dataloader(self) -> DataLoader[Any]:
        if self._compared is not None and self.test_data.neighbours is None:
            self.test_data.neighbours = self._answers(*self._compared)
        return super().test_dataloader()

    def _answers(self, learnt: Tracks, targets: list[int]) -> dict[str, torch.Tensor]:
        """What simple classifiers give to the test drawings."""
        places = [
            list(of.normalised("box").at_equal_times(COMPARED)) for of in (learnt, self.test_data.tracks)
        ]
        found = answers(places[0], torch.tensor(targets).numpy(), places[1], self.dtw_cells, self.cache_dir)
        return {name: torch.from_numpy(given) for name, given in found.classes.items()}

    @classmethod
    def read_input(cls, given: Path | str, facts: StrokeFacts) -> Input:
        """All drawings of a UNIPEN or JSONL file, or of rows of points, prepared as in training.

        A target is the class index if the file's label is one of the training classes, else IGNORED. Raises
        ValueError if the file cannot be read.
        """
        drawings = read_drawings(Path(given), facts.y_down, facts.segments)
        index = {label: i for i, label in enumerate(facts.classes)}
        targets = [index.get(label or "", IGNORED) for label in drawings.labels]
        labels = [facts.classes[target] if target != IGNORED else "" for target in targets]
        batch = Characters(tracks_of(drawings, facts), targets, facts)[list(range(len(targets)))]
        columns = {"label": labels} if any(labels) else {}
        return Input(batch, Path(given).name, columns, picture=drawn_from(drawings))

    @classmethod
    def read_strokes(cls, given: Any, facts: StrokeFacts) -> Input:
        drawing = one_drawing(given)
        tracks = tracks_of(drawing, facts)
        picture = with_steps(drawing, tracks, facts)
        return Input(Characters(tracks, [IGNORED], facts)[[0]], "drawing", picture=picture)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        parts = self.parts()
        lengths = torch.cat([part.lengths for part in parts.values()])
        rows: dict[str, str | int] = {f"{name} drawings": len(part) for name, part in parts.items()}
        rows |= {
            "steps per drawing": f"{int(lengths.min())} to {int(lengths.max())}",
            "features": ", ".join(self.facts.step_features),
            "classes": len(self.facts.classes),
        }
        classes = self.facts.classes
        return rows | rows_of_missing(parts, lambda part: absent(classes, part.targets), "class ")


def _joined(data: Sequence[Characters]) -> tuple[Tracks, list[int]]:
    """The tracks and the classes of several parts."""
    targets = [target for each in data for target in each.targets.tolist()]
    return joined_tracks([each.tracks for each in data]), targets
