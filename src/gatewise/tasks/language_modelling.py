"""Language modelling: the next token of running text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.text import SUBWORD, TextBatch, TextFacts
from gatewise.nn.locked import LockedDropout, WordDropout
from gatewise.nn.masks import Dropout
from gatewise.nn.start import start_uniformly
from gatewise.nn.token_loss import LARGE, token_loss
from gatewise.settings import NotNegative, Positive, Probability, rule
from gatewise.tasks import followed
from gatewise.tasks.beside_test import BesideTest
from gatewise.tasks.continues_text import ContinuesText
from gatewise.tasks.dynamic_evaluation import DynamicEvaluation, Method
from gatewise.tasks.inspected import Choice, characters_begin, grouped, joined, remarks_of
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler


@rule
def check_direction(bidirectional: bool) -> None:
    """Raise ValueError for a bidirectional language model."""
    if bidirectional:
        raise ValueError(
            "a bidirectional encoder sees the next token before predicting it: choose model=lstm, gru or rnn"
        )


@rule
def check_tied(tie_weights: bool, project_outputs: bool, embedding_size: int, hidden_size: Any) -> None:
    """Raise ValueError if one matrix cannot be both the embedding and the output layer."""
    # Where layers have sizes of their own, the last one's counts.
    size = hidden_size if isinstance(hidden_size, int) else list(hidden_size)[-1]
    if tie_weights and not project_outputs and size != embedding_size:
        raise ValueError(
            f"tie_weights needs task.embedding_size = model.hidden_size, got {embedding_size} and {size}; "
            f"task.project_outputs=true brings the outputs to the embedding's size"
        )


@rule
def check_evaluation_temperature(evaluation_temperature: float) -> None:
    """Raise ValueError for a temperature that scores cannot be divided by."""
    if not 0 < evaluation_temperature < float("inf"):
        raise ValueError(
            f"evaluation_temperature={evaluation_temperature}: give a finite number above 0; 1 leaves the "
            f"model's probabilities as they are"
        )


class LanguageModelling(ContinuesText):
    """Predicts each next token from all tokens before it, with truncated backpropagation through time.

    Each window starts from the state at the end of the window before (row b of a batch continues row b of the
    previous batch), detached from its graph. ``tie_weights`` shares the embedding's weights with the output
    layer (Press & Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017), to whose size
    ``project_outputs`` brings the outputs before. Raises ValueError for a bidirectional encoder.

    Dropouts: ``dropout`` of the embeddings and before the output layer, anew at each step; ``input_dropout``
    of the embeddings and ``output_dropout`` of the outputs, with one mask for all steps of a window, or a new
    one for each with ``masks_per_step``; ``embedding_dropout`` of whole words. ``activation_penalty`` times
    the mean square of the outputs, after dropout, and ``temporal_penalty`` times the mean square of their
    differences from step to step, before dropout, are added to what training minimises and to no metric. With
    ``rate_window`` the learning rate is that of a window of so many steps, and for a window of n steps n /
    ``rate_window`` of it (all of this: Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language
    Models", ICLR 2018). ``init_range`` starts all weights and biases uniformly between plus and minus this
    number. ``drop_state`` is the probability that a row of a training window starts from zeros instead of the
    state that it carries. In evaluation and prediction scores are divided by ``evaluation_temperature``.

    A test also scores the text with ``tempered`` scores, and with weights that ``dynamic`` evaluation moves
    (see :class:`gatewise.tasks.beside_test.BesideTest`).

    Its answer to a user's input is that of :class:`gatewise.tasks.continues_text.ContinuesText`, which takes
    the settings ``answering``.
    """

    facts_type = TextFacts
    measured = ("perplexity", "bits_per_character")
    evaluation_settings = (
        "evaluation_temperature",
        "tempered",
        "dynamic",
        "dynamic_rate",
        "dynamic_decay",
        "dynamic_segment",
        "dynamic_statistics",
    )
    unigram: Tensor
    """[V] log-probability of each token by its training frequency, with add-one smoothing."""

    def __init__(
        self,
        model: MakeModel,
        facts: TextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/perplexity",
        mode: Literal["min", "max"] = "min",
        embedding_size: Positive = 128,
        dropout: Probability = 0.0,
        input_dropout: Probability = 0.0,
        output_dropout: Probability = 0.0,
        masks_per_step: bool = False,
        embedding_dropout: Probability = 0.0,
        activation_penalty: NotNegative = 0.0,
        temporal_penalty: NotNegative = 0.0,
        tie_weights: bool = False,
        project_outputs: bool = False,
        init_range: NotNegative | None = None,
        rate_window: Positive | None = None,
        drop_state: Probability = 0.0,
        evaluation_temperature: float = 1.0,
        tempered: bool = False,
        dynamic: Method | None = None,
        dynamic_rate: NotNegative | None = None,
        dynamic_decay: NotNegative = 0.002,
        dynamic_segment: Positive = 5,
        dynamic_statistics: Positive | None = 1000,
        **answering: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode, **answering)
        learning = dynamic and DynamicEvaluation(dynamic, dynamic_rate, dynamic_decay, dynamic_segment)
        self.beside_test = BesideTest(
            self, self.forward, evaluation_temperature, tempered, learning, dynamic_statistics
        )
        self.needs_parts = self.beside_test.needs_parts
        self.encoder = model(input_size=embedding_size, batch_first=True)
        check_direction(self.encoder.bidirectional)
        check_tied(tie_weights, project_outputs, embedding_size, self.encoder.output_size)
        n_tokens = len(facts.vocabulary)
        self.scores_per_step = n_tokens
        self.embedding = nn.Embedding(n_tokens, embedding_size)
        self.dropout = Dropout(dropout)
        self.embedding_dropout = WordDropout(embedding_dropout)
        dropped = Dropout if masks_per_step else LockedDropout
        self.input_dropout, self.output_dropout = dropped(input_dropout), dropped(output_dropout)
        self.activation_penalty, self.temporal_penalty = activation_penalty, temporal_penalty
        self.rate_window, self.evaluation_temperature = rate_window, evaluation_temperature
        self.drop_state = drop_state
        size = embedding_size if project_outputs else self.encoder.output_size
        last = nn.Linear(size, n_tokens)
        projection = nn.Linear(self.encoder.output_size, size, bias=False) if project_outputs else None
        self.head = last if projection is None else nn.Sequential(projection, last)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(last.bias)
        if tie_weights:
            last.weight = self.embedding.weight
        if init_range is not None:
            start_uniformly(self, init_range)
        counts = torch.tensor(facts.counts, dtype=torch.float64) + 1
        # Add-one smoothing: a token that never occurs in training must not make the baseline infinite.
        self.register_buffer("unigram", (counts / counts.sum()).log().float(), persistent=False)
        self._state: tuple[Tensor, ...] | None = None
        self._steps = 1
        """Steps of the training window that is being read."""

    @classmethod
    def sizes(cls, facts: TextFacts, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:  # noqa: ARG003
        return {"vocabulary": ("embedding.weight", 0, len(facts.vocabulary))}

    def metrics(self) -> Mapping[str, Measure]:
        meaning = "equivalent number of equally likely next tokens; lower is better"
        measures = {"perplexity": Measure(meaning, of_loss=torch.exp)}
        for unit, what in {"character": "a character", "word": "a word or line end between spaces"}.items():
            named = {"bits": lambda loss: loss / math.log(2), "nats": lambda loss: loss}
            for measured, of_loss in named.items():
                measures[f"{measured}_per_{unit}"] = Measure(
                    f"{measured} to write {what} with, whatever the tokens; lower is better",
                    of_loss=of_loss,
                    per=unit,
                    of_tests=(measured, unit) != ("bits", "character"),
                )
        return measures

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(Scores of every next token [B, T, V], final state) for token ids [B, T] and an initial state."""
        outputs, state = self.encoder(self._embedded(tokens), state)
        return self._scores(self._dropped(outputs)), state

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Embeddings [B, T, E] of tokens [B, T], with what is dropped of them in training."""
        vectors = self.embedding_dropout(self.embedding(tokens), tokens, self.embedding.num_embeddings)
        embedded: Tensor = self.input_dropout(self.dropout(vectors))
        return embedded

    def _dropped(self, outputs: Tensor) -> Tensor:
        dropped: Tensor = self.output_dropout(self.dropout(outputs))
        return dropped

    def _scores(self, outputs: Tensor) -> Tensor:
        """Scores [..., V] of the next token for outputs [..., H]."""
        scores: Tensor = self.head(outputs)
        if self.training or self.evaluation_temperature == 1:
            return scores
        return scores / self.evaluation_temperature

    def score(self, batch: TextBatch) -> Score:
        """Mean negative log-likelihood (nats) of a window's targets, and their number; carries the state."""
        outputs, state = self.encoder(self._embedded(batch.tokens), self._carried())
        self._state = tuple(tensor.detach() for tensor in state)
        count = int((batch.targets != IGNORED).sum())
        if count == 0 and not self.training:  # read for its state alone
            return Score(outputs.new_zeros(()), 0, sizes=self._sizes(batch))
        dropped = self._dropped(outputs)
        loss = self._loss(dropped, batch.targets)
        penalty = self._penalty(outputs, dropped) if count else None
        return Score(loss, count, penalty=penalty, sizes=self._sizes(batch))

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean negative log-likelihood of targets [B, T] for outputs [B, T, H]."""
        *before, last = self.head if isinstance(self.head, nn.Sequential) else [self.head]
        if self.training and isinstance(last, nn.Linear) and last.out_features >= LARGE:
            for layer in before:
                outputs = layer(outputs)
            counted = targets != IGNORED
            if counted.all():  # no copies, and none of the gradient
                outputs, targets = outputs.flatten(0, 1), targets.flatten()
            else:
                outputs, targets = outputs[counted], targets[counted]
            share = 1 / max(len(targets), 1)
            return token_loss(outputs, last.weight, last.bias, targets, share=share)[0]
        scores = self._scores(outputs).flatten(0, 1)
        loss = F.cross_entropy(scores, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        self.beside_test.add(scores, targets)
        return loss / max(int((targets != IGNORED).sum()), 1)

    def _sizes(self, batch: TextBatch) -> dict[str, float]:
        """The mean size of a target by unit; nothing but characters that are the tokens where not counted."""
        if batch.sizes is not None:
            return dict(zip(("character", "word"), batch.sizes, strict=True))
        return {"character": 1.0} if self.facts.tokenizer == "char" else {}

    def _carried(self) -> tuple[Tensor, ...] | None:
        """The state to start a window from, in training dropped for some rows [*, B, H]."""
        if self._state is None or not self.training or self.drop_state == 0:
            return self._state
        first = self._state[0]
        kept = first.new_empty(1, first.shape[1], 1).bernoulli_(1 - self.drop_state)
        return tuple(tensor * kept for tensor in self._state)

    def _penalty(self, outputs: Tensor, dropped: Tensor) -> Tensor | None:
        """What training adds to the loss for large outputs [B, T, H] and for large changes of them."""
        parts = []
        if self.training and self.activation_penalty:
            parts.append(self.activation_penalty * dropped.square().mean())
        if self.training and self.temporal_penalty and outputs.shape[1] > 1:
            parts.append(self.temporal_penalty * outputs.diff(dim=1).square().mean())
        return torch.stack(parts).sum() if parts else None

    def on_train_batch_start(self, batch: TextBatch, batch_idx: int) -> None:  # noqa: ARG002
        self._steps = batch.tokens.shape[1]

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Take a step at the learning rate of a window of this length."""
        if self.rate_window is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            return
        rates = [group["lr"] for group in optimizer.param_groups]
        try:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * self._steps / self.rate_window
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        finally:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def baselines(self, batch: TextBatch) -> Mapping[str, Score]:
        targets = batch.targets[batch.targets != IGNORED]
        if not len(targets):
            return {"unigram": Score(self.unigram.new_zeros(()), 0, sizes=self._sizes(batch))}
        loss = -self.unigram[targets].mean()
        return {"unigram": Score(loss, len(targets), sizes=self._sizes(batch))}

    def epoch_state(self) -> dict[str, Any]:
        return {**super().epoch_state(), "carried": None if self._state is None else list(self._state)}

    def load_epoch_state(self, ranks: list[dict[str, Any]]) -> None:
        super().load_epoch_state(ranks)
        if ranks[0]["carried"] is not None:
            # The processes have the lanes in the order of their ranks.
            whole = [
                torch.cat(parts, dim=1) for parts in zip(*(rank["carried"] for rank in ranks), strict=True)
            ]
            shares = (part.chunk(self.trainer.world_size, dim=1) for part in whole)
            self._state = tuple(share[self.trainer.global_rank].to(self.device) for share in shares)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._state = None

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        # A validation may come between two training windows, over which the state is carried.
        self._training_state, self._state = self._state, None

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._state = self._training_state

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._state = None
        self.beside_test.begin()

    def test_step(self, batch: TextBatch, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.beside_test.add_window(batch)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log_dict(self.beside_test.finish())

    def meanings(self) -> dict[str, str]:
        meanings = super().meanings()
        return {**meanings, **self.beside_test.meanings(meanings)}

    def next_probabilities(
        self, tokens: Tensor, state: tuple[Tensor, ...] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs, state = self.encoder(self._embedded(tokens), state, lengths=lengths)
        if lengths is None:
            last = outputs[:, -1]
        else:
            last = outputs[torch.arange(len(outputs), device=lengths.device), lengths - 1]
        return torch.softmax(self._scores(self._dropped(last[:, None])[:, 0]), -1), state

    def inspected(self, given: Input) -> Choice:
        """The next token after every token, each named as it was typed."""
        tokens: Tensor = given.batch.tokens
        vocabulary = self.facts.vocabulary
        typed = [given.steps] if given.steps else [[vocabulary[i] for i in row] for row in tokens.tolist()]
        characters, pieces = (self.facts.tokenizer == kind for kind in ("char", SUBWORD))
        known = set(vocabulary)
        words = joined(typed[0], characters_begin) if characters else None
        if pieces:
            words = grouped(typed[0], self.facts.read_subwords().words(tokens[0].tolist()).tolist())
        return Choice(
            encoder=self.encoder,
            inputs=self.embedding(tokens),
            lengths=torch.full((len(tokens),), tokens.shape[1]),
            step="token",
            names=typed,
            title="next character" if characters else "next subword" if pieces else "next word",
            read=lambda outputs, _, lengths: self._scores(outputs[torch.arange(len(outputs)), lengths - 1]),
            read_all=self._scores,
            features=followed.of_tokens(typed, vocabulary, self.facts.counts),
            words=words,
            choices=vocabulary,
            truth=given.batch.targets[0],
            remarks=remarks_of(token for token in typed[0] if token not in known),
            at_every_step=True,
        )
