"""Today's names of classes that older runs and sweeps refer to by former names."""

from __future__ import annotations

import re

MOVED = {
    "gatewise.tasks.SequenceClassification": "gatewise.tasks.classification.SequenceClassification",
    "gatewise.tasks.Forecasting": "gatewise.tasks.forecasting.Forecasting",
    "gatewise.tasks.LanguageModelling": "gatewise.tasks.language_modelling.LanguageModelling",
    # These runs took the validation share of what the test part left.
    "gatewise.data.speech.FeatureSequences": "gatewise.data.sequences.earlier.SharesOfTheRest",
    "gatewise.views.EpochLines": "gatewise.training.display.EpochLines",
    "gatewise.views.LearningCurves": "gatewise.training.display.LearningCurves",
    "gatewise.views.ResultTable": "gatewise.training.display.ResultTable",
    "gatewise.runs.wandb.make_logger": "gatewise.training.wandb.make_logger",
    "gatewise.runs.mid_epoch.TimedCheckpoint": "gatewise.training.mid_epoch.TimedCheckpoint",
}
"""Today's ``_target_`` for each former one."""

_TARGET = re.compile(r"(?<=_target_)([:=] *['\"]?)(gatewise\.[\w.]+)")


def with_todays_targets(text: str) -> str:
    """The text of a config or an override, with today's name for every ``_target_`` that has moved."""
    return _TARGET.sub(lambda match: match[1] + MOVED.get(match[2], match[2]), text)
