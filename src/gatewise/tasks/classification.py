"""One label for a whole sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.settings.ranges import CLASSIFICATION
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, last_hidden
from gatewise.tasks.training_epoch import TrainingEpoch


class _Metrics(nn.Module):
    """Scores of each split and of the majority class; one row of the model table."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(
                    n_classes, average="micro", ignore_index=IGNORED, validate_args=False
                ),
                "f1": MulticlassF1Score(
                    n_classes, average="macro", ignore_index=IGNORED, validate_args=False
                ),
            }
        )
        self.on_train = scores.clone(prefix="train/")
        self.on_val = scores.clone(prefix="val/")
        self.on_test = scores.clone(prefix="test/")
        self.on_majority = scores.clone(prefix="baseline/majority class/")
        self.confusion = MulticlassConfusionMatrix(n_classes, ignore_index=IGNORED, validate_args=False)


class SequenceClassification(Task):
    """Reads a sequence of feature vectors and names its class.

    ``pooling`` makes one vector of the sequence: ``last`` is the final hidden state of each direction,
    ``mean`` and ``max`` go over its steps. ``dropout`` stands before the linear layer.
    """

    facts_type = CLASSIFICATION.facts

    def __init__(
        self,
        model: MakeModel,
        facts: FeatureFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
        pooling: str = "last",
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        CLASSIFICATION.check(locals())
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        n_classes = len(facts.classes)
        self.facts, self.pooling = facts, pooling
        self.label_smoothing = float(label_smoothing)
        self.encoder = model(input_size=facts.feature_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, n_classes)

        self.metrics = _Metrics(n_classes)
        self.training_epoch = TrainingEpoch(self.metrics.on_train)
        self.majority = max(range(n_classes), key=lambda c: facts.class_counts[c])

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, F] and [B] to class scores (logits) [B, classes]."""
        outputs, state = self.encoder(inputs, lengths=lengths)
        if self.pooling == "last":
            pooled = last_hidden(self.encoder, state)
        else:
            steps = torch.arange(inputs.shape[1], device=lengths.device)
            inside = (steps < lengths[:, None]).unsqueeze(-1)
            if self.pooling == "mean":
                pooled = outputs.sum(1) / lengths.clamp(min=1).unsqueeze(-1)
            else:
                pooled = outputs.masked_fill(~inside, -torch.inf).amax(1)
        scores: Tensor = self.head(self.dropout(pooled))
        return scores

    def _score(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, int]:
        """Class scores, and the mean loss of the known targets with their number."""
        logits = self(batch.inputs, batch.lengths)
        count = int((batch.targets != IGNORED).sum())
        loss = F.cross_entropy(
            logits,
            batch.targets,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return logits, loss / max(count, 1), count

    def training_loss(self, batch: SequenceBatch) -> Tensor:
        return self._score(batch)[1]

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        logits, loss, count = self._score(batch)
        self.log_training_step(loss, count, logits.argmax(-1), batch.targets)
        return loss

    def validation_step(self, batch: SequenceBatch, batch_idx: int) -> None:  # noqa: ARG002
        logits, loss, count = self._score(batch)
        self.metrics.on_val.update(logits, batch.targets)
        self.log_mean("val/loss", loss, count)

    # Metrics are logged once an epoch: logging them takes as long as a step of a small model.

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.on_val, prog_bar=True)

    def test_step(self, batch: SequenceBatch, batch_idx: int) -> None:  # noqa: ARG002
        logits, loss, count = self._score(batch)
        self.metrics.on_test.update(logits, batch.targets)
        self.metrics.confusion.update(logits, batch.targets)
        self.metrics.on_majority.update(torch.full_like(batch.targets, self.majority), batch.targets)
        self.log_mean("test/loss", loss, count)

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.metrics.on_test)
        self.log_dict(self.metrics.on_majority)
        self._confusion = self.metrics.confusion.compute()
        self.metrics.confusion.reset()

    def report(self) -> dict[str, Any]:
        """The confusion matrix: rows true, columns predicted."""
        counts = self._confusion.tolist()
        return {"confusion_matrix": {"classes": list(self.facts.classes), "counts": counts}}

    def predict_step(self, batch: SequenceBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Class probabilities [B, classes]."""
        return torch.softmax(self(batch.inputs, batch.lengths), -1)
