"""Recordings with a class each: what is said in them, or who says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from gatewise.data.classes import absent, class_indices, natural_order, rows_of_missing
from gatewise.data.sequences.labelled import thinned
from gatewise.data.sequences.neighbours import answers_to_scaled
from gatewise.data.sound.base import SoundData
from gatewise.data.sound.frames import InTraining, LabelledFrames, Scaler
from gatewise.data.sound.heard import Heard
from gatewise.data.sound.recordings import Recordings
from gatewise.data.text.parts import PARTS
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sound import SoundFacts
from gatewise.settings import Count, Positive, Word


class LabelledSound(SoundData):
    """Recordings with a class each.

    Args:
        target: what is learnt: the ``label`` of a recording, or its ``speaker``.
        label_column: the column of a manifest with the labels.
        neighbours: whether nearest neighbours and centroids of the training and validation recordings stand
            beside each test.
        neighbours_thin: of how many frames each step is the mean that these see.
        dtw_cells: most cells of dynamic time warping, the work of these; None: any number.
        settings: those of :class:`gatewise.data.sound.base.SoundData`.
    """

    facts_type = SoundFacts
    facts: SoundFacts | None
    train_data: LabelledFrames
    validation_data: LabelledFrames
    test_data: LabelledFrames

    def __init__(
        self,
        target: Literal["label", "speaker"] = "label",
        label_column: Word = "label",
        neighbours: bool = True,
        neighbours_thin: Positive = 4,
        dtw_cells: Count | None = 3_000_000_000,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.columns = replace(self.columns, label=label_column)
        self.target = target
        self.neighbours, self.neighbours_thin, self.dtw_cells = neighbours, neighbours_thin, dtw_cells
        self._steps: dict[str, list[NDArray[np.float64]]] = {}
        """What simple classifiers see of each part."""

    def usable(self, recordings: Recordings) -> Recordings:
        if self.target == "label":
            return recordings
        speakers = recordings.known_speakers("data.target=speaker asks who speaks")
        return replace(recordings, labels=speakers.tolist())

    def make_facts(self, train: Recordings, **of_frames: Any) -> SoundFacts:
        counts = Counter(train.labels)
        classes = sorted(counts, key=natural_order)
        if len(classes) < 2:
            raise ValueError(
                f"every training recording has the {self.target} {classes[0]!r}: a classification needs two "
                f"classes or more"
            )
        columns = self.columns
        return SoundFacts(
            classes=tuple(classes),
            class_counts=tuple(counts[label] for label in classes),
            path_column=columns.path,
            label_column=columns.label if self.target == "label" else columns.speaker,
            speaker_column=columns.speaker,
            **of_frames,
        )

    def dataset(
        self, part: str, recordings: Recordings, heard: Heard, scaler: Scaler, training: InTraining | None
    ) -> LabelledFrames:
        assert self.facts is not None
        targets = class_indices(recordings.labels, self.facts.classes, recordings.places.__getitem__)
        if self.neighbours:
            each = np.split(heard.frames.astype(np.float64), heard.starts[1:])
            self._steps[part] = [thinned(frames, self.neighbours_thin) for frames in each]
        return LabelledFrames(heard, scaler, targets, training)

    def test_dataloader(self) -> DataLoader[Any]:
        if self.test_data.neighbours is None and self._steps.keys() == set(PARTS):
            learnt = [*self._steps["train"], *self._steps["validation"]]
            targets = torch.cat([self.train_data.targets, self.validation_data.targets]).numpy()
            # In one order, whatever part of them a seed has drawn for validation.
            paths = [*self.recordings["train"].paths, *self.recordings["validation"].paths]
            order = sorted(range(len(paths)), key=lambda i: (paths[i], i))
            found = answers_to_scaled(
                [learnt[i] for i in order], targets[order], self._steps["test"], True, self.dtw_cells,
                self.cache_dir,
            )  # fmt: skip
            self.test_data.neighbours = {name: torch.from_numpy(a) for name, a in found.classes.items()}
        return super().test_dataloader()

    @classmethod
    def for_prediction(cls, recordings: Recordings, heard: Heard, scaler: Scaler, facts: SoundFacts) -> Input:
        index = {label: i for i, label in enumerate(facts.classes)}
        targets = [index.get(label, IGNORED) for label in recordings.labels]
        data = LabelledFrames(heard, scaler, targets)
        columns: dict[str, Sequence[str]] = {"file": [path.name for path in recordings.paths]}
        if any(recordings.labels):
            columns["label"] = recordings.labels
        name = recordings.paths[0].name if len(recordings) == 1 else f"{len(recordings)} recordings"
        return Input(data[list(range(len(recordings)))], name, columns)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None
        classes = self.facts.classes
        rows = {**super().describe(), "classes": len(classes)}
        return rows | rows_of_missing(self.parts(), lambda part: absent(classes, part.targets), "class ")
