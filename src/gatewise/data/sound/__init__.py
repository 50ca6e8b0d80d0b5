"""Recordings of sound."""

from gatewise.data.sound.augmentation import Augmentation
from gatewise.data.sound.joined import JoinedSound
from gatewise.data.sound.labelled import LabelledSound
from gatewise.data.sound.transcribed import TranscribedSound

__all__ = ["Augmentation", "JoinedSound", "LabelledSound", "TranscribedSound"]
