"""Labelled feature sequences: speech frames, sensor readings."""

from gatewise.data.sequences.module import FeatureSequences, prediction_batch

__all__ = ["FeatureSequences", "prediction_batch"]
