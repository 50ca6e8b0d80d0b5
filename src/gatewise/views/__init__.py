"""Views: what a person looks at."""

from gatewise.views.callbacks import EpochLines, LearningCurves, ResultTable

__all__ = ["EpochLines", "LearningCurves", "ResultTable"]
