"""Translation: a text for a text, in other words, another language, or the sounds of a word."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.parallel_text import END, END_ID, START_ID, ParallelTextBatch, ParallelTextFacts
from gatewise.nn.attention import AttentionName
from gatewise.nn.attention_decoder import ContextName
from gatewise.nn.encoder_decoder import EncoderDecoder, TieName
from gatewise.settings import NotNegative, Positive, Probability, Share, rule
from gatewise.tasks import bleu, error_rates, followed
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.inspected import Choice
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task
from gatewise.tasks.translated import Translated, parts

log = logging.getLogger(__name__)

ScoredBy = Literal["bleu", "error_rates"]
SHOWN = 8
"""Translations of the test that are shown."""
DRAWN = 4
"""Those whose attention is drawn."""
LONGEST_SHOWN = 160
"""Characters of a text in a table."""
SPARE = 10
"""Tokens that a translation may have beyond its share of the source's."""


@rule
def check_best(best: int, beam: int) -> None:
    """Raise ValueError where more translations are wanted than are searched for."""
    if best > beam:
        raise ValueError(f"best={best} of beam={beam} hypotheses: make the beam at least as wide")


@rule
def check_layers(context: str, decoder_layers: int | None) -> None:
    """Raise ValueError where no layer could read the contexts."""
    if context == "layers" and decoder_layers == 1:
        raise ValueError(
            "context=layers needs a layer above the decoder's first: set decoder_layers to 2 or more, or "
            "context=input or output"
        )


@rule
def check_masks(context: str, input_dropout: float, state_dropout: float, weight_dropout: float) -> None:
    """Raise ValueError for masks of a whole text where each of its steps would draw its own."""
    masks = {"input": input_dropout, "state": state_dropout, "weight": weight_dropout}
    wrong = [f"model.{name}_dropout" for name, share in masks.items() if share]
    if context == "input" and wrong:
        raise ValueError(
            f"context=input runs the decoder step by step, and {wrong[0]} has one mask for all steps: set it "
            f"to 0, or choose context=layers or output"
        )


class Translation(Task):
    """Reads a text token by token and writes another, attending to the first (:class:`EncoderDecoder`).

    ``model`` makes both the encoder, for which ``bidirectional`` helps, and the layers of the decoder, of
    ``decoder_size`` and ``decoder_layers`` or else as the encoder's, but 2 for ``context=layers``;
    ``context``, ``attention`` and
    ``coverage`` are those of :class:`gatewise.nn.attention_decoder.AttentionDecoder`. ``label_smoothing`` is
    the share of each target that training spreads over all tokens; the loss and the perplexity, both for a
    token of the target with the end counted, are reported without it.

    ``scored_by`` says what translations are compared with the references by: ``bleu`` (with chrF), or
    ``error_rates`` of words and symbols, for pronunciations. A validation translates by beam search of width
    ``validation_beam`` (1 is greedy), a test and a prediction by one of width ``beam`` with
    ``length_penalty`` and ``coverage_penalty`` (see :func:`gatewise.nn.beam_search.beam_search`). A
    translation has at most ``length_ratio`` times the source's tokens, and 10. ``best`` is the number of
    translations of a text that a prediction gives. With ``copy_unknown`` an unknown token is replaced by the
    word of the source that it attends to most (Luong et al., "Addressing the Rare Word Problem in Neural
    Machine Translation", ACL 2015, do so with a dictionary); a text without tokens has an empty translation.
    """

    facts_type = ParallelTextFacts
    measured = ("perplexity", "bleu", "bleu_lower", "chrf", "word_error_rate", "symbol_error_rate")
    answer_settings = ("beam", "best", "length_penalty", "coverage_penalty", "length_ratio", "copy_unknown")
    unigram: Tensor
    """[V] log-probability of each target token by its training frequency, with add-one smoothing."""

    def __init__(
        self,
        model: MakeModel,
        facts: ParallelTextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/bleu",
        mode: Literal["min", "max"] = "max",
        scored_by: ScoredBy = "bleu",
        embedding_size: Positive = 256,
        decoder_size: Positive | None = None,
        decoder_layers: Positive | None = None,
        context: ContextName = "layers",
        attention: AttentionName = "general",
        attention_size: Positive = 128,
        coverage: bool = False,
        tie_embeddings: TieName = "target",
        word_dropout: Probability = 0.0,
        embedding_dropout: Probability = 0.0,
        hidden_dropout: Probability = 0.0,
        dropout: Probability = 0.0,
        locked_dropout: bool = True,
        label_smoothing: Share = 0.0,
        validation_beam: Positive = 1,
        beam: Positive = 5,
        best: Positive = 1,
        length_penalty: NotNegative = 1.0,
        coverage_penalty: NotNegative = 0.0,
        length_ratio: NotNegative = 2.0,
        copy_unknown: bool = True,
    ) -> None:
        self.scored_by = scored_by  # before the base asks for the metrics
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        if tie_embeddings == "all" and not facts.joint:
            raise ValueError(
                "tie_embeddings=all needs one vocabulary for both languages: set data.joint=true, or choose "
                "tie_embeddings=target"
            )
        counts = torch.tensor(facts.target_counts, dtype=torch.float64) + 1
        # Add-one smoothing: a token that never occurs in training must not make the baseline infinite.
        frequencies = counts / counts.sum()
        self.net = EncoderDecoder(
            model,
            len(facts.source_vocabulary),
            frequencies.tolist(),
            embedding_size,
            decoder_size,
            decoder_layers,
            context,
            tie_embeddings,
            word_dropout,
            embedding_dropout,
            hidden_dropout,
            locked_dropout,
            attention=attention,
            attention_size=attention_size,
            coverage=coverage,
            dropout=dropout,
        )
        self.scores_per_step = embedding_size
        self.register_buffer("unigram", frequencies.log().float(), persistent=False)
        self.label_smoothing, self.validation_beam = label_smoothing, validation_beam
        self.beam, self.best, self.copy_unknown = beam, best, copy_unknown
        self.length_penalty, self.coverage_penalty = length_penalty, coverage_penalty
        self.length_ratio = length_ratio
        self._width = validation_beam
        self._examples: dict[int, dict[str, Any]] = {}

    @property
    def encoder(self) -> Any:
        """What reads the source."""
        return self.net.encoder

    @classmethod
    def sizes(
        cls,
        facts: ParallelTextFacts,
        settings: Mapping[str, Any],  # noqa: ARG003
    ) -> Mapping[str, tuple[str, int, int]]:
        return {
            "source vocabulary": ("net.source_embedding.weight", 0, len(facts.source_vocabulary)),
            "target vocabulary": ("net.target_embedding.weight", 0, len(facts.target_vocabulary)),
        }

    def metrics(self) -> Mapping[str, Measure]:
        meaning = "equivalent number of equally likely next tokens of the translation; lower is better"
        of_texts = error_rates.measures() if self.scored_by == "error_rates" else bleu.measures()
        return {**of_texts, "perplexity": Measure(meaning, of_loss=torch.exp)}

    def score(self, batch: ParallelTextBatch) -> Score:
        """Mean negative log-likelihood (nats) of the targets' tokens; in evaluation their scores as texts."""
        targets, lengths = batch.target[:, 1:], batch.target_lengths - 1
        outputs, _ = self.net(batch.source, batch.source_lengths, batch.target[:, :-1], lengths)
        smoothing = self.label_smoothing if self.training else 0.0
        minimised, likelihood = self.net.loss(outputs, targets, lengths, smoothing)
        count = int(lengths.sum())
        if smoothing:
            # The gradient is that of what training minimises alone.
            return Score(likelihood / count, count, penalty=(minimised - likelihood) / count)
        if self.training or batch.references is None:
            return Score(minimised / count, count)
        translated = self.translated(batch, self._width, 1)
        self._examples |= translated.first(SHOWN)
        return Score(minimised / count, count, self._counts(translated.best, batch), batch.indices)

    def _counts(self, texts: Sequence[str], batch: ParallelTextBatch) -> Tensor:
        """What the metrics are computed from, for the translations of a batch."""
        assert batch.references is not None
        counted = error_rates if self.scored_by == "error_rates" else bleu
        found: Tensor = counted.statistics(texts, batch.references).to(batch.source.device)
        return found

    def baselines(self, batch: ParallelTextBatch) -> Mapping[str, Score]:
        targets, lengths = batch.target[:, 1:], batch.target_lengths - 1
        known = targets[torch.arange(targets.shape[1], device=targets.device) < lengths.unsqueeze(1)]
        scores = {"unigram": Score(-self.unigram[known].mean(), len(known))}
        if batch.sources is not None and batch.references is not None:
            copied = self._counts(batch.sources, batch)
            scores["copy"] = Score(None, len(copied), copied, batch.indices)
        return scores

    # ---- translating

    def translated(self, batch: ParallelTextBatch, width: int, best: int) -> Translated:
        """The ``best`` translations of a batch's texts."""
        lengths = batch.source_lengths
        limits = (self.length_ratio * lengths).ceil().long() + SPARE
        found = self.net.search(
            batch.source,
            lengths,
            # A text without tokens, which has its end alone, gets an end alone.
            limits.where(lengths > 1, 1),
            START_ID,
            END_ID,
            width,
            best,
            self.length_penalty,
            self.coverage_penalty,
            keep_weights=True,
        )
        return Translated(self.facts, batch, found, self.copy_unknown)

    def predict_step(self, batch: ParallelTextBatch, batch_idx: int = 0) -> list[list[str]]:  # noqa: ARG002
        """The ``best`` translations of each text."""
        return self.translated(batch, self.beam, self.best).texts

    # ---- samples

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._width, self._examples = self.validation_beam, {}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self._examples and self.trainer.is_global_zero and not self.trainer.sanity_checking:
            # Another one each time.
            numbers = sorted(self._examples)
            shown = self._examples[numbers[self.trainer.current_epoch % len(numbers)]]
            log.info(
                "%s → %s (%s)", *(_short(shown[name]) for name in ("source", "translation", "reference"))
            )

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._width, self._examples = self.beam, {}

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, self._examples)
            self._examples = {number: each for part in gathered for number, each in part.items()}

    def report(self) -> dict[str, Any]:
        """The first translations of the test, with the weights of attention, which are drawn."""
        examples = [self._examples[number] for number in sorted(self._examples)]
        return {"attention": examples[:DRAWN]} if examples else {}

    def examples(self) -> Answer | None:
        """The first translations of the last test beside their references."""
        if not self._examples:
            return None
        rows = [self._examples[number] for number in sorted(self._examples)]
        columns = ("source", "translation", "reference")
        table = pd.DataFrame([{name: _short(row[name]) for name in columns} for row in rows])
        return Answer(table, "translations of the test")

    # ---- predictions

    def answer(self, given: Input) -> Answer:
        """The translation of each text, with ``best`` above 1 several of each, ranked by score."""
        batch: ParallelTextBatch = given.batch
        rows: list[dict[str, Any]] = []
        drawn: dict[int, dict[str, Any]] = {}
        for part in parts(batch):
            translated = self.translated(part, self.beam, self.best)
            translated.check()
            rows += translated.rows()
            drawn |= translated.first(DRAWN)
        table = pd.DataFrame(rows).sort_values("line", kind="stable", ignore_index=True)
        picture = ("attention", [drawn[number] for number in sorted(drawn)])
        several = len(batch.indices) > 1
        leave_out = [*([] if several else ["line"]), *([] if self.best > 1 else ["rank"])]
        title = f"translations of {given.name}" if several else "translation"
        formats = {"score": "{:.3f}", "log_probability": "{:.3f}"}
        file_only = ("log_probability", "attention")
        return Answer(table.drop(columns=leave_out), title, formats, file_only, picture=picture)

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The best translation of each text; with ``best`` above 1 its values have lists of all of them."""
        table = self.answer(given).table
        lines = []
        for _, of_line in table.groupby(table["line"] if "line" in table else [1] * len(table)):
            values = {name: of_line[name].tolist() for name in ("translation", "score", "log_probability")}
            first = {name: column[0] for name, column in values.items()}
            shown = "\n".join(values["translation"])
            lines.append(Line(first["translation"], values if self.best > 1 else first, shown))
        return lines

    def inspected(self, given: Input) -> Choice:
        """The first token of the translation, if the text ended with each token of the source."""
        batch: ParallelTextBatch = given.batch
        facts: ParallelTextFacts = self.facts
        lengths = batch.source_lengths
        vocabulary = facts.source_vocabulary
        ids = zip(batch.source.tolist(), lengths.tolist(), strict=True)
        names = [[vocabulary[token].strip() or " " for token in row[:length]] for row, length in ids]
        if batch.source_tokens is not None and facts.source_units != "subword":
            names = [[*tokens, END] for tokens in batch.source_tokens]
        truth = torch.full((int(lengths[0]),), IGNORED)
        if batch.references is not None:
            truth[-1] = batch.target[0, 1]
        return Choice(
            encoder=self.encoder,
            inputs=self.net.source_embedding(batch.source),
            lengths=lengths,
            step="token",
            names=names,
            title="first token of the translation, if the text ended here",
            read=lambda outputs, _, ends: self._first_scores(outputs, ends),
            read_all=None,
            features=followed.of_text(names, dict(zip(vocabulary, facts.source_counts, strict=True))),
            choices=facts.target_vocabulary,
            truth=truth,
            remarks=[f"In training every text ended with {END}, which only the last step has read here."],
        )

    def _first_scores(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """Scores [B, V] of the first token of the translation, for the encoder's outputs [B, S, K]."""
        memory, state = self.net.remember(outputs, lengths)
        start = torch.full((len(outputs), 1), START_ID, device=outputs.device)
        first, _, _ = self.net.decoder(self.net.target_embedding(start), memory, state)
        scores: Tensor = self.net.head(first[:, 0])
        return scores


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
