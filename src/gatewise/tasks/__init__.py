"""Tasks: the kinds of prediction, each a LightningModule over any Recurrent."""

from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.forecasting import Forecasting
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.task import Task

__all__ = ["Forecasting", "LanguageModelling", "SequenceClassification", "Task"]
