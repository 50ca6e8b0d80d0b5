"""Text classification: one class for a text."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.labelled_text import LabelledTextBatch, LabelledTextFacts
from gatewise.nn.embedding import made_embedding, some_unknown
from gatewise.nn.locked import LockedDropout
from gatewise.nn.pooling import PoolingName
from gatewise.settings import Folders, NotNegative, Positive, Probability, rule
from gatewise.tasks import followed
from gatewise.tasks.answer import Answer, Line, table_of
from gatewise.tasks.classifier import Classifier, ClassScore
from gatewise.tasks.inspected import Choice, characters_begin, joined, remarks_of
from gatewise.tasks.labelled_texts import in_chunks, linear_baseline, rows_of
from gatewise.tasks.scores import Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler
from gatewise.tasks.word_vectors import check_frozen_vectors, start_from

NormName = Literal["l2", "max"]

MISTAKES = 50
"""The most certain mistakes of a test that the report lists."""
SHOWN_MISTAKES = 8
LONGEST_SHOWN = 100
"""Characters of a text in a table."""
MOST_SHOWN = 5
"""Tokens of a mistake whose attention is listed."""


@rule
def check_perturbation(adversarial: float, freeze_embeddings: bool) -> None:
    """Raise ValueError where embeddings would be both normalised anew in every step and kept as they are."""
    if adversarial and freeze_embeddings:
        raise ValueError("adversarial training needs embeddings that learn: set freeze_embeddings=false")


@rule
def check_frozen(vectors: str | None, freeze_embeddings: bool) -> None:
    """Raise ValueError for embeddings that nothing has trained and nothing trains."""
    check_frozen_vectors(vectors, freeze_embeddings)


class TextClassification(Classifier):
    """Reads a text word by word and predicts its class.

    The embeddings of the tokens go through the encoder, ``pooling`` makes one vector of its outputs (see
    :class:`gatewise.nn.pooling.Pooling`), and a linear layer classifies it.

    Where the facts have counts for them, the log-count ratios of each token (see ``data.log_count_ratios``)
    follow its embedding: they are computed from the training texts, and no weight of the network.

    ``word_dropout`` is the probability that a token is read as ``<unk>`` in training, with ratios of 0;
    ``embedding_dropout`` drops features of the embeddings, each for all steps of a text (locked dropout);
    ``dropout`` drops features of the pooled vector. ``vectors`` is a text file of GloVe's or word2vec's from
    which the embeddings start, and stay there with ``freeze_embeddings``; words it lacks start at random.

    ``adversarial`` above 0 adds, in training, the loss on embeddings that are moved by so much, in the
    direction in which each text's loss grows most: with ``adversarial_norm=l2`` all vectors of a text
    together by that length, with ``max`` each of their numbers by that much. Embeddings are then normalised
    to mean 0 and variance 1 over the training tokens (Miyato, Dai & Goodfellow, "Adversarial Training Methods
    for Semi-Supervised Text Classification", ICLR 2017). ``train/loss`` is that of embeddings as they are.
    """

    facts_type = LabelledTextFacts
    counted = "texts"
    frequencies: Tensor | None
    """[V, 1]: share of each token among the training tokens, where embeddings are normalised."""

    def __init__(
        self,
        model: MakeModel,
        facts: LabelledTextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/accuracy",
        mode: Literal["min", "max"] = "max",
        embedding_size: Positive = 128,
        pooling: PoolingName = "mean_max",
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        adversarial: NotNegative = 0.0,
        adversarial_norm: NormName = "l2",
        vectors: str | None = None,
        freeze_embeddings: bool = False,
        folders: Folders = (),
        **settings: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode, pooling, **settings)
        self.make_classifier(model, embedding_size + facts.ratio_size)
        self.word_dropout, self.embedding_dropout = word_dropout, LockedDropout(embedding_dropout)
        self.adversarial, self.adversarial_norm = adversarial, adversarial_norm
        self.scores_per_step = embedding_size + facts.ratio_size
        self.embedding = made_embedding(len(facts.vocabulary), embedding_size)
        if vectors is not None and optimizer is not None:  # a prediction has them in its checkpoint
            start_from(vectors, self.embedding, facts.vocabulary, folders)
        self.embedding.weight.requires_grad_(not freeze_embeddings)
        frequencies = None
        if adversarial:
            counts = torch.tensor(facts.counts, dtype=torch.float64)
            frequencies = (counts / counts.sum()).float().unsqueeze(-1)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self._mistakes: list[tuple[float, int, dict[str, Any]]] = []

    @classmethod
    def sizes(
        cls,
        facts: LabelledTextFacts,
        settings: Mapping[str, Any],  # noqa: ARG003
    ) -> Mapping[str, tuple[str, int, int]]:
        return {
            "classes": ("head.weight", 0, len(facts.classes)),
            "vocabulary": ("embedding.weight", 0, len(facts.vocabulary)),
        }

    def forward(self, tokens: Tensor, lengths: Tensor, ratios: Tensor | None = None) -> Tensor:
        """Class scores (logits) [B, classes] of token ids [B, T] with lengths [B] and ratios [B, T, R]."""
        tokens, ratios = self.dropped(tokens, ratios)
        return self.read(self.embedded(tokens), lengths, ratios)

    def logits(self, batch: LabelledTextBatch) -> Tensor:
        logits: Tensor = self(batch.tokens, batch.lengths, batch.ratios)
        return logits

    def dropped(self, tokens: Tensor, ratios: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Token ids [B, T] and ratios [B, T, R], in training with some as of ``<unk>`` and of 0."""
        if not self.training:
            return tokens, ratios
        tokens, is_dropped = some_unknown(tokens, self.word_dropout)
        if ratios is not None and is_dropped is not None:
            ratios = ratios.masked_fill(is_dropped.unsqueeze(-1), 0.0)
        return tokens, ratios

    def embedded(self, tokens: Tensor) -> Tensor:
        """The embeddings [B, T, E] of token ids [B, T]."""
        if self.frequencies is None:
            vectors: Tensor = self.embedding(tokens)
            return vectors
        weight = self.embedding.weight
        mean = (self.frequencies * weight).sum(0)
        variance = (self.frequencies * (weight - mean).square()).sum(0)
        return F.embedding(tokens, (weight - mean) / (variance + 1e-6).sqrt())

    def read(self, vectors: Tensor, lengths: Tensor, ratios: Tensor | None) -> Tensor:
        """Class scores (logits) [B, classes] of embeddings [B, T, E] and ratios [B, T, R]."""
        return self.classified(self.inputs(vectors, ratios), lengths)

    def inputs(self, vectors: Tensor, ratios: Tensor | None) -> Tensor:
        """What the encoder reads, [B, T, E + R]: the embeddings, some dropped in training, and the ratios."""
        vectors = self.embedding_dropout(vectors)
        return vectors if ratios is None else torch.cat([vectors, ratios], -1)

    def score(self, batch: LabelledTextBatch) -> Score:
        if not (self.adversarial and self.training and torch.is_grad_enabled()):
            return super().score(batch)
        tokens, ratios = self.dropped(batch.tokens, batch.ratios)
        vectors = self.embedded(tokens)
        logits = self.read(vectors, batch.lengths, ratios)
        score = self.scored(logits, batch.targets)
        assert score.loss is not None
        (slope,) = torch.autograd.grad(score.loss, vectors, retain_graph=True)
        moved = self.read(vectors + self.perturbation(slope), batch.lengths, ratios)
        return replace(score, penalty=self.loss(moved, batch.targets))

    def perturbation(self, slope: Tensor) -> Tensor:
        """How each text's embeddings are moved, for the gradient [B, T, E] of the loss by them."""
        if self.adversarial_norm == "max":
            return self.adversarial * slope.sign()
        length = slope.flatten(1).norm(dim=1)[:, None, None]
        moved: Tensor = self.adversarial * slope / length.clamp(min=1e-30)
        return moved

    def baselines(self, batch: LabelledTextBatch) -> Mapping[str, Score]:
        return {**super().baselines(batch), **linear_baseline(batch)}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._mistakes = []

    def add_to_report(self, batch: LabelledTextBatch, score: Score) -> None:
        super().add_to_report(batch, score)
        assert isinstance(score, ClassScore)
        assert score.predicted is not None
        assert score.certainty is not None
        if batch.texts is None:
            return
        wrong = ((score.predicted != batch.targets) & (batch.targets != IGNORED)).nonzero().flatten()
        classes = self.facts.classes
        shown: list[dict[str, str]] = [{}] * len(wrong)
        if self.pooling == "attention" and len(wrong):
            shown = [{"attention": words} for words in self.attention(rows_of(batch, wrong), MOST_SHOWN)]
        for row, attention in zip(wrong.tolist(), shown, strict=True):
            certainty = float(score.certainty[row])
            mistake = {
                "probability": certainty,
                "true": classes[int(batch.targets[row])],
                "predicted": classes[int(score.predicted[row])],
                "text": batch.texts[row],
                **attention,
            }
            # The number decides between equals: mistakes themselves cannot be compared.
            self._mistakes.append((certainty, -len(self._mistakes), mistake))
        self._mistakes = heapq.nlargest(MISTAKES, self._mistakes, key=lambda entry: entry[:2])

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, self._mistakes)
            everywhere = itertools.chain.from_iterable(gathered)
            self._mistakes = heapq.nlargest(MISTAKES, everywhere, key=lambda entry: entry[:2])

    def report(self) -> dict[str, Any]:
        """The confusion matrix, and the mistakes of which the model was most certain, that first."""
        return {**super().report(), "mistakes": [mistake for _, _, mistake in self._mistakes]}

    def examples(self) -> Answer | None:
        """The most certain mistakes of the last test."""
        if not self._mistakes:
            return None
        table = table_of([mistake for _, _, mistake in self._mistakes[:SHOWN_MISTAKES]])
        table["text"] = [_short(text) for text in table["text"]]
        return Answer(table, "most certain mistakes", {"probability": "{:.4f}"})

    def answer(self, given: Input) -> Answer:
        """The class of each text with its probability, and with ``attention`` the words that weigh most."""
        batch: LabelledTextBatch = given.batch
        probabilities = torch.empty(len(batch.lengths), len(self.facts.classes))
        weighed = [""] * len(batch.lengths)
        for rows, part in in_chunks(batch):
            probabilities[rows] = self.predict_step(part)
            if self.pooling == "attention":
                for row, words in zip(rows.tolist(), self.attention(part), strict=True):
                    weighed[row] = words
        best = probabilities.max(-1)
        classes = self.facts.classes
        columns: dict[str, Any] = {
            "text": list(batch.texts or ()),
            "class": [classes[i] for i in best.indices],
            "probability": best.values.tolist(),
            **given.columns,
        }
        file_only = [f"p({name})" for name in classes]
        if self.pooling == "attention":
            columns["attention"] = weighed
        columns |= {name: probabilities[:, index].tolist() for index, name in enumerate(file_only)}
        title = f"texts of {given.name}" if len(probabilities) > 1 else "class of the text"
        return Answer(table_of(columns), title, {"probability": "{:.4f}"}, tuple(file_only))

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The class of each text with its probability."""
        rows = self.answer(given).table.to_dict("records")
        return [
            Line(
                f"{row['class']}\t{row['probability']:.4f}", {str(name): value for name, value in row.items()}
            )
            for row in rows
        ]

    def inspected(self, given: Input) -> Choice:
        """The class, if the text ended with each token; the tokens are named as they were typed."""
        batch: LabelledTextBatch = given.batch
        lengths, vocabulary = batch.lengths, self.facts.vocabulary
        tokens = batch.tokens[:, : int(lengths.max())]
        names = [
            [vocabulary[token] for token in row[:length]]
            for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)
        ]
        if given.steps:
            names = [list(given.steps)]
        known = set(vocabulary)
        unknown = [token for token in names[0] if token not in known]
        counts = dict(zip(vocabulary, self.facts.counts, strict=True))
        ratios = None if batch.ratios is None else batch.ratios[:, : tokens.shape[1]]
        return self.as_choice(
            self.inputs(self.embedded(tokens), ratios),
            lengths,
            batch.targets,
            step="token",
            names=names,
            title="class, if the text ended here",
            features=followed.of_labelled_text(names, counts, batch.targets.numpy(), self.facts.classes),
            words=joined(names[0], characters_begin) if self.facts.tokenizer == "char" else None,
            remarks=remarks_of(unknown),
        )

    @torch.no_grad()
    def attention(self, batch: LabelledTextBatch, most: int | None = None) -> list[str]:
        """The weight of every token in each text, in their order, as in ``good 0.81 film 0.19``.

        With ``most``, of so many tokens at most: those that weigh most.
        """
        tokens, lengths = batch.tokens, batch.lengths
        outputs, _ = self.encoder(self.inputs(self.embedded(tokens), batch.ratios), lengths=lengths)
        weights = self.pool.weights(outputs, lengths)
        vocabulary, shown = self.facts.vocabulary, []
        for length, own, row in zip(lengths.tolist(), weights.tolist(), tokens.tolist(), strict=True):
            places = sorted(range(length), key=lambda place: -own[place])[:most]
            shown.append(" ".join(f"{vocabulary[row[i]]} {own[i]:.3f}" for i in sorted(places)))
        return shown


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
