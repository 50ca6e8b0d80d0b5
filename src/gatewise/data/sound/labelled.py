"""Recordings with a class each: what is said in them, or who says it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from gatewise.data.classes import absent, class_indices, natural_order, rows_of_missing
from gatewise.data.sound.base import SoundData
from gatewise.data.sound.frames import InTraining, LabelledFrames, Scaler
from gatewise.data.sound.heard import Heard
from gatewise.data.sound.recordings import Recordings
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sound import SoundFacts

log = logging.getLogger(__name__)


class LabelledSound(SoundData):
    """Recordings with a class each.

    Args:
        target: what is learnt: the ``label`` of a recording, or its ``speaker``.
        settings: those of :class:`gatewise.data.sound.base.SoundData`.
    """

    facts_type = SoundFacts
    facts: SoundFacts | None
    train_data: LabelledFrames
    validation_data: LabelledFrames
    test_data: LabelledFrames

    def __init__(self, target: Literal["label", "speaker"] = "label", **settings: Any) -> None:
        super().__init__(**settings)
        self.target = target

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
        self,
        part: str,  # noqa: ARG002
        recordings: Recordings,
        heard: Heard,
        scaler: Scaler,
        training: InTraining | None,
    ) -> LabelledFrames:
        assert self.facts is not None
        targets = class_indices(recordings.labels, self.facts.classes, recordings.places.__getitem__)
        return LabelledFrames(heard, scaler, targets, training)

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
