"""Running text as tokens, texts with one label or several, tagged words, and texts with translations."""

from gatewise.data.text.labelled import LabelledText
from gatewise.data.text.module import LanguageText
from gatewise.data.text.parallel import ParallelText
from gatewise.data.text.several_labels import SeveralLabels
from gatewise.data.text.tagged import TaggedText

__all__ = ["LabelledText", "LanguageText", "ParallelText", "SeveralLabels", "TaggedText"]
