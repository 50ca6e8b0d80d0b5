"""Recordings changed at random in training, so that a network does not learn them by heart."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import find_folder
from gatewise.data.sound.features import Frames
from gatewise.data.sound.reading import read_sound, resampled
from gatewise.data.sound.recordings import sounds_in
from gatewise.kinds.sound import SoundForm
from gatewise.settings import Count, Folder, NotNegative, Share, checked, rule

Samples = NDArray[np.float32]
_STEPS = 100
"""A speed is a whole number of hundredths, so that few filters are needed."""


@rule
def check_noise(noise_least_db: float, noise_most_db: float) -> None:
    """Raise ValueError for a range that is none."""
    if noise_least_db > noise_most_db:
        raise ValueError(
            f"noise_least_db={noise_least_db:g} is more than noise_most_db={noise_most_db:g}: give no more"
        )


class Augmentation:
    """What is drawn anew for each training recording in each epoch.

    Args:
        speed: how much faster or slower it is played at most, as a share; its pitch changes with it.
        gain_db: how much louder or softer it is at most.
        time_shift_ms: how far its beginning is moved at most: silence comes before it, or it is cut off.
        noise: share of recordings that noise is mixed with.
        noise_least_db, noise_most_db: by how much the recording is louder than the noise.
        noise_folder: recordings of noise; without it, the noise is white.
        frequency_warp: how far frequencies are stretched at most, as a share: as by a longer or shorter vocal
            tract (Jaitly and Hinton, 2013). Of log_mel alone.
        time_masks, time_mask_share: how many stretches of frames are hidden (SpecAugment, Park et al., 2019),
            each at most this share of the recording.
        frequency_masks, frequency_mask_bins: how many bands are hidden, each of at most so many features.
    """

    @checked
    def __init__(
        self,
        speed: Share = 0.0,
        gain_db: NotNegative = 0.0,
        time_shift_ms: NotNegative = 0.0,
        noise: Share = 0.0,
        noise_least_db: float = 5.0,
        noise_most_db: float = 30.0,
        noise_folder: Folder | None = None,
        frequency_warp: Share = 0.0,
        time_masks: Count = 0,
        time_mask_share: Share = 0.2,
        frequency_masks: Count = 0,
        frequency_mask_bins: Count = 8,
    ) -> None:
        self.speed, self.gain_db, self.time_shift_ms = speed, gain_db, time_shift_ms
        self.noise, self.noise_db = noise, (noise_least_db, noise_most_db)
        self.noise_folder = noise_folder
        self.frequency_warp = frequency_warp
        self.time_masks, self.time_mask_share = time_masks, time_mask_share
        self.frequency_masks, self.frequency_mask_bins = frequency_masks, frequency_mask_bins

    @property
    def changes_sound(self) -> bool:
        """Whether the recording itself is changed, so that its features have to be computed anew."""
        return any((self.speed, self.gain_db, self.time_shift_ms, self.noise))

    def longest(self, lengths: NDArray[np.int64], form: SoundForm) -> NDArray[np.int64]:
        """The most frames that recordings of these ``lengths`` can come to have."""
        later = self.time_shift_ms / form.shift_ms
        most: NDArray[np.int64] = np.ceil((lengths + 1) / (1 - self.speed) + later).astype(np.int64)
        return most if self.changes_sound else lengths

    def shortest(self, lengths: NDArray[np.int64], form: SoundForm) -> NDArray[np.int64]:
        """The fewest frames that recordings of these ``lengths`` can come to have."""
        later = self.time_shift_ms / form.shift_ms
        least: NDArray[np.int64] = np.floor((lengths - 1) / (1 + self.speed) - later).astype(np.int64)
        return least.clip(min=1) if self.changes_sound else lengths

    def noises(self, folders: Sequence[str | Path], form: SoundForm) -> list[Samples]:
        """The recordings of noise; ValueError where there are none in the folder."""
        if not self.noise or self.noise_folder is None:
            return []
        folder = find_folder(self.noise_folder, folders, "data.augmentation.noise_folder")
        found = [read_sound(path, form).samples for path in sounds_in(folder)]
        if not found:
            raise ValueError(f"data.augmentation.noise_folder={self.noise_folder}: no recording is in it")
        return found


@dataclass(frozen=True)
class Augmenter:
    """Changes recordings, and hides frames, by what a generator draws."""

    by: Augmentation
    form: SoundForm
    noises: Sequence[Samples] = ()

    def sound(self, samples: Samples, generator: np.random.Generator) -> Samples:
        """A recording, changed; it is never shorter than a frame."""
        by, rate = self.by, self.form.sample_rate
        if by.speed:
            most = int(by.speed * _STEPS)
            samples = resampled(samples, _STEPS + int(generator.integers(-most, most + 1)), _STEPS)
        if by.time_shift_ms:
            most = int(by.time_shift_ms * 0.001 * rate)
            moved = int(generator.integers(-most, most + 1))
            samples = np.concatenate([np.zeros(max(moved, 0), np.float32), samples[max(-moved, 0) :]])
        missing = self.form.frame_samples - len(samples)
        if missing > 0:
            samples = np.concatenate([samples, np.zeros(missing, np.float32)])
        if by.noise and generator.random() < by.noise:
            samples = self._with_noise(samples, generator)
        if by.gain_db:
            samples = samples * np.float32(10 ** (generator.uniform(-by.gain_db, by.gain_db) / 20))
        return samples

    def _with_noise(self, samples: Samples, generator: np.random.Generator) -> Samples:
        """A recording with noise, so much softer than it as is drawn."""
        if self.noises:
            noise = self.noises[int(generator.integers(len(self.noises)))]
            noise = np.resize(np.roll(noise, -int(generator.integers(len(noise)))), len(samples))
        else:
            noise = generator.standard_normal(len(samples), np.float32)
        softer = 10 ** (generator.uniform(*self.by.noise_db) / 20)
        loudness, of_noise = (float(np.sqrt(np.mean(np.square(each)))) for each in (samples, noise))
        if not of_noise:
            return samples
        return samples + noise * np.float32(loudness / (of_noise * softer))

    def frames(self, frames: Frames, generator: np.random.Generator) -> Frames:
        """Scaled frames [T, F] with their frequencies stretched, and some hidden: they become 0, the mean."""
        by, form = self.by, self.form
        by_order = frames.reshape(len(frames), 1 + form.deltas, form.size)
        if by.frequency_warp:
            most = int(by.frequency_warp * _STEPS)
            stretch = 1 + int(generator.integers(-most, most + 1)) / _STEPS
            by_order = by_order @ _warped(stretch, form.bins, form.low_hz, form.high_hz)
        else:
            by_order = by_order.copy()
        frames = by_order.reshape(frames.shape)  # a view: what is hidden in one is in the other
        for _ in range(by.time_masks):
            first, end = _stretch(len(frames), int(by.time_mask_share * len(frames)), generator)
            frames[first:end] = 0.0
        for _ in range(by.frequency_masks):
            first, end = _stretch(form.size, min(by.frequency_mask_bins, form.size), generator)
            by_order[:, :, first:end] = 0.0
        return frames


def _stretch(size: int, most: int, generator: np.random.Generator) -> tuple[int, int]:
    """(First, end) of a stretch of 0 to ``most`` of ``size`` things."""
    width = int(generator.integers(most + 1))
    first = int(generator.integers(size - width + 1))
    return first, first + width


@functools.lru_cache(maxsize=256)
def _warped(stretch: float, bins: int, low_hz: float, high_hz: float) -> NDArray[np.float32]:
    """[bins, bins]: what each band (column) takes of all, where it looks at its frequency times ``stretch``.

    Between two bands the straight line; beyond the first and the last band these.
    """
    low, high = (_mel(hz) for hz in (low_hz, high_hz))
    width = (high - low) / (bins + 1)
    hz = 700 * np.expm1((low + width * np.arange(1, bins + 1)) / 1127)
    places = np.clip((_mel(hz * stretch) - low) / width - 1, 0, bins - 1)
    shares: NDArray[np.float32] = np.maximum(1 - np.abs(np.arange(bins)[:, None] - places), 0).astype(
        np.float32
    )
    return shares


def _mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """On Kaldi's scale."""
    return 1127 * np.log1p(np.asarray(hz) / 700)
