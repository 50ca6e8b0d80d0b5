"""Running text as tokens, texts with a class each, and texts with their translations."""

from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText
from gatewise.data.text.parallel import ParallelText

__all__ = ["LabelledText", "LanguageText", "ParallelText"]
