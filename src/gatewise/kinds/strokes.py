"""Pen strokes: characters with a label, lines of handwriting with a transcript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from gatewise.kinds.sequences import LabelledFacts
from gatewise.kinds.transcripts import TranscriptFacts

Normalise = Literal["box", "height", "none"]
FEATURES = ("x", "y", "dx", "dy", "pen_up")
"""What a step may have: its place, the way from the step before, and whether the pen was in the air on it."""


@dataclass(frozen=True)
class StrokeReading:
    """How the strokes of a file become steps, which a prediction does as the training did."""

    step_features: tuple[str, ...]
    """What each step has, of ``FEATURES``."""
    normalise: str
    """``box``: the larger side of a drawing is 1; ``height``: its height is; ``none``: as in the file."""
    spacing: float
    """How far apart the steps are along a stroke, in units of that side; 0: the points of the file."""
    y_down: bool
    """Whether y grows downwards in JSONL files, as on a screen."""
    segments: str
    """The segments of a UNIPEN file that are read; nothing: those of the lowest level."""

    def check_reading(self, feature_size: int) -> None:
        """Raise ValueError for values that no training can have given."""
        if not self.step_features or not set(self.step_features) <= set(FEATURES):
            raise _wrong("step_features", f"must be some of {', '.join(FEATURES)}", self.step_features)
        if self.normalise not in get_args(Normalise):
            raise _wrong("normalise", f"must be one of {', '.join(get_args(Normalise))}", self.normalise)
        if self.spacing < 0:
            raise _wrong("spacing", "must be 0 or more", self.spacing)
        if len(self.step_features) != feature_size:
            rule = f"must name each of the {feature_size} features (feature_size)"
            raise _wrong("step_features", rule, self.step_features)


def _wrong(name: str, rule: str, value: object) -> ValueError:
    return ValueError(f"facts of strokes: {name} {rule}, got {str(value)[:60]}")


@dataclass(frozen=True)
class StrokeFacts(LabelledFacts, StrokeReading):
    """Characters, or anything else that a pen wrote, with one label each."""

    kind: ClassVar[str] = "strokes"
    summary: ClassVar[str] = "labelled pen strokes"

    def check(self) -> None:
        super().check()
        self.check_reading(self.feature_size)


@dataclass(frozen=True)
class WrittenFacts(TranscriptFacts, StrokeReading):
    """Lines of handwriting, with a transcript each."""

    kind: ClassVar[str] = "transcribed_strokes"
    summary: ClassVar[str] = "pen strokes with transcripts"

    def check(self) -> None:
        super().check()
        self.check_reading(self.feature_size)
