"""Running text as tokens, texts with a class each, and sentences with a tag for each word."""

from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText
from gatewise.data.text.tagged import TaggedText

__all__ = ["LabelledText", "LanguageText", "TaggedText"]
