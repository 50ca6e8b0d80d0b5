"""Running text as tokens."""

from gatewise.data.text.module import LanguageText, prediction_batch

__all__ = ["LanguageText", "prediction_batch"]
