"""What all tasks share that write a text token by token, attending to what they read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from torch import Tensor

from gatewise.nn.token_writer import TokenWriter
from gatewise.settings import NotNegative, Positive, Share, rule
from gatewise.tasks import bleu
from gatewise.tasks.answer import Answer
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.task import MakeOptimizer, MakeScheduler, Task
from gatewise.tasks.written import Written

log = logging.getLogger(__name__)

SHOWN = 8
"""Texts of the test that are shown."""
DRAWN = 4
"""Those whose attention is drawn."""
LONGEST_SHOWN = 160
"""Characters of a text in a table."""


@rule
def check_best(best: int, beam: int) -> None:
    """Raise ValueError where more texts are wanted than are searched for."""
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


class Writing(Task):
    """Writes a text for every example of a batch, by beam search.

    What decodes has the settings of :class:`gatewise.nn.token_writer.TokenWriter`. ``label_smoothing`` is the
    share of each target that training spreads over all tokens; the loss and the perplexity, both for a token
    of the target with the end counted, are reported without it.

    A validation writes by beam search of width ``validation_beam`` (1 is greedy), a test and a prediction by
    one of width ``beam`` with ``length_penalty`` and ``coverage_penalty`` (see
    :func:`gatewise.nn.beam_search.beam_search`). ``best`` is the number of texts that a prediction gives.

    A subclass makes ``net`` of what :meth:`frequencies` and ``decoding`` give, and implements
    :meth:`outputs` and :meth:`written`. A batch has ``target`` [B, T] with start and end,
    ``target_lengths`` [B], ``indices`` [B], and ``references`` where it is scored.
    """

    answer_settings: ClassVar[tuple[str, ...]] = ("beam", "best", "length_penalty", "coverage_penalty")
    picture: ClassVar[str] = "attention"
    """What draws the first texts of the test."""
    columns: ClassVar[tuple[str, ...]]
    """Of an example: what stands before the text, if anything, the text, its reference."""
    written_are: ClassVar[str] = "texts"
    """What is written, for a title."""
    passes_on = TokenWriter
    net: TokenWriter
    unigram: Tensor
    """[V] log-probability of each target token by its training frequency, with add-one smoothing."""

    def __init__(
        self,
        facts: Any,
        optimizer: MakeOptimizer | None,
        scheduler: MakeScheduler | None,
        monitor: str,
        mode: Literal["min", "max"],
        label_smoothing: Share = 0.0,
        validation_beam: Positive = 1,
        beam: Positive = 5,
        best: Positive = 1,
        length_penalty: NotNegative = 1.0,
        coverage_penalty: NotNegative = 0.0,
        **decoding: Any,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.decoding = decoding
        """Settings of a :class:`TokenWriter`."""
        self.label_smoothing, self.validation_beam = label_smoothing, validation_beam
        self.beam, self.best = beam, best
        self.length_penalty, self.coverage_penalty = length_penalty, coverage_penalty
        self._width = validation_beam
        self._examples: dict[int, dict[str, Any]] = {}

    def frequencies(self, counts: Sequence[int]) -> list[float]:
        """The shares of the tokens, for their training counts, by which the unigram baseline answers."""
        # Add-one smoothing: a token that never occurs in training must not make the baseline infinite.
        seen = torch.tensor(counts, dtype=torch.float64) + 1
        shares = seen / seen.sum()
        self.register_buffer("unigram", shares.log().float(), persistent=False)
        return shares.tolist()

    def outputs(self, batch: Any) -> Tensor:
        """The decoder's outputs [B, T - 1, D] for the known targets of a batch."""
        raise NotImplementedError

    def written(self, batch: Any, width: int, best: int) -> Written:
        """The ``best`` texts for each example of a batch."""
        raise NotImplementedError

    def counts(self, texts: Sequence[str], batch: Any) -> Tensor:
        """What the metrics are computed from, rows [B, …] of counts, for texts written for a batch."""
        return bleu.statistics(texts, batch.references).to(batch.target.device)

    def metrics(self) -> Mapping[str, Measure]:
        meaning = (
            f"equivalent number of equally likely next tokens of the {self.columns[-2]}; lower is better"
        )
        return {"perplexity": Measure(meaning, of_loss=torch.exp)}

    def score(self, batch: Any) -> Score:
        """Mean negative log-likelihood (nats) of the targets' tokens; in evaluation their scores as texts."""
        targets, lengths = batch.target[:, 1:], batch.target_lengths - 1
        smoothing = self.label_smoothing if self.training else 0.0
        minimised, likelihood = self.net.loss(self.outputs(batch), targets, lengths, smoothing)
        count = int(lengths.sum())
        if smoothing:
            # The gradient is that of what training minimises alone.
            return Score(likelihood / count, count, penalty=(minimised - likelihood) / count)
        if self.training or batch.references is None:
            return Score(minimised / count, count)
        written = self.written(batch, self._width, 1)
        self._examples |= written.first(SHOWN)
        return Score(minimised / count, count, self.counts(written.best, batch), batch.indices)

    def baselines(self, batch: Any) -> Mapping[str, Score]:
        targets, lengths = batch.target[:, 1:], batch.target_lengths - 1
        known = targets[torch.arange(targets.shape[1], device=targets.device) < lengths.unsqueeze(1)]
        return {"unigram": Score(-self.unigram[known].mean(), len(known))}

    def of_texts(self, texts: Sequence[str], batch: Any) -> Score:
        """The score of trivial texts for a batch."""
        return Score(None, len(texts), self.counts(texts, batch), batch.indices)

    def predict_step(self, batch: Any, batch_idx: int = 0) -> list[list[str]]:  # noqa: ARG002
        """The ``best`` texts for each example."""
        return self.written(batch, self.beam, self.best).texts

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
            *said, reference = (_short(shown[name]) for name in self.columns)
            log.info("%s (%s)", " → ".join(said), reference)

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
        """The first texts of the test, with the weights of attention, which are drawn."""
        examples = [self._examples[number] for number in sorted(self._examples)]
        return {self.picture: examples[:DRAWN]} if examples else {}

    def examples(self) -> Answer | None:
        """The first texts of the last test beside their references."""
        if not self._examples:
            return None
        rows = [self._examples[number] for number in sorted(self._examples)]
        table = pd.DataFrame([{name: _short(row[name]) for name in self.columns} for row in rows])
        return Answer(table, f"{self.written_are} of the test")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
