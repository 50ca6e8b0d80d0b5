"""Labelled feature sequences: speech frames, sensor readings."""

from gatewise.data.speech.module import FeatureSequences, prediction_batch

__all__ = ["FeatureSequences", "prediction_batch"]
