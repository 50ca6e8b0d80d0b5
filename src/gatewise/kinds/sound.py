"""Recordings of sound: how they become feature vectors, and what is known of labelled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gatewise.kinds.sequences import LabelledFacts
from gatewise.kinds.transcripts import TranscriptFacts

CHANNELS = ("refuse", "mean", "left", "right")
FEATURES = ("log_mel", "mfcc")
NORMALISED_BY = ("training", "recording", "speaker")


@dataclass(frozen=True)
class SoundForm:
    """How a recording becomes feature vectors: what the facts of every kind of recordings share."""

    sample_rate: int
    """Samples per second of the sound that features are computed from; others are resampled to it."""
    channel: str
    """What is taken of a recording with several channels: their mean, left, right, or refuse."""
    features: str
    """log_mel (energies of mel bands) or mfcc (their cepstral coefficients)."""
    bins: int
    """Mel bands."""
    coefficients: int
    """Cepstral coefficients of mfcc."""
    frame_ms: float
    """Milliseconds of sound that a frame is computed from."""
    shift_ms: float
    """Milliseconds from one frame to the next."""
    low_hz: float
    high_hz: float
    """The band that the mel bands divide."""
    deltas: int
    """Orders of slopes beside the features: 0, 1 (deltas) or 2 (those of deltas too)."""
    normalise: str
    """Over what each feature is brought to mean 0 and standard deviation 1 before all else: the frames of a
    ``recording``, or those of a ``speaker``; by ``training`` alone nothing is done before."""

    @property
    def size(self) -> int:
        """Features of a frame without their slopes."""
        return self.bins if self.features == "log_mel" else self.coefficients

    @property
    def vector_size(self) -> int:
        """Features of a frame with their slopes."""
        return self.size * (1 + self.deltas)

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate * 0.001 * self.frame_ms)

    @property
    def shift_samples(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * 0.001 * self.shift_ms)

    def in_words(self) -> str:
        """What a frame has, how often there is one, and of which band."""
        what = f"{self.bins} mel bands" if self.features == "log_mel" else f"{self.size} MFCCs"
        slopes = ("", " with deltas", " with deltas of two orders")[self.deltas]
        return f"{what}{slopes} every {self.shift_ms:g} ms, {self.low_hz:g} to {self.high_hz:g} Hz"

    def check_form(self, kind: str, feature_size: int) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        allowed = {"channel": CHANNELS, "features": FEATURES, "normalise": NORMALISED_BY, "deltas": (0, 1, 2)}
        for name, values in allowed.items():
            value = getattr(self, name)
            if value not in values:
                listed = ", ".join(map(str, values))
                raise ValueError(f"{kind} facts: {name} must be one of {listed}, got {value!r}")
        for name in ("sample_rate", "bins", "coefficients", "frame_samples", "shift_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{kind} facts: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"{kind} facts: low_hz {self.low_hz:g} and high_hz {self.high_hz:g} must be a band below "
                f"half of sample_rate {self.sample_rate}"
            )
        if self.vector_size != feature_size:
            raise ValueError(
                f"{kind} facts: feature_size must be {self.vector_size}, as the features say, got "
                f"{feature_size}"
            )


@dataclass(frozen=True)
class SoundFacts(SoundForm, LabelledFacts):
    """Recordings with a class each: what was said, or who said it."""

    kind: ClassVar[str] = "sound"
    summary: ClassVar[str] = "labelled recordings"

    path_column: str = "path"
    label_column: str = "label"
    speaker_column: str = "speaker"
    """Columns of a manifest, as the settings of the data name them."""

    def check(self) -> None:
        super().check()
        self.check_form(self.kind, self.feature_size)


@dataclass(frozen=True)
class SpokenFacts(SoundForm, TranscriptFacts):
    """Recordings with a transcript each: what was said."""

    kind: ClassVar[str] = "transcribed_sound"
    summary: ClassVar[str] = "recordings with transcripts"

    path_column: str = "path"
    text_column: str = "text"
    speaker_column: str = "speaker"
    """Columns of a manifest, as the settings of the data name them."""

    @property
    def seconds(self) -> float:
        return self.shift_samples / self.sample_rate

    def check(self) -> None:
        super().check()
        self.check_form(self.kind, self.feature_size)
