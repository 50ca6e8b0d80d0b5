"""Translation: a text for a text, in other words, another language, or the sounds of a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.parallel_text import END, END_ID, START_ID, ParallelTextBatch, ParallelTextFacts
from gatewise.nn.encoder_decoder import EncoderDecoder, TieName
from gatewise.settings import NotNegative
from gatewise.tasks import bleu, error_rates, followed
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.inspected import Choice
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler
from gatewise.tasks.translated import Translated, parts
from gatewise.tasks.writing import DRAWN, Writing

ScoredBy = Literal["bleu", "error_rates"]
SPARE = 10
"""Tokens that a translation may have beyond its share of the source's."""


class Translation(Writing):
    """Reads a text token by token and writes another, attending to the first (:class:`EncoderDecoder`).

    ``model`` makes both the encoder, for which ``bidirectional`` helps, and the layers of the decoder, of
    ``decoder_size`` and ``decoder_layers`` or else as the encoder's, but 2 for ``context=layers``.

    ``scored_by`` says what translations are compared with the references by: ``bleu`` (with chrF), or
    ``error_rates`` of words and symbols, for pronunciations. A translation has at most ``length_ratio`` times
    the source's tokens, and 10. With ``copy_unknown`` an unknown token is replaced by the word of the source
    that it attends to most (Luong et al., "Addressing the Rare Word Problem in Neural Machine Translation",
    ACL 2015, do so with a dictionary); a text without tokens has an empty translation. The other settings are
    those of :class:`Writing`.
    """

    facts_type = ParallelTextFacts
    measured = ("perplexity", "bleu", "bleu_lower", "chrf", "word_error_rate", "symbol_error_rate")
    answer_settings = ("beam", "best", "length_penalty", "coverage_penalty", "length_ratio", "copy_unknown")
    columns = ("source", "translation", "reference")
    written_are = "translations"
    net: EncoderDecoder

    def __init__(
        self,
        model: MakeModel,
        facts: ParallelTextFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/bleu",
        mode: Literal["min", "max"] = "max",
        scored_by: ScoredBy = "bleu",
        tie_embeddings: TieName = "target",
        length_ratio: NotNegative = 2.0,
        copy_unknown: bool = True,
        **settings: Any,
    ) -> None:
        self.scored_by = scored_by  # before the base asks for the metrics
        super().__init__(facts, optimizer, scheduler, monitor, mode, **settings)
        if tie_embeddings == "all" and not facts.joint:
            raise ValueError(
                "tie_embeddings=all needs one vocabulary for both languages: set data.joint=true, or choose "
                "tie_embeddings=target"
            )
        self.net = EncoderDecoder(
            model,
            len(facts.source_vocabulary),
            self.frequencies(facts.target_counts),
            tie_embeddings,
            **self.decoding,
        )
        self.scores_per_step = self.net.target_embedding.embedding_dim
        self.length_ratio, self.copy_unknown = length_ratio, copy_unknown

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
        of_texts = error_rates.measures() if self.scored_by == "error_rates" else bleu.measures()
        return {**of_texts, **super().metrics()}

    def outputs(self, batch: ParallelTextBatch) -> Tensor:
        lengths = batch.target_lengths - 1
        outputs: Tensor
        outputs, _ = self.net(batch.source, batch.source_lengths, batch.target[:, :-1], lengths)
        return outputs

    def counts(self, texts: Sequence[str], batch: ParallelTextBatch) -> Tensor:
        if self.scored_by == "bleu":
            return super().counts(texts, batch)
        assert batch.references is not None
        return error_rates.statistics(texts, batch.references).to(batch.source.device)

    def baselines(self, batch: ParallelTextBatch) -> Mapping[str, Score]:
        scores = dict(super().baselines(batch))
        if batch.sources is not None and batch.references is not None:
            scores["copy"] = self.of_texts(batch.sources, batch)
        return scores

    def written(self, batch: ParallelTextBatch, width: int, best: int) -> Translated:
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

    def answer(self, given: Input) -> Answer:
        """The translation of each text, with ``best`` above 1 several of each, ranked by score."""
        batch: ParallelTextBatch = given.batch
        rows: list[dict[str, Any]] = []
        drawn: dict[int, dict[str, Any]] = {}
        for part in parts(batch):
            translated = self.written(part, self.beam, self.best)
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
