"""Classification of texts by several questions at once: labels that a text has or not, or several columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from gatewise.kinds.kind import Input
from gatewise.kinds.labelled_text import LabelledTextBatch, SeveralLabelsFacts
from gatewise.nn.embedding import made_embedding, some_unknown
from gatewise.nn.locked import LockedDropout
from gatewise.nn.pooling import PoolingName
from gatewise.settings import Positive, Probability
from gatewise.tasks.answer import Answer, Line, table_of
from gatewise.tasks.classifier import PooledReader
from gatewise.tasks.labelled_texts import in_chunks, linear_baseline
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler

LISTED = 20
"""Questions whose scores are shown after a test."""
MOST_SHOWN = 6
"""Probabilities of a prediction that are shown."""


class SubsetAccuracy(Metric):
    """Share of texts of which every question is answered correctly."""

    higher_is_better = True
    right: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Add answers [B, questions], where each question of a text has a known one."""
        self.right += (predicted == targets).all(1).sum()
        self.count += len(targets)

    def compute(self) -> Tensor:
        return self.right / self.count.clamp(min=1)


class AnswersF1(Metric):
    """F1 of the answers that count: its mean over them (``macro``), or that of all together (``micro``).

    The answers to each question are numbered after one another. F1 is 2·TP / (2·TP + FP + FN), and 0 for an
    answer that is neither given nor true.
    """

    higher_is_better = True
    confused: Tensor
    starts: Tensor
    is_counted: Tensor

    def __init__(
        self, starts: Sequence[int], counts: Sequence[bool], average: Literal["macro", "micro"]
    ) -> None:
        super().__init__()
        self.average = average
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.register_buffer("is_counted", torch.tensor(counts), persistent=False)
        self.add_state("confused", torch.zeros(3, len(counts), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Add answers [B, questions], where each question of a text has a known one."""
        given, true = (answers + self.starts for answers in (predicted, targets))
        size = self.confused.shape[1]
        for row, answers in enumerate((given[given == true], given.flatten(), true.flatten())):
            self.confused[row] += torch.bincount(answers, minlength=size)

    def compute(self) -> Tensor:
        right, given, true = self.confused[:, self.is_counted].double()
        if self.average == "micro":
            right, given, true = right.sum(), given.sum(), true.sum()
        mean: Tensor = (2 * right / (given + true).clamp(min=1)).mean().float()
        return mean

    def of_answers(self) -> Tensor:
        """F1 [answers] of each answer."""
        right, given, true = self.confused.double()
        values: Tensor = 2 * right / (given + true).clamp(min=1)
        return values


class SeveralLabelsClassification(PooledReader):
    """Reads a text word by word and answers every question from one pooled vector.

    The embeddings of the tokens go through the encoder, ``pooling`` makes one vector of its outputs (see
    :class:`gatewise.nn.pooling.Pooling`), and a linear layer gives scores of the answers to each question,
    with a softmax by question: for ``no`` and ``yes`` a logistic regression. The loss is the mean over all
    questions. Dropouts are those of :class:`gatewise.tasks.text_classification.TextClassification`.

    F1 counts the answer ``yes`` alone where that is a label's, and every answer to other questions.
    """

    facts_type = SeveralLabelsFacts
    measured = ("accuracy", "subset_accuracy", "f1", "micro_f1")

    def __init__(
        self,
        model: MakeModel,
        facts: SeveralLabelsFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/f1",
        mode: Literal["min", "max"] = "max",
        embedding_size: Positive = 128,
        pooling: PoolingName = "mean_max",
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode, pooling, **settings)
        self.word_dropout, self.embedding_dropout = word_dropout, LockedDropout(embedding_dropout)
        self.scores_per_step = embedding_size
        self.embedding = made_embedding(len(facts.vocabulary), embedding_size)
        self.make_layers(model, embedding_size, len(facts.answers))
        counts = torch.tensor(facts.answer_counts).split(list(facts.sizes))
        self.majority = [int(own.argmax()) for own in counts]
        self.by_answer = AnswersF1(facts.starts, [True] * len(facts.answers), "macro")

    @classmethod
    def sizes(
        cls,
        facts: SeveralLabelsFacts,
        settings: Mapping[str, Any],  # noqa: ARG003
    ) -> Mapping[str, tuple[str, int, int]]:
        return {
            "answers": ("head.weight", 0, len(facts.answers)),
            "vocabulary": ("embedding.weight", 0, len(facts.vocabulary)),
        }

    def metrics(self) -> Mapping[str, Measure]:
        facts: SeveralLabelsFacts = self.facts
        is_label = facts.label_separator is not None
        counted = [not is_label or answer == "yes" for answer in facts.answers]
        what = "labels" if is_label else "answers"
        return {
            "accuracy": Measure(
                "share of all questions answered correctly; higher is better",
                MulticlassAccuracy(max(facts.sizes), average="micro", validate_args=False),
            ),
            "subset_accuracy": Measure(
                "share of texts with every question answered correctly; higher is better", SubsetAccuracy()
            ),
            "f1": Measure(
                f"mean over {what} of the harmonic mean of precision and recall; higher is better",
                AnswersF1(facts.starts, counted, "macro"),
            ),
            "micro_f1": Measure(
                f"harmonic mean of precision and recall of all {what} together; higher is better",
                AnswersF1(facts.starts, counted, "micro"),
            ),
        }

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores (logits) [B, answers] of token ids [B, T] with lengths [B]."""
        if self.training:
            tokens, _ = some_unknown(tokens, self.word_dropout)
        return self.classified(self.embedding_dropout(self.embedding(tokens)), lengths)

    def score(self, batch: LabelledTextBatch) -> Score:
        by_question = self(batch.tokens, batch.lengths).split(list(self.facts.sizes), -1)
        losses = [F.cross_entropy(own, batch.targets[:, q]) for q, own in enumerate(by_question)]
        predicted = torch.stack([own.argmax(-1) for own in by_question], 1)
        return Score(torch.stack(losses).mean(), len(predicted), predicted, batch.targets)

    def baselines(self, batch: LabelledTextBatch) -> Mapping[str, Score]:
        guess = torch.tensor(self.majority, device=batch.targets.device).expand_as(batch.targets)
        answers = {"majority answers": Score(None, len(guess), guess, batch.targets)}
        return {**answers, **linear_baseline(batch)}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.by_answer.reset()

    def add_to_report(self, batch: LabelledTextBatch, score: Score) -> None:
        assert score.predicted is not None
        self.by_answer.update(score.predicted, batch.targets)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.by_answer.compute()  # an all-reduce, in which every process takes part
        self._f1 = self.by_answer.of_answers().tolist()

    def examples(self) -> Answer | None:
        """F1 of the last test by question, or by label."""
        facts: SeveralLabelsFacts = self.facts
        rows = []
        for question, first in enumerate(facts.starts):
            own = self._f1[first : first + facts.sizes[question]]
            value = own[1] if facts.label_separator is not None else sum(own) / len(own)
            rows.append({"label": facts.questions[question], "f1": value})
        return Answer(table_of(rows[:LISTED]), "F1 of each label", {"f1": "{:.4f}"})

    def predict_step(self, batch: LabelledTextBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Probabilities [B, answers]: those of each question add up to 1."""
        by_question = self(batch.tokens, batch.lengths).split(list(self.facts.sizes), -1)
        return torch.cat([torch.softmax(own, -1) for own in by_question], -1)

    def answer(self, given: Input) -> Answer:
        """The labels of each text, or its answer to each question; the file has every probability."""
        batch: LabelledTextBatch = given.batch
        facts: SeveralLabelsFacts = self.facts
        probabilities = torch.empty(len(batch.lengths), len(facts.answers))
        for rows, part in in_chunks(batch):
            probabilities[rows] = self.predict_step(part)
        columns: dict[str, Any] = {"text": list(batch.texts or ())}
        chosen = [own.argmax(-1).tolist() for own in probabilities.split(list(facts.sizes), -1)]
        if facts.label_separator is not None:
            has = [
                [name for name, own in zip(facts.questions, row, strict=True) if own]
                for row in zip(*chosen, strict=True)
            ]
            columns["labels"] = [facts.label_separator.join(labels) for labels in has]
            names = {f"p({name})": 2 * i + 1 for i, name in enumerate(facts.questions)}
        else:
            names = {}
            for question, name in enumerate(facts.questions):
                answers, first = facts.answers_of(question), facts.starts[question]
                columns[f"predicted {name}"] = [answers[i] for i in chosen[question]]
                names |= {f"p({name}={answer})": first + i for i, answer in enumerate(answers)}
        columns |= given.columns
        columns |= {name: probabilities[:, place].tolist() for name, place in names.items()}
        title = f"texts of {given.name}" if len(probabilities) > 1 else "labels of the text"
        file_only = tuple(names) if len(names) > MOST_SHOWN else ()
        return Answer(table_of(columns), title, dict.fromkeys(names, "{:.4f}"), file_only)

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The labels of each text, or its answers, separated by tabs."""
        answer = self.answer(given)
        shown = [name for name in answer.table.columns if name == "labels" or name.startswith("predicted ")]
        rows = answer.table.to_dict("records")
        said = ["\t".join(row[name] for name in shown) for row in rows]
        return [
            Line(text, {str(name): value for name, value in row.items()}, shown=text or "none of the labels")
            for text, row in zip(said, rows, strict=True)
        ]
