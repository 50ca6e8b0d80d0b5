"""The next token of a running text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.settings.ranges import LANGUAGE_MODELLING, check_direction, check_tied
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task, detached


class Perplexity(MeanMetric):
    """exp of the mean negative log-likelihood (nats) per token, weighted by each value's token count."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class _Metrics(nn.Module):
    """Perplexity of each split and of the unigram; one row of the model table."""

    def __init__(self) -> None:
        super().__init__()
        self.on_val = Perplexity()
        self.on_test, self.on_unigram = Perplexity(), Perplexity()


class LanguageModelling(Task):
    """Predicts each next token from all before it, by truncated backpropagation through time.

    The state at the end of a window is the state at the start of the next (row b of a batch continues row b
    of the batch before), cut from its graph. ``dropout`` stands on the embeddings and before the output
    layer; ``tie_weights`` makes the output layer the embedding's transpose (Press & Wolf, "Using the Output
    Embedding to Improve Language Models", EACL 2017). Raises ValueError for a bidirectional encoder.
    """

    facts_type = LANGUAGE_MODELLING.facts
    unigram: Tensor
    """[V] log-probability of each token by its training frequency."""

    def __init__(
        self,
        model: MakeModel,
        facts: TextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/perplexity",
        mode: str = "min",
        embedding_size: int = 128,
        dropout: float = 0.0,
        tie_weights: bool = False,
    ) -> None:
        LANGUAGE_MODELLING.check(locals())
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.facts = facts
        self.encoder = model(input_size=embedding_size, batch_first=True)
        check_direction(self.encoder.bidirectional)
        check_tied(tie_weights, embedding_size, self.encoder.output_size)
        n_tokens = len(facts.vocabulary)
        self.embedding = nn.Embedding(n_tokens, embedding_size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, n_tokens)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.head.bias)
        if tie_weights:
            self.head.weight = self.embedding.weight
        counts = torch.tensor(facts.counts, dtype=torch.float64) + 1
        # Add-one smoothing: a token never seen in training must not make the baseline infinite.
        self.register_buffer("unigram", (counts / counts.sum()).log().float(), persistent=False)
        self.metrics = _Metrics()
        self._state: tuple[Tensor, ...] | None = None

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, T] token ids to (scores of every next token [B, T, V], state after them)."""
        outputs, state = self.encoder(self.dropout(self.embedding(tokens)), state)
        return self.head(self.dropout(outputs)), state

    def _loss(self, batch: TextBatch) -> tuple[Tensor, int]:
        """Mean negative log-likelihood (nats) of a window's targets, and their number; carries the state."""
        logits, state = self(batch.tokens, self._state)
        self._state = detached(state)
        count = int((batch.targets != IGNORED).sum())
        flat = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return flat / max(count, 1), count

    def _forget(self) -> None:
        self._state = None

    def epoch_state(self) -> dict[str, Any]:
        return {**super().epoch_state(), "carried": None if self._state is None else list(self._state)}

    def load_epoch_state(self, ranks: list[dict[str, Any]]) -> None:
        super().load_epoch_state(ranks)
        if ranks[0]["carried"] is not None:
            # Each process has its lanes in the order of the ranks.
            whole = [
                torch.cat(parts, dim=1) for parts in zip(*(rank["carried"] for rank in ranks), strict=True)
            ]
            shares = (part.chunk(self.trainer.world_size, dim=1) for part in whole)
            self._state = tuple(share[self.trainer.global_rank].to(self.device) for share in shares)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._forget()

    def on_validation_epoch_start(self) -> None:
        # A validation may come between two windows of the carried lanes.
        self._training_state, self._state = self._state, None

    def on_validation_epoch_end(self) -> None:
        self._state = self._training_state

    def on_test_epoch_start(self) -> None:
        self._forget()

    def training_loss(self, batch: TextBatch) -> Tensor:
        return self._loss(batch)[0]

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:  # noqa: ARG002
        loss, count = self._loss(batch)
        self.log_training_step(loss, count)
        return loss

    def from_training_loss(self, loss: Tensor) -> dict[str, Tensor]:
        return {"train/perplexity": loss.exp()}

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:  # noqa: ARG002
        loss, count = self._loss(batch)
        self.metrics.on_val.update(loss, count)
        self.log_mean("val/loss", loss, count)
        self.log_dict({"val/perplexity": self.metrics.on_val}, prog_bar=True)

    def test_step(self, batch: TextBatch, batch_idx: int) -> None:  # noqa: ARG002
        loss, count = self._loss(batch)
        self.metrics.on_test.update(loss, count)
        targets = batch.targets[batch.targets != IGNORED]
        if count:
            self.metrics.on_unigram.update(-self.unigram[targets].mean(), count)
        self.log_mean("test/loss", loss, count)
        self.log_dict(
            {
                "test/perplexity": self.metrics.on_test,
                "baseline/unigram/perplexity": self.metrics.on_unigram,
            }
        )

    def next_probabilities(
        self, tokens: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, T] tokens after ``state`` to (probabilities of the token after them [B, V], new state)."""
        outputs, state = self.encoder(self.dropout(self.embedding(tokens)), state)
        return torch.softmax(self.head(self.dropout(outputs[:, -1])), -1), state

    def predict_step(self, batch: TextBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Probabilities of the token after the last one given, [B, V]: the softmax over H_t."""
        return self.next_probabilities(batch.tokens)[0]
