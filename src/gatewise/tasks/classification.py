"""Sequence classification: one label for a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.settings import Probability, Share
from gatewise.tasks import followed
from gatewise.tasks.answer import Answer
from gatewise.tasks.inspected import Choice, last_outputs
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, last_hidden


class SequenceClassification(Task):
    """Reads a sequence of feature vectors and predicts its class.

    ``pooling`` turns the sequence into one vector: ``last`` takes the final hidden state of each direction,
    ``mean`` and ``max`` pool over the steps. ``dropout`` is applied before the linear layer.
    """

    facts_type = FeatureFacts
    measured = ("accuracy", "f1")

    def __init__(
        self,
        model: MakeModel,
        facts: FeatureFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        pooling: Literal["last", "mean", "max"] = "last",
        dropout: Probability = 0.0,
        label_smoothing: Share = 0.0,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        n_classes = len(facts.classes)
        self.pooling, self.label_smoothing = pooling, label_smoothing
        self.encoder = model(input_size=facts.feature_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, n_classes)
        self.majority = max(range(n_classes), key=lambda c: facts.class_counts[c])
        self.confusion = MulticlassConfusionMatrix(n_classes, ignore_index=IGNORED, validate_args=False)

    @classmethod
    def sizes(cls, facts: FeatureFacts) -> Mapping[str, tuple[str, int, int]]:
        return {
            "classes": ("head.weight", 0, len(facts.classes)),
            "feature_size": ("encoder.layers.0.weight_ih", 1, facts.feature_size),
        }

    def metrics(self) -> Mapping[str, Measure]:
        settings: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
        n_classes = len(self.facts.classes)
        return {
            "accuracy": Measure(
                "share of sequences classified correctly; higher is better",
                MulticlassAccuracy(n_classes, average="micro", **settings),
            ),
            "f1": Measure(
                "mean over classes of the harmonic mean of precision and recall; higher is better",
                MulticlassF1Score(n_classes, average="macro", **settings),
            ),
        }

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Class scores (logits) [B, classes] of sequences [B, T, F] with lengths [B]."""
        outputs, state = self.encoder(inputs, lengths=lengths)
        last = self.pooling == "last"
        pooled = last_hidden(self.encoder, state) if last else self._pooled(outputs, lengths)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits

    def _pooled(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """One vector for each sequence, [B, K], from outputs [B, T, K], which are 0 on padding."""
        if self.pooling == "last":
            return last_outputs(outputs, lengths, self.encoder.num_directions)
        if self.pooling == "mean":
            return outputs.sum(1) / lengths.clamp(min=1).unsqueeze(-1)
        steps = torch.arange(outputs.shape[1], device=lengths.device)
        real = (steps < lengths[:, None]).unsqueeze(-1)
        return outputs.masked_fill(~real, -torch.inf).amax(1)

    def _pooled_so_far(self, outputs: Tensor) -> Tensor:
        """The same [B, T, K] if the sequences ended with each step; for an encoder that reads forward."""
        if self.pooling == "last":
            return outputs
        if self.pooling == "mean":
            steps = torch.arange(1, outputs.shape[1] + 1, device=outputs.device)
            return outputs.cumsum(1) / steps[:, None]
        return outputs.cummax(1).values

    def score(self, batch: SequenceBatch) -> Score:
        logits = self(batch.inputs, batch.lengths)
        count = int((batch.targets != IGNORED).sum())
        loss = F.cross_entropy(
            logits,
            batch.targets,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return Score(loss / max(count, 1), count, logits.argmax(-1), batch.targets)

    def baselines(self, batch: SequenceBatch) -> Mapping[str, Score]:
        guess = torch.full_like(batch.targets, self.majority)
        return {"majority class": Score(None, len(guess), guess, batch.targets)}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.confusion.reset()

    def add_to_report(self, batch: SequenceBatch, score: Score) -> None:
        assert score.predicted is not None
        self.confusion.update(score.predicted, batch.targets)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._counts = self.confusion.compute().tolist()  # an all-reduce, in which every process takes part

    def report(self) -> dict[str, Any]:
        """The confusion matrix: one row per true class, one column per predicted class."""
        return {"confusion_matrix": {"classes": list(self.facts.classes), "counts": self._counts}}

    def predict_step(self, batch: SequenceBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Class probabilities [B, classes]."""
        return torch.softmax(self(batch.inputs, batch.lengths), -1)

    def answer(self, given: Input) -> Answer:
        """The class of each sequence with its probability and, if the file has labels, the true class."""
        probabilities = self.predict_step(given.batch)
        best = probabilities.max(-1)
        classes = self.facts.classes
        table = pd.DataFrame(
            {
                "sequence": range(1, len(probabilities) + 1),
                "class": [classes[i] for i in best.indices],
                "probability": best.values.tolist(),
                **given.columns,
            }
        )
        columns = {f"p({name})": probabilities[:, index].tolist() for index, name in enumerate(classes)}
        return Answer(
            pd.concat([table, pd.DataFrame(columns)], axis=1),
            f"sequences of {given.name}",
            {"probability": "{:.4f}"},
            tuple(columns),
        )

    def inspected(self, given: Input) -> Choice:
        """The class, if the sequence ended with each step."""
        batch: SequenceBatch = given.batch
        longest = int(batch.lengths.max())
        inputs = batch.inputs[:, :longest]
        names = [list(map(str, range(length))) for length in batch.lengths.tolist()]
        classes = self.facts.classes
        forward = None if self.encoder.bidirectional else self._pooled_so_far
        return Choice(
            encoder=self.encoder,
            inputs=inputs,
            lengths=batch.lengths,
            step="frame",
            names=names,
            title="class, if the sequence ended here",
            read=lambda outputs, _, lengths: self.head(self._pooled(outputs, lengths)),
            read_all=None if forward is None else lambda outputs: self.head(forward(outputs)),
            features=followed.of_frames(
                inputs.numpy(), batch.lengths.numpy(), batch.targets.numpy(), classes
            ),
            choices=classes,
            truth=batch.targets[:1].expand(longest),
        )
