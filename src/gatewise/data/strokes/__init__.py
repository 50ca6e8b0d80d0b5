"""Pen strokes, from UNIPEN files, JSONL files, or rows of points."""

from gatewise.data.strokes.lines import JoinedStrokes, StrokeLines
from gatewise.data.strokes.module import StrokeSequences

__all__ = ["JoinedStrokes", "StrokeLines", "StrokeSequences"]
