"""Running text as tokens, and texts with a class each."""

from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText

__all__ = ["LabelledText", "LanguageText"]
