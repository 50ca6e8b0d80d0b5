"""Sequence classification: one label for a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from gatewise.kinds.kind import Input
from gatewise.kinds.sequences import LabelledFacts, SequenceBatch
from gatewise.nn.pooling import PoolingName
from gatewise.tasks import followed
from gatewise.tasks.answer import Answer, table_of
from gatewise.tasks.classifier import Classifier
from gatewise.tasks.inspected import Choice
from gatewise.tasks.scores import Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler


class SequenceClassification(Classifier):
    """Reads a sequence of feature vectors and predicts its class.

    ``pooling`` turns the sequence into one vector, see :class:`gatewise.nn.pooling.Pooling`. ``dropout`` is
    applied before the linear layer.
    """

    facts_type = LabelledFacts

    def __init__(
        self,
        model: MakeModel,
        facts: LabelledFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        pooling: PoolingName = "last",
        **settings: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode, pooling, **settings)
        self.make_classifier(model, facts.feature_size)

    @classmethod
    def sizes(cls, facts: LabelledFacts, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:  # noqa: ARG003
        return {
            "classes": ("head.weight", 0, len(facts.classes)),
            "feature_size": ("encoder.layers.0.weight_ih", 1, facts.feature_size),
        }

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Class scores (logits) [B, classes] of sequences [B, T, F] with lengths [B]."""
        return self.classified(inputs, lengths)

    def logits(self, batch: SequenceBatch) -> Tensor:
        logits: Tensor = self(batch.inputs, batch.lengths)
        return logits

    def baselines(self, batch: SequenceBatch) -> Mapping[str, Score]:
        answers = dict(super().baselines(batch))
        for name, guess in (batch.neighbours or {}).items():
            answers[name] = Score(None, len(guess), guess, batch.targets)
        return answers

    def answer(self, given: Input) -> Answer:
        """The class of each sequence with its probability and, if the file has labels, the true class."""
        probabilities = self.predict_step(given.batch)
        best = probabilities.max(-1)
        classes = self.facts.classes
        named = [classes[i] for i in best.indices]
        certain = [f"{name} ({p:.2f})" for name, p in zip(named, best.values.tolist(), strict=True)]
        columns = {f"p({name})": probabilities[:, index].tolist() for index, name in enumerate(classes)}
        table = table_of(
            {
                "sequence": range(1, len(probabilities) + 1),
                "class": named,
                "probability": best.values.tolist(),
                **given.columns,
                **columns,
            }
        )
        return Answer(
            table,
            f"sequences of {given.name}",
            {"probability": "{:.4f}"},
            tuple(columns),
            picture=given.with_answers(certain),
        )

    def inspected(self, given: Input) -> Choice:
        """The class, if the sequence ended with each step."""
        batch: SequenceBatch = given.batch
        longest = int(batch.lengths.max())
        inputs = batch.inputs[:, :longest]
        return self.as_choice(
            inputs,
            batch.lengths,
            batch.targets,
            step="frame",
            names=[list(map(str, range(length))) for length in batch.lengths.tolist()],
            title="class, if the sequence ended here",
            features=followed.of_frames(
                inputs.numpy(), batch.lengths.numpy(), batch.targets.numpy(), self.facts.classes
            ),
        )
