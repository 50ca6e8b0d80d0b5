"""Translation: a text for a text, in other words, another language, or the sounds of a word."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import pandas as pd
import torch
from torch import Tensor

from gatewise.kinds.kind import Input
from gatewise.kinds.parallel_text import END_ID, START_ID, UNKNOWN_ID, ParallelTextBatch, ParallelTextFacts
from gatewise.nn.attention import AttentionName
from gatewise.nn.attention_decoder import ContextName
from gatewise.nn.beam_search import Hypotheses
from gatewise.nn.encoder_decoder import EncoderDecoder, TieName
from gatewise.settings import NotNegative, Positive, Probability, Share, rule
from gatewise.tasks import bleu, error_rates
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task

log = logging.getLogger(__name__)

T = TypeVar("T")
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
            attention,
            attention_size,
            coverage,
            tie_embeddings,
            word_dropout,
            embedding_dropout,
            hidden_dropout,
            dropout,
            locked_dropout,
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
    def sizes(cls, facts: ParallelTextFacts) -> Mapping[str, tuple[str, int, int]]:
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
        outputs, _ = self.net(batch.source, batch.source_lengths, batch.target[:, :-1])
        targets, lengths = batch.target[:, 1:], batch.target_lengths - 1
        smoothing = self.label_smoothing if self.training else 0.0
        minimised, likelihood = self.net.loss(outputs, targets, lengths, smoothing)
        count = int(lengths.sum())
        if smoothing:
            # The gradient is that of what training minimises alone.
            return Score(likelihood / count, count, penalty=(minimised - likelihood) / count)
        if self.training or batch.references is None:
            return Score(minimised / count, count)
        found = self._searched(batch, self._width, 1)
        texts = [translations[0] for translations in self.texts(batch, found)]
        self._keep_examples(batch, found, texts)
        return Score(minimised / count, count, self._counts(texts, batch), batch.indices)

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

    def _searched(self, batch: ParallelTextBatch, width: int, best: int) -> Hypotheses:
        """The best translations of a batch's texts."""
        lengths = batch.source_lengths
        limits = (self.length_ratio * lengths).ceil().long() + SPARE
        return self.net.search(
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

    def texts(self, batch: ParallelTextBatch, found: Hypotheses) -> list[list[str]]:
        """The translations of each text as text, the best first."""
        if not bool(torch.isfinite(found.scores[:, :1]).all()):
            raise ValueError("the model's probabilities of the next token are not numbers: train it again")
        words = self._copied(batch, found) if self.copy_unknown else None
        rows = found.tokens.tolist()
        lengths = found.lengths.tolist()
        join = self.facts.target.joined
        return [
            [
                join(tokens[:count], words[row][rank] if words is not None else None)
                for rank, (tokens, count) in enumerate(zip(rows[row], lengths[row], strict=True))
                if count
            ]
            for row in range(len(rows))
        ]

    def _copied(self, batch: ParallelTextBatch, found: Hypotheses) -> list[list[list[str]]] | None:
        """The word of the source that each token attends to most; None where no token is unknown."""
        if batch.source_tokens is None or not bool((found.tokens == UNKNOWN_ID).any()):
            return None
        assert found.weights is not None
        # A word is copied, not the end of the text behind the last one.
        last = (batch.source_lengths - 1).clamp(min=1)[:, None, None, None]
        places = torch.arange(found.weights.shape[-1], device=last.device)
        attended = found.weights.masked_fill(places >= last, -1).argmax(-1).tolist()
        return [
            [[words[place] if words else "" for place in each] for each in ranked]
            for words, ranked in zip(batch.source_tokens, attended, strict=True)
        ]

    def predict_step(self, batch: ParallelTextBatch, batch_idx: int = 0) -> list[list[str]]:  # noqa: ARG002
        """The ``best`` translations of each text."""
        return self.texts(batch, self._searched(batch, self.beam, self.best))

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

    def _keep_examples(self, batch: ParallelTextBatch, found: Hypotheses, texts: Sequence[str]) -> None:
        assert batch.references is not None
        for row in (batch.indices < SHOWN).nonzero().flatten().tolist():
            self._examples[int(batch.indices[row])] = {
                "source": "" if batch.sources is None else batch.sources[row],
                "translation": texts[row],
                "reference": batch.references[row][0],
                **self.attended(batch, found, row),
            }

    def attended(
        self, batch: ParallelTextBatch, found: Hypotheses, row: int, rank: int = 0
    ) -> dict[str, Any]:
        """The tokens of a text and of its translation, and the weights [T][S] of attention between them."""
        assert found.weights is not None
        count, length = int(found.lengths[row, rank]), int(batch.source_lengths[row])
        facts: ParallelTextFacts = self.facts
        own = None if batch.source_tokens is None else batch.source_tokens[row]
        read = own or [facts.source_vocabulary[i] for i in batch.source[row, : length - 1]]
        return {
            "read": [*read, facts.source_vocabulary[END_ID]],
            "written": [facts.target_vocabulary[i] for i in found.tokens[row, rank, :count]],
            "weights": [
                [round(weight, 4) for weight in weights]
                for weights in found.weights[row, rank, :count, :length].tolist()
            ],
        }

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
        rows = []
        for part in _parts(batch):
            found = self._searched(part, self.beam, self.best)
            for row, translations in enumerate(self.texts(part, found)):
                rows += [
                    self._answer_row(part, found, row, rank, text) for rank, text in enumerate(translations)
                ]
        table = pd.DataFrame(rows).sort_values("line", kind="stable", ignore_index=True)
        several = len(batch.indices) > 1
        leave_out = [*([] if several else ["line"]), *([] if self.best > 1 else ["rank"])]
        title = f"translations of {given.name}" if several else "translation"
        formats = {"score": "{:.3f}", "log_probability": "{:.3f}"}
        return Answer(table.drop(columns=leave_out), title, formats, ("log_probability", "attention"))

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

    def _answer_row(
        self, batch: ParallelTextBatch, found: Hypotheses, row: int, rank: int, text: str
    ) -> dict[str, Any]:
        attended = self.attended(batch, found, row, rank)
        pairs = zip(attended["written"], attended["weights"], strict=True)
        strongest = ((token, max(range(len(w)), key=w.__getitem__), max(w)) for token, w in pairs)
        return {
            "line": int(batch.indices[row]) + 1,
            "rank": rank + 1,
            "text": "" if batch.sources is None else batch.sources[row],
            "translation": text,
            "score": float(found.scores[row, rank]),
            "log_probability": float(found.log_probabilities[row, rank]),
            "attention": " ".join(
                f"{token}←{attended['read'][place]} {w:.2f}" for token, place, w in strongest
            ),
        }


def _parts(batch: ParallelTextBatch) -> list[ParallelTextBatch]:
    """A batch in parts of similar lengths, from short to long, each without needless padding."""
    size = 256
    parts = []
    for rows in batch.source_lengths.argsort(stable=True).split(size):
        numbers = rows.tolist()
        longest = int(batch.source_lengths[rows].max())
        parts.append(
            ParallelTextBatch(
                batch.source[rows, :longest],
                batch.source_lengths[rows],
                batch.target[rows],
                batch.target_lengths[rows],
                batch.indices[rows],
                _some(batch.source_tokens, numbers),
                _some(batch.sources, numbers),
                _some(batch.references, numbers),
            )
        )
    return parts


def _some(texts: Sequence[T] | None, numbers: Sequence[int]) -> list[T] | None:
    return None if texts is None else [texts[number] for number in numbers]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
