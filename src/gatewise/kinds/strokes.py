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

    def check_reading(self, kind: str, feature_size: int) -> None:
        """Raise ValueError for values that no training can have given."""
        allowed = get_args(Normalise)
        if not self.step_features or not set(self.step_features) <= set(FEATURES):
            raise ValueError(f"{kind} facts: step_features must be some of {', '.join(FEATURES)}")
        if len(self.step_features) != feature_size:
            raise ValueError(f"{kind} facts: step_features must name each of the {feature_size} features")
        if self.normalise not in allowed:
            raise ValueError(f"{kind} facts: normalise must be one of {', '.join(allowed)}")
        if self.spacing < 0:
            raise ValueError(f"{kind} facts: spacing must be 0 or more, got {self.spacing}")


@dataclass(frozen=True)
class StrokeFacts(LabelledFacts, StrokeReading):
    """Characters, or anything else that a pen wrote, with one label each."""

    kind: ClassVar[str] = "strokes"
    summary: ClassVar[str] = "labelled pen strokes"

    def check(self) -> None:
        super().check()
        self.check_reading(self.kind, self.feature_size)


@dataclass(frozen=True)
class WrittenFacts(TranscriptFacts, StrokeReading):
    """Lines of handwriting, with a transcript each."""

    kind: ClassVar[str] = "transcribed_strokes"
    summary: ClassVar[str] = "pen strokes with transcripts"

    def check(self) -> None:
        super().check()
        self.check_reading(self.kind, self.feature_size)
