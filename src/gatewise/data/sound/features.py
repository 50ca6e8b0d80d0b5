"""Log-mel energies and cepstral coefficients of sound, with their slopes, as it comes or all at once.

Computed by kaldi-native-fbank: frames that lie within the sound, pre-emphasis of 0.97, Povey's window. Sound
that comes in pieces gives the very frames of the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.sound.extra import libraries
from gatewise.kinds.sound import SoundForm

Frames = NDArray[np.float32]
"""[T, F]"""
REACH = 2
"""Frames to either side that a slope is fitted to."""


class FrameStream:
    """The frames of sound that comes in pieces; slopes wait for the frames that they look ahead to."""

    def __init__(self, form: SoundForm) -> None:
        self.form = form
        self._computer = _computer(form)
        self._next = 0
        """The number of the next frame without slopes."""
        self._slopes = _slopes(form.deltas)
        self._reach = REACH * form.deltas
        self._held: Frames = np.zeros((0, form.size), np.float32)
        """Frames without slopes that slopes still need, the first one repeated before the beginning."""

    @property
    def lookahead(self) -> int:
        """Frames that have to be there after one, before it is given."""
        return self._reach

    def accept(self, samples: NDArray[np.float32]) -> Frames:
        """The frames that are complete with these samples, which are between -1 and 1."""
        # A list: from an array the library takes each number by itself, which is slower.
        self._computer.accept_waveform(self.form.sample_rate, samples.tolist())
        return self._given(self._computed())

    def end(self) -> Frames:
        """The frames that were waiting for others; nothing may come after."""
        self._computer.input_finished()
        frames = self._given(self._computed())
        if not len(self._held):
            return frames
        last = np.repeat(self._held[-1:], self._reach, 0)
        return np.concatenate([frames, self._given(last)])

    def _computed(self) -> Frames:
        """New frames without slopes."""
        ready = self._computer.num_frames_ready
        frames = np.empty((ready - self._next, self.form.size), np.float32)
        for place in range(len(frames)):
            frames[place] = self._computer.get_frame(self._next + place)
        self._computer.pop(len(frames))
        self._next = ready
        return frames

    def _given(self, frames: Frames) -> Frames:
        """Those frames, with their slopes, that have all that follow them."""
        if not self._reach or not len(frames):
            return frames if not self._reach else self._nothing()
        if not len(self._held):
            self._held = np.repeat(frames[:1], self._reach, 0)
        self._held = np.concatenate([self._held, frames])
        count = len(self._held) - 2 * self._reach
        if count <= 0:
            return self._nothing()
        parts = []
        for weights in self._slopes:
            # Summed one by one, in the same order for any number of frames: to the same digits.
            total = np.zeros((count, self.form.size), np.float32)
            for place, weight in enumerate(weights, start=self._reach - len(weights) // 2):
                if weight:
                    total += weight * self._held[place : place + count]
            parts.append(total)
        self._held = self._held[count:]
        return np.concatenate(parts, 1)

    def _nothing(self) -> Frames:
        return np.zeros((0, self.form.vector_size), np.float32)


def frames_of(samples: NDArray[np.float32], form: SoundForm) -> Frames:
    """All frames [T, F] of a whole recording."""
    stream = FrameStream(form)
    frames = stream.accept(samples)
    return np.concatenate([frames, stream.end()])


def check_computable(form: SoundForm) -> None:
    """Raise ValueError where the band cannot be divided into so many mel bands."""
    try:
        _computer(form)
    except ValueError:
        raise ValueError(
            f"data.bins={form.bins}: the band from {form.low_hz:g} to {form.high_hz:g} Hz of frames of "
            f"{form.frame_ms:g} ms has fewer frequencies: give fewer bins, or longer frames (data.frame_ms)"
        ) from None


def _computer(form: SoundForm) -> Any:
    _, fbank = libraries()
    options = fbank.FbankOptions() if form.features == "log_mel" else fbank.MfccOptions()
    frame = options.frame_opts
    frame.samp_freq, frame.frame_length_ms, frame.frame_shift_ms = (
        form.sample_rate,
        form.frame_ms,
        form.shift_ms,
    )
    frame.dither = 0.0  # which would be noise drawn anew each time
    options.mel_opts.num_bins = form.bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = form.low_hz, form.high_hz
    options.use_energy = False
    if form.features == "log_mel":
        return fbank.OnlineFbank(options)
    options.num_ceps = form.coefficients
    return fbank.OnlineMfcc(options)


def _slopes(orders: int) -> list[NDArray[np.float32]]:
    """The weights of neighbouring frames for a feature and for each order of its slopes, as Kaldi has them.

    A slope is that of the straight line through a frame and its neighbours, by least squares.
    """
    line = np.arange(-REACH, REACH + 1)
    line = line / (line**2).sum()
    weights = [np.ones(1)]
    for _ in range(orders):
        weights.append(np.convolve(weights[-1], line))
    return [each.astype(np.float32) for each in weights]
