"""Labelled feature sequences: speech frames, sensor readings."""

from gatewise.data.sequences.module import FeatureSequences

__all__ = ["FeatureSequences"]
