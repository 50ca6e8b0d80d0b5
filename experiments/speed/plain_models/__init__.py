"""The models of presets as one writes them in plain PyTorch, with nn.LSTM, to compare their speed.

What torch.nn cannot do is left out and named by :func:`left_out`: another cell, dropout of the state. All
else is there in the usual way: locked dropouts are masks, weight dropout replaces the weights of a call.
"""

from __future__ import annotations

from typing import Any

from gatewise.tasks.captioning import Captioning
from gatewise.tasks.classification import SequenceClassification
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.tasks.recognition import Recognition
from gatewise.tasks.tagging import Tagging
from gatewise.tasks.text_classification import TextClassification
from gatewise.tasks.translation import Translation
from plain_models.classifier import PlainTextClassifier
from plain_models.frames import PlainRecognizer, PlainSequenceClassifier
from plain_models.language_model import PlainLanguageModel
from plain_models.layers import has_cell, left_out
from plain_models.tagger import PlainTagger
from plain_models.translator import PlainCaptioner, PlainTranslator

PLAIN = {
    LanguageModelling: PlainLanguageModel,
    TextClassification: PlainTextClassifier,
    Tagging: PlainTagger,
    Translation: PlainTranslator,
    SequenceClassification: PlainSequenceClassifier,
    Recognition: PlainRecognizer,
    Captioning: PlainCaptioner,
}


def plain_model(task: Any) -> Any:
    """The plain model of a task, whose sizes and weights it takes."""
    for kind, plain in PLAIN.items():
        if isinstance(task, kind):
            return plain(task)
    raise SystemExit(f"there is no plain model of a {type(task).__name__}")


__all__ = ["PLAIN", "has_cell", "left_out", "plain_model"]
