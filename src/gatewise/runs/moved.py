"""Where classes that older runs and sweeps name are found today."""

from __future__ import annotations

import re

MOVED = {
    "gatewise.tasks.SequenceClassification": "gatewise.tasks.classification.SequenceClassification",
    "gatewise.tasks.Forecasting": "gatewise.tasks.forecasting.Forecasting",
    "gatewise.tasks.LanguageModelling": "gatewise.tasks.language_modelling.LanguageModelling",
    "gatewise.data.speech.FeatureSequences": "gatewise.data.sequences.FeatureSequences",
    "gatewise.views.EpochLines": "gatewise.training.display.EpochLines",
    "gatewise.views.LearningCurves": "gatewise.training.display.LearningCurves",
    "gatewise.views.ResultTable": "gatewise.training.display.ResultTable",
    "gatewise.runs.wandb.make_logger": "gatewise.training.wandb.make_logger",
    "gatewise.runs.mid_epoch.TimedCheckpoint": "gatewise.training.mid_epoch.TimedCheckpoint",
}
"""Today's ``_target_`` by that of earlier versions."""


_TARGET = re.compile(r"(?<=_target_)([:=] *['\"]?)(gatewise\.[\w.]+)")


def with_todays_targets(text: str) -> str:
    """A config or an override as text, with every ``_target_`` by the name that its class has today."""
    return _TARGET.sub(lambda found: found[1] + MOVED.get(found[2], found[2]), text)
