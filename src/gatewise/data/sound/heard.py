"""The features of many recordings, kept for the next training by content and settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.kept import Arrays, key_of, made_once
from gatewise.data.sound import features, reading
from gatewise.data.sound.extra import libraries
from gatewise.data.sound.features import Frames, frames_of
from gatewise.data.sound.recordings import Recordings
from gatewise.kinds import sound
from gatewise.kinds.sound import SoundForm
from gatewise.settings import listed

log = logging.getLogger(__name__)

CODE = (reading, features, sound)
"""The files that decide the features."""
_NAMED = 3
"""Recordings that a warning names."""


@dataclass(frozen=True)
class Heard:
    """The frames of N recordings, one recording after the other, before any normalisation."""

    frames: Frames
    """[sum of lengths, F]"""
    lengths: NDArray[np.int64]
    """[N]"""
    clipped: NDArray[np.bool_]
    """[N]: which have samples that are cut off."""
    silent: NDArray[np.bool_]

    @property
    def starts(self) -> NDArray[np.int64]:
        """[N]: the first frame of each."""
        return self.lengths.cumsum() - self.lengths

    def parts(self, sizes: Sequence[int]) -> list[Heard]:
        """So many recordings at a time, one part after the other."""
        ends = np.cumsum(sizes)[:-1]
        frame_ends = np.append(0, self.lengths.cumsum())[ends]
        frames = np.split(self.frames, frame_ends)
        others = (np.split(getattr(self, each.name), ends) for each in fields(self)[1:])
        return [Heard(*part) for part in zip(frames, *others, strict=True)]

    def chosen(self, numbers: NDArray[np.int64]) -> Heard:
        """Those with these numbers."""
        each = np.split(self.frames, self.starts[1:])
        frames = np.concatenate([each[number] for number in numbers.tolist()])
        return Heard(frames, self.lengths[numbers], self.clipped[numbers], self.silent[numbers])

    def warn(self, paths: Sequence[Path]) -> None:
        """Say which recordings are clipped or silent."""
        for which, what in ((self.clipped, "clipped (samples at full scale)"), (self.silent, "silent")):
            names = [paths[i].name for i in np.flatnonzero(which).tolist()]
            if names:
                log.warning(
                    "%d of %d recordings are %s: %s", len(names), len(paths), what, listed(names, _NAMED)
                )


def hear(recordings: Recordings, form: SoundForm, is_trained: bool = False) -> Heard:
    """Read recordings and compute their frames; ValueError, naming the file, where one cannot be used."""
    frames: list[Frames] = []
    clipped, silent = (np.zeros(len(recordings), bool) for _ in range(2))
    for place in range(len(recordings)):
        read = recordings.read(place, form, is_trained)
        clipped[place], silent[place] = read.is_clipped, read.is_silent
        frames.append(frames_of(read.samples, form))
    lengths = np.array([len(each) for each in frames], np.int64)
    return Heard(np.concatenate(frames), lengths, clipped, silent)


def heard_once(recordings: Recordings, form: SoundForm, folder: Path | None) -> Heard:
    """The same, kept in ``folder`` for the next time, unless it is None."""
    if folder is None:
        return hear(recordings, form)
    soundfile, fbank = libraries()
    settings = {each.name: asdict(form)[each.name] for each in fields(SoundForm) if each.name != "normalise"}
    versions = [soundfile.__version__, soundfile.__libsndfile_version__, fbank.__version__]
    key = key_of([recordings.content(), settings, versions], CODE)
    return made_once(folder / "sound" / f"{key}.npz", lambda: hear(recordings, form), _stored, _read)


def _stored(heard: Heard) -> tuple[Any, Arrays]:
    return {}, {each.name: getattr(heard, each.name) for each in fields(heard)}


def _read(about: Any, arrays: Arrays) -> Heard:
    del about
    heard = Heard(**{each.name: arrays[each.name] for each in fields(Heard)})
    if heard.lengths.sum() != len(heard.frames):
        raise ValueError("it has frames of other recordings")
    return heard
