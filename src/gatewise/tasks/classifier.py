"""What all classifications of whole sequences share: pooling, the loss, scores and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from gatewise.kinds.kind import IGNORED
from gatewise.nn.last import last_hidden
from gatewise.nn.masks import Dropout
from gatewise.nn.pooling import Pooling, PoolingName
from gatewise.settings import Probability, Share
from gatewise.tasks.inspected import Choice, last_outputs
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task

ClassWeights = Literal["equal", "balanced"]


@dataclass(frozen=True)
class ClassScore(Score):
    """The score of a batch with the probability of each class that was predicted."""

    certainty: Tensor | None = None
    """[B]; None in training, where nothing shows it."""


class PooledReader(Task):
    """Reads a sequence of vectors, pools what the encoder gives, and scores answers by a linear layer.

    A subclass calls :meth:`make_layers` when it has made what comes before them.
    """

    def __init__(
        self,
        facts: Any,
        optimizer: MakeOptimizer | None,
        scheduler: MakeScheduler | None,
        monitor: str,
        mode: Literal["min", "max"],
        pooling: PoolingName,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.pooling, self.share_dropped = pooling, dropout

    def make_layers(self, model: MakeModel, input_size: int, answers: int) -> None:
        """Make the encoder of vectors of ``input_size``, the pooling, and the layer of so many scores."""
        self.encoder = model(input_size=input_size, batch_first=True)
        self.pool = Pooling(self.pooling, self.encoder.output_size)
        self.dropout = Dropout(self.share_dropped)
        self.head = nn.Linear(self.pool.output_size, answers)

    def classified(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Scores (logits) [B, answers] of vectors [B, T, F] with lengths [B]."""
        outputs, state = self.encoder(inputs, lengths=lengths)
        pooled = self.pool(outputs, last_hidden(self.encoder, state), lengths)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class Classifier(PooledReader):
    """Predicts a class of a sequence.

    A subclass implements :meth:`logits` and calls :meth:`make_classifier`. ``facts`` have ``classes`` and
    ``class_counts``; a batch has ``targets`` [B]. With ``class_weights=balanced`` an example counts in the
    loss by the inverse of its class's share of the training examples, so that every class has the same
    weight.
    """

    measured = ("accuracy", "f1")
    class_weights: Tensor | None
    """[classes]: how much an example of each counts in the loss; None where all count the same."""
    counted = "sequences"
    """What is classified, for the meaning of a metric."""

    def __init__(
        self,
        *of_the_reader: Any,
        label_smoothing: Share = 0.0,
        class_weights: ClassWeights = "equal",
        **settings: Any,
    ) -> None:
        super().__init__(*of_the_reader, **settings)
        self.label_smoothing, self.weighted = label_smoothing, class_weights

    def make_classifier(self, model: MakeModel, input_size: int) -> None:
        """Make the layers for vectors of ``input_size``, and what counts the classes."""
        facts = self.facts
        n_classes = len(facts.classes)
        self.make_layers(model, input_size, n_classes)
        self.majority = max(range(n_classes), key=lambda c: facts.class_counts[c])
        self.confusion = MulticlassConfusionMatrix(n_classes, ignore_index=IGNORED, validate_args=False)
        weights = None
        if self.weighted == "balanced":
            counts = torch.tensor(facts.class_counts).clamp(min=1)
            weights = counts.sum() / (n_classes * counts)
        self.register_buffer("class_weights", weights, persistent=False)

    def logits(self, batch: Any) -> Tensor:
        """Class scores [B, classes] of a batch."""
        raise NotImplementedError

    def metrics(self) -> Mapping[str, Measure]:
        settings: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
        n_classes = len(self.facts.classes)
        return {
            "accuracy": Measure(
                f"share of {self.counted} classified correctly; higher is better",
                MulticlassAccuracy(n_classes, average="micro", **settings),
            ),
            "f1": Measure(
                "mean over classes of the harmonic mean of precision and recall; higher is better",
                MulticlassF1Score(n_classes, average="macro", **settings),
            ),
        }

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over the known targets."""
        total = F.cross_entropy(
            logits,
            targets,
            weight=self.class_weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return total / max(int((targets != IGNORED).sum()), 1)

    def score(self, batch: Any) -> Score:
        return self.scored(self.logits(batch), batch.targets)

    def scored(self, logits: Tensor, targets: Tensor) -> ClassScore:
        """The score of logits [B, classes]."""
        count = int((targets != IGNORED).sum())
        loss = self.loss(logits, targets)
        if self.training:
            return ClassScore(loss, count, logits.argmax(-1), targets)
        best = torch.softmax(logits, -1).max(-1)
        return ClassScore(loss, count, best.indices, targets, certainty=best.values)

    def baselines(self, batch: Any) -> Mapping[str, Score]:
        guess = torch.full_like(batch.targets, self.majority)
        return {"majority class": Score(None, len(guess), guess, batch.targets)}

    def as_choice(self, inputs: Tensor, lengths: Tensor, targets: Tensor, **told: Any) -> Choice:
        """What an inspection looks at: the class, if the sequence ended with each step.

        ``inputs`` [B, T, F] are what the encoder reads; ``told`` are the other fields of a Choice.
        """
        directions = self.encoder.num_directions
        weighs = self.pooling == "attention"
        forward = self.pool.so_far if directions == 1 and not weighs else None
        return Choice(
            encoder=self.encoder,
            inputs=inputs,
            lengths=lengths,
            read=lambda outputs, _, lengths: self.head(
                self.pool(outputs, last_outputs(outputs, lengths, directions), lengths)
            ),
            read_all=None if forward is None else lambda outputs: self.head(forward(outputs)),
            weights=self.pool.weights if weighs else None,
            choices=self.facts.classes,
            truth=targets[:1].expand(inputs.shape[1]),
            **told,
        )

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.confusion.reset()

    def add_to_report(self, batch: Any, score: Score) -> None:
        assert score.predicted is not None
        self.confusion.update(score.predicted, batch.targets)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._counts = self.confusion.compute().tolist()  # an all-reduce, in which every process takes part

    def report(self) -> dict[str, Any]:
        """The confusion matrix: one row per true class, one column per predicted class."""
        return {"confusion_matrix": {"classes": list(self.facts.classes), "counts": self._counts}}

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Class probabilities [B, classes]."""
        return torch.softmax(self.logits(batch), -1)
