"""Read recordings: one channel of samples, resampled where the features want another rate."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import TooLargeError
from gatewise.data.sound.extra import libraries
from gatewise.kinds.sound import SoundForm
from gatewise.settings.memory import in_words, memory

SUFFIXES = (".wav", ".flac", ".ogg")
"""Files that are looked for in a folder; whatever else soundfile reads can be named."""
FULL_SCALE = 0.9999
"""From here on a sample counts as cut off, if its neighbours do as well."""
SILENCE = 1e-3
"""A recording with no sample above this, 60 dB below full scale, is silent."""
_BLOCK = 1 << 20
"""Samples that are read at once."""
_LARGE = 1 << 28
"""Bytes from which on it is asked how much memory there is, which takes longer than reading a short file."""


_CUT = re.compile(r"^data : (\d+) \(should be (\d+)\)$", re.MULTILINE)
"""What libsndfile notes of a WAV file with fewer bytes of samples than its header says."""
_UNKNOWN = 0x7FFF0000
"""From here on such a number is that of a recorder which could not tell how long it would go on."""


@dataclass(frozen=True)
class Sound:
    """A recording as it is read."""

    samples: NDArray[np.float32]
    """[N] between -1 and 1, at the rate of the features."""
    is_clipped: bool
    """Whether three samples in a row are at full scale: the microphone was too loud."""
    is_silent: bool


def read_sound(path: Path, form: SoundForm, is_trained: bool = False) -> Sound:
    """Read one channel of a recording at the rate of ``form``.

    Raises ValueError where the file is no sound that can be read, is cut, holds none or too little for a
    frame, has several channels and none is chosen, or was recorded at a rate that does not reach the highest
    frequency of the features. Where the form ``is_trained``, the message names no settings, which cannot be
    changed.
    """
    samples, rate = _read(path, form, is_trained)
    if rate < 2 * form.high_hz:
        way = f"set data.sample_rate={rate}, or data.high_hz to at most {rate / 2:g}"
        if is_trained:
            way = f"the run needs recordings of {2 * form.high_hz:g} Hz or more"
        raise ValueError(
            f"{path}: recorded at {rate} Hz, which holds nothing above {rate / 2:g} Hz, but the features "
            f"reach {form.high_hz:g} Hz: {way}"
        )
    size = np.abs(samples)
    full = size >= FULL_SCALE
    is_clipped = bool((full[2:] & full[1:-1] & full[:-2]).any())
    is_silent = bool(size.max() < SILENCE)
    samples = resampled(samples, rate, form.sample_rate)
    if len(samples) < form.frame_samples:
        raise ValueError(
            f"{path}: {1000 * len(samples) / form.sample_rate:.3g} ms of sound, and a frame takes "
            f"{form.frame_ms:g} ms: leave the file out, or record it again"
        )
    return Sound(samples, is_clipped, is_silent)


def _read(path: Path, form: SoundForm, is_trained: bool) -> tuple[NDArray[np.float32], int]:
    """(The samples of one channel, their rate) of a file."""
    soundfile, _ = libraries()
    try:
        with soundfile.SoundFile(path) as file:
            channels, rate = file.channels, file.samplerate
            if channels > 1 and form.channel == "refuse":
                way = "set data.channel to mean, left or right"
                raise ValueError(
                    f"{path}: {channels} channels, and one is expected: "
                    f"{'give one of them' if is_trained else way}"
                )
            cut = _CUT.search(file.extra_info)
            if cut is not None and int(cut[2]) < int(cut[1]) < _UNKNOWN:
                raise ValueError(
                    f"{path}: the header says {int(cut[1])} bytes of samples, and there are {int(cut[2])}: "
                    f"the file is cut, get it again"
                )
            if file.frames * 4 > _LARGE and file.frames * 4 > memory():
                raise TooLargeError(
                    f"{path}: {in_words(4 * file.frames)} of samples, and there are {in_words(memory())} of "
                    f"memory here: cut it into pieces"
                )
            blocks = [
                _one_channel(block, form.channel)
                for block in file.blocks(_BLOCK, dtype="float32", always_2d=True)
            ]
    except (soundfile.SoundFileError, OSError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise ValueError(f"{path} cannot be read as sound ({reason}): give wav, flac or ogg") from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not len(samples):
        raise ValueError(f"{path} holds no sound (0 samples): leave the file out, or record it again")
    if not np.isfinite(samples).all():
        place = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise ValueError(f"{path}: sample {place} is not a finite number: convert the file anew")
    return samples, rate


def _one_channel(block: NDArray[np.float32], channel: str) -> NDArray[np.float32]:
    """[N] of samples [N, channels]."""
    if block.shape[1] == 1:
        return block[:, 0]
    if channel == "mean":
        mean: NDArray[np.float32] = block.mean(1)
        return mean
    return np.ascontiguousarray(block[:, 0 if channel == "left" else 1])


def resampled(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The same sound with ``wanted`` samples per second instead of ``rate``; any two numbers in a ratio."""
    if rate == wanted:
        return samples
    # Imported here: sound at the right rate has no use for it.
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    found: NDArray[np.float32] = resample_poly(samples, up, down, window=_low_pass(up, down))
    return found.astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def _low_pass(up: int, down: int) -> NDArray[np.float32]:
    """The filter that resample_poly would design for every call."""
    from scipy.signal import firwin

    widest = max(up, down)
    found: NDArray[np.float64] = firwin(20 * widest + 1, 1 / widest, window=("kaiser", 5.0))
    return found.astype(np.float32)
