"""Recordings of sound."""

from gatewise.data.sound.augmentation import Augmentation
from gatewise.data.sound.labelled import LabelledSound

__all__ = ["Augmentation", "LabelledSound"]
