"""Strings of recordings joined to one, such as connected digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import digest
from gatewise.data.joined import JoinsExamples
from gatewise.data.sound.extra import libraries
from gatewise.data.sound.reading import Sound, read_sound
from gatewise.data.sound.recordings import Recordings
from gatewise.data.sound.transcribed import TranscribedSound
from gatewise.data.text.parts import PARTS
from gatewise.kinds.sound import SoundForm
from gatewise.settings import Count, NotNegative, Positive

Samples = NDArray[np.float32]
_LOUDEST = 0.98
"""Of a string that is written to a file: two recordings at once may be louder than a file can hold."""


@dataclass(frozen=True)
class Joined(Recordings):
    """N strings of recordings of one speaker each; the path of a string is a name."""

    pieces: list[tuple[tuple[Path, float], ...]]
    """The recordings of each, with the milliseconds of silence before them; below 0, they overlap."""
    ends: list[float]
    """The milliseconds of silence after the last."""
    noises: list[tuple[float, int]]
    """By how many decibels a string is louder than the noise in it, and the seed of that noise."""

    def read(self, number: int, form: SoundForm, is_trained: bool = False) -> Sound:
        sounds = [read_sound(path, form, is_trained) for path, _ in self.pieces[number]]
        silences = [milliseconds for _, milliseconds in self.pieces[number]]
        samples = joined([sound.samples for sound in sounds], silences, self.ends[number], form.sample_rate)
        softer, seed = self.noises[number]
        loudness = float(np.sqrt(np.mean(np.square(samples))))
        noise = np.random.default_rng(seed).standard_normal(len(samples), np.float32)
        samples = samples + noise * np.float32(loudness / 10 ** (softer / 20))
        is_clipped = any(sound.is_clipped for sound in sounds)
        return Sound(samples, is_clipped, all(sound.is_silent for sound in sounds))

    def content(self) -> Any:
        paths = {path: digest(path) for pieces in self.pieces for path, _ in pieces}
        named = [[(paths[path], silence) for path, silence in pieces] for pieces in self.pieces]
        return [named, self.ends, self.noises]

    def save(self, number: int, folder: Path, name: str, form: SoundForm) -> Path:
        soundfile, _ = libraries()
        samples = self.read(number, form).samples
        path = folder / f"{name}.wav"
        loudest = float(np.abs(samples).max())
        soundfile.write(path, samples * min(1.0, _LOUDEST / loudest), form.sample_rate, "PCM_16")
        return path


def joined(recordings: list[Samples], silences: list[float], end: float, rate: int) -> Samples:
    """Recordings after each other, so many milliseconds of silence before each (below 0: they overlap)."""
    starts, place = [], 0
    for samples, silence in zip(recordings, silences, strict=True):
        starts.append(max(place + int(silence * 0.001 * rate), 0))
        place = starts[-1] + len(samples)
    last = max(start + len(samples) for start, samples in zip(starts, recordings, strict=True))
    whole = np.zeros(last + int(end * 0.001 * rate), np.float32)
    for start, samples in zip(starts, recordings, strict=True):
        whole[start : start + len(samples)] += samples
    return whole


class JoinedSound(JoinsExamples, TranscribedSound):
    """Strings joined from recordings of one speaker; a transcript is their labels.

    Every recording of a part is in about the same number of its strings.

    Args:
        train_strings, validation_strings, test_strings: how many are joined from the recordings of each part.
        least, most: recordings of a string.
        silence_ms: most silence between two recordings, and before the first and after the last.
        overlap_ms: how far one may begin before the last has ended. What is between the two is drawn evenly
            from all of that.
        noise_db: how much softer than a string the white noise in it is, as no microphone is silent.
        test_seed: of the strings of the test, so that trainings with several seeds have the same test.
        settings: those of :class:`TranscribedSound`, for recordings with a label each.
    """

    def __init__(
        self,
        train_strings: Positive = 4000,
        validation_strings: Positive = 300,
        test_strings: Positive = 600,
        least: Positive = 3,
        most: Positive = 7,
        silence_ms: NotNegative = 300.0,
        overlap_ms: NotNegative = 50.0,
        noise_db: NotNegative = 40.0,
        test_seed: Count = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.counts = dict(zip(PARTS, (train_strings, validation_strings, test_strings), strict=True))
        self.test_seed = test_seed
        self.sizes, self.noise_db = (least, most), noise_db
        self.between = (-overlap_ms, silence_ms)

    def prepared(self, parts: dict[str, Recordings]) -> dict[str, Recordings]:
        strings: dict[str, Recordings] = {part: self._strings(part, own) for part, own in parts.items()}
        return super().prepared(strings)

    def _strings(self, part: str, recordings: Recordings) -> Joined:
        """The strings of a part."""
        generator = self.generator(part)
        found = Joined([], [], [], [], [], [], [], [])
        for number, speaker, chosen in self.strings_of(part, recordings.speakers, generator):
            silences = generator.uniform(*self.between, len(chosen)).round(1)
            silences[0] = max(silences[0], 0.0)
            found.paths.append(Path(f"{part}_{speaker or 'string'}_{number:05d}"))
            found.places.append(f"{part} string {number + 1} of {speaker or 'the recordings'}")
            found.labels.append(" ".join(recordings.labels[each] for each in chosen))
            found.speakers.append(speaker)
            found.splits.append(part)
            found.pieces.append(
                tuple(zip((recordings.paths[each] for each in chosen), silences.tolist(), strict=True))
            )
            found.ends.append(float(generator.uniform(0, self.between[1]).__round__(1)))
            found.noises.append((self.noise_db, int(generator.integers(2**31))))
        return found
