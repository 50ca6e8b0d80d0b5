"""Sound as it comes: 16-bit samples, with or without the header of a WAV file, to scaled frames."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.data.sound.features import Frames, FrameStream
from gatewise.data.sound.frames import scaled
from gatewise.kinds.sound import SoundForm

_FULL = 32768.0
"""What stands for 1 in 16 bits."""
_PCM, _EXTENSIBLE = 1, 0xFFFE
"""Formats of a WAV file whose samples are plain numbers."""
_UNKNOWN = (0, 0xFFFFFFFF)
"""Sizes of samples in the header of a file that is still written."""
_BEHIND = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"JUNK", b"junk", b"smpl", b"PEAK")
"""What may come behind the samples of a WAV file and is no sound."""
_LONGEST_HEADER = 1 << 16
"""Bytes of a WAV file before its samples, at most."""


class _Header(NamedTuple):
    size: int
    """Bytes before the samples."""
    samples: int | None
    """Bytes of samples, as it says; more may come in a file that is still written."""


class PcmFrames:
    """Bytes of 16-bit little-endian samples of one channel, at the rate of the features, to frames.

    The frames are those of the whole recording at once, to the last digit. Raises ValueError for features
    that are normalised over a whole recording or speaker.
    """

    def __init__(self, facts: SoundForm, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if facts.normalise != "training":
            raise ValueError(
                f"stream=true: features are normalised over each {facts.normalise} "
                f"(data.normalise={facts.normalise}), which has to be heard to its end first: train with "
                f"data.normalise=training"
            )
        self.facts = facts
        self._scaler = (np.array(mean), np.array(std))
        self._stream = FrameStream(facts)
        self._rest = b""
        """Half a sample, or what may be a header, that has to wait for more."""
        self._is_beginning = True
        self._left: int | None = None
        """Bytes of samples that are still to come, as a header said."""
        self._is_over = False
        self.samples = 0
        """That have come."""

    @property
    def seconds(self) -> float:
        """Of sound that have come."""
        return self.samples / self.facts.sample_rate

    @property
    def shift(self) -> float:
        """Seconds from one frame to the next."""
        return self.facts.shift_samples / self.facts.sample_rate

    @property
    def chunk(self) -> int:
        """Bytes to read at once: those of a tenth of a second."""
        return 2 * max(self.facts.sample_rate // 10, 1)

    def accept(self, piece: bytes) -> Tensor:
        """The frames [T, F] that are complete with these bytes."""
        return self._frames(self._sound(self._rest + piece))

    def end(self) -> Tensor:
        """The frames that were waiting for others; ValueError where there was not enough for one."""
        rest = self._frames(self._rest)  # fewer bytes than could be a header
        if self.samples < self.facts.frame_samples:
            raise ValueError(
                f"{1000 * self.seconds:.3g} ms of sound came, and a frame takes {self.facts.frame_ms:g} ms: "
                f"send 16-bit little-endian samples of one channel at {self.facts.sample_rate} Hz"
            )
        return torch.cat([rest, self._scaled(self._stream.end())])

    def _sound(self, piece: bytes) -> bytes:
        """The bytes of samples in what has come; what cannot be told yet waits."""
        self._rest = b""
        if self._is_over:
            return b""
        if self._is_beginning:
            header = _header(piece, self.facts.sample_rate)
            if header is None:
                self._rest = piece
                return b""
            piece, self._left, self._is_beginning = piece[header.size :], header.samples, False
        if self._left is None:
            return piece
        behind = piece[self._left :]
        if len(behind) >= 4:
            # Else a file that has grown since has more samples there.
            self._is_over = behind[:4] in _BEHIND
            piece = piece[: self._left] if self._is_over else piece
            self._left = None
        elif len(piece) >= self._left:
            self._rest, piece, self._left = behind, piece[: self._left], 0
        else:
            self._left -= len(piece) - len(piece) % 2
        return piece

    def _frames(self, piece: bytes) -> Tensor:
        whole = len(piece) - len(piece) % 2
        self._rest = piece[whole:] or self._rest
        samples = np.frombuffer(piece[:whole], "<i2").astype(np.float32) / np.float32(_FULL)
        self.samples += len(samples)
        return self._scaled(self._stream.accept(samples))

    def _scaled(self, frames: Frames) -> Tensor:
        return torch.from_numpy(scaled(frames, self._scaler))


def _header(piece: bytes, rate: int) -> _Header | None:
    """The header of a WAV file at the beginning, of no size if there is none; None where more has to come.

    Raises ValueError where it says that the samples are not of 16 bits, one channel and this rate.
    """
    if len(piece) < 4 and b"RIFF".startswith(piece):
        return None
    if piece[:4] != b"RIFF":
        return _Header(0, None)
    place = 12
    while place + 8 <= len(piece):
        name, size = piece[place : place + 4], struct.unpack_from("<I", piece, place + 4)[0]
        if name == b"data":
            return _Header(place + 8, None if size in _UNKNOWN else size)
        if name == b"fmt ":
            if place + 24 > len(piece):
                return None
            form, channels, found, _, _, bits = struct.unpack_from("<HHIIHH", piece, place + 8)
            if form not in (_PCM, _EXTENSIBLE) or (channels, found, bits) != (1, rate, 16):
                raise ValueError(
                    f"the WAV header says {channels} channel(s) of {bits} bits at {found} Hz: as it comes, "
                    f"sound is read as one channel of 16 bits at {rate} Hz; convert it, or leave out "
                    f"stream=true"
                )
        place += 8 + size + size % 2
        if place > _LONGEST_HEADER:
            raise ValueError("the WAV header is longer than any that is one: send plain 16-bit samples")
    return None
