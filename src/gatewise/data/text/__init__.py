"""Running text as tokens."""

from gatewise.data.text.module import LanguageText

__all__ = ["LanguageText"]
