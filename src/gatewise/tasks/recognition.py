"""Recognition: what was said or written, as units in a row, from frames that nobody has aligned with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.transcripts import TranscribedBatch, TranscriptFacts
from gatewise.nn.ctc import best_paths, log_likelihood, stacked, steps_needed
from gatewise.nn.locked import LockedDropout
from gatewise.nn.ngrams import NGramModel
from gatewise.nn.prefix_search import PrefixSearch, UnitModel, prefix_beam_search
from gatewise.settings import NotNegative, Positive, Probability, rule
from gatewise.tasks import followed, transcript_errors
from gatewise.tasks.answer import Answer, table_of
from gatewise.tasks.inspected import Choice
from gatewise.tasks.recognised import BLANK, DRAWN, Recognised, Worst, parts
from gatewise.tasks.scores import Measure, Score
from gatewise.tasks.streamed import StreamedRecognition
from gatewise.tasks.task import MakeModel, MakeOptimizer, MakeScheduler, Task
from gatewise.tasks.unit_model import TrainedUnitModel

NGRAM = "ngram"
"""The language model that the counts of the training transcripts give."""


@rule
def check_best(best: int, beam: int) -> None:
    """Raise ValueError where more transcripts are wanted than are searched for."""
    if best > beam:
        raise ValueError(f"best={best} of beam={beam} hypotheses: make the beam at least as wide")


@rule
def check_model(language_model: str | None, beam: int) -> None:
    """Raise ValueError where nothing would ask the language model."""
    if language_model is not None and beam == 1:
        raise ValueError(
            f"language_model={language_model} is asked by a beam search alone: make the beam 2 or wider"
        )


class Recognition(Task):
    """Reads frames and writes a transcript by connectionist temporal classification (:mod:`gatewise.nn.ctc`).

    ``stack`` frames are one step of the encoder, so that it has fewer; a linear layer scores the units and
    the blank. ``input_dropout`` and ``dropout`` drop features of what goes into the encoder and comes out of
    it, each for all steps of a sequence (locked dropout). ``loss`` is per unit of the transcripts, in nats.

    A validation takes the most probable path (greedy decoding), a test and a prediction a prefix beam search
    of width ``beam``, or the path where that is 1. ``best`` is the number of transcripts that a prediction
    gives. ``language_model`` is ``ngram``, by the counts of units in a row that the data's ``ngram_order``
    asked for, or the run directory of a language model of transcripts, a line each, whose tokens are the same
    units; its log-probability counts ``language_weight`` times, and each unit adds ``length_bonus``. What
    lies ``settled_after`` steps back is settled (see :class:`gatewise.nn.prefix_search.PrefixSearch`).
    """

    facts_type = TranscriptFacts
    measured = ("word_error_rate", "unit_error_rate", "transcript_error_rate")
    evaluation_settings = ("beam", "language_model", "language_weight", "length_bonus", "settled_after")
    answer_settings = ("beam", "language_model", "language_weight", "length_bonus", "settled_after", "best")

    def __init__(
        self,
        model: MakeModel,
        facts: TranscriptFacts,
        optimizer: MakeOptimizer | None = None,
        scheduler: MakeScheduler | None = None,
        monitor: str = "val/word_error_rate",
        mode: Literal["min", "max"] = "min",
        stack: Positive = 1,
        input_dropout: Probability = 0.0,
        dropout: Probability = 0.0,
        beam: Positive = 8,
        best: Positive = 1,
        language_model: str | None = None,
        language_weight: NotNegative = 0.5,
        length_bonus: float = 0.0,
        settled_after: Positive | None = None,
    ) -> None:
        super().__init__(facts, optimizer, scheduler, monitor, mode)
        self.stack, self.beam, self.best = stack, beam, best
        self.encoder = model(input_size=stack * facts.feature_size, batch_first=True)
        self.input_dropout, self.dropout = LockedDropout(input_dropout), LockedDropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, len(facts.units) + 1)
        self.scores_per_step = len(facts.units) + 1
        self.language_model, self.language_weight = language_model, language_weight
        self.length_bonus, self.settled_after = length_bonus, settled_after
        self._asked: list[UnitModel] = []  # in a list: a task that is asked is no part of this one
        if language_model == NGRAM:
            self._asked = [_counted(facts)]
        self._width, self._keeps = 1, False
        self._worst = Worst()

    @classmethod
    def sizes(cls, facts: TranscriptFacts, settings: Mapping[str, Any]) -> Mapping[str, tuple[str, int, int]]:
        size = facts.feature_size * int(settings.get("stack", 1))
        return {
            "units": ("head.weight", 0, len(facts.units) + 1),
            "feature_size": ("encoder.layers.0.weight_ih", 1, size),
        }

    def runs(self) -> Mapping[str, str]:
        named = self.language_model
        return {} if named in (None, NGRAM) else {"language_model": str(named)}

    def take_run(self, setting: str, task: Task) -> None:
        assert setting == "language_model"
        self._asked = [TrainedUnitModel(task, self.facts.units, str(self.language_model))]

    def metrics(self) -> Mapping[str, Measure]:
        return transcript_errors.measures()

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(Log-probabilities [B, S, K + 1] of the units and the blank, steps [B]) of frames [B, T, F]."""
        steps, counts = stacked(inputs, lengths, self.stack)
        outputs, _ = self.encoder(self.input_dropout(steps), lengths=counts)
        return torch.log_softmax(self.head(self.dropout(outputs)).float(), -1), counts

    @torch.no_grad()
    def read_on(self, steps: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(Log-probabilities [B, S, K + 1], state) of steps [B, S, F] that follow those before."""
        outputs, state = self.encoder(steps, state)
        return torch.log_softmax(self.head(outputs).float(), -1), state

    def new_search(self, searches: int) -> PrefixSearch:
        """A search for the transcripts of so many sequences, before their first step."""
        return PrefixSearch(searches, self.beam, self.head.bias.detach(), *self._of_the_search())

    def _of_the_search(self) -> tuple[UnitModel | None, float, float, int | None]:
        model = self._asked[0] if self._asked else None
        return model, self.language_weight, self.length_bonus, self.settled_after

    def streamed(self) -> StreamedRecognition:
        return StreamedRecognition(self)

    def score(self, batch: TranscribedBatch) -> Score:
        log_probabilities, steps = self(batch.inputs, batch.lengths)
        needed = steps_needed(batch.targets, batch.target_lengths)
        if bool((needed > steps).any()):
            row = int((needed - steps).argmax())
            raise ValueError(
                f"a transcript needs {int(needed[row])} steps, and its {int(batch.lengths[row])} frames are "
                f"{int(steps[row])}: leave it out, or make task.stack less than {self.stack}"
            )
        found = log_likelihood(log_probabilities, steps, batch.targets, batch.target_lengths)
        count = max(int(batch.target_lengths.sum()), 1)
        loss = -found.sum() / count
        if self.training:
            return Score(loss, count)
        recognised = self._recognised(batch, log_probabilities.detach(), steps, self._width, 1)
        counts = recognised.errors().to(loss.device)
        if self._keeps:
            self._worst.add(recognised, counts)
        return Score(loss, count, counts, batch.target_lengths)

    def baselines(self, batch: TranscribedBatch) -> Mapping[str, Score]:
        answers: dict[str, Sequence[int]] = {"nothing": ()}
        if self.facts.usual:
            answers["most frequent transcript"] = self.facts.usual
        lengths = batch.target_lengths.tolist()
        references = [row[:length] for row, length in zip(batch.targets.tolist(), lengths, strict=True)]
        scores = {}
        for name, answer in answers.items():
            counts = transcript_errors.statistics([answer] * len(references), references, self.facts)
            scores[name] = Score(None, len(references), counts.to(batch.inputs.device), batch.target_lengths)
        return scores

    # ---- recognising

    def _recognised(
        self, batch: TranscribedBatch, log_probabilities: Tensor, steps: Tensor, width: int, best: int
    ) -> Recognised:
        if width == 1:
            found = best_paths(log_probabilities, steps)
        else:
            found = prefix_beam_search(log_probabilities, steps, width, best, *self._of_the_search())
        return Recognised(self.facts, batch, log_probabilities, steps, found, self.stack)

    @torch.no_grad()
    def recognised(self, batch: TranscribedBatch) -> Recognised:
        """The ``best`` transcripts of a batch's sequences."""
        log_probabilities, steps = self(batch.inputs, batch.lengths)
        return self._recognised(batch, log_probabilities, steps, self.beam, self.best)

    def predict_step(self, batch: TranscribedBatch, batch_idx: int = 0) -> list[str]:  # noqa: ARG002
        """The best transcript of each sequence."""
        recognised = self.recognised(batch)
        return [self.facts.text(recognised.units(row)) for row in range(len(batch.lengths))]

    # ---- the worst mistakes of a test

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._width, self._keeps = 1, False

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._width, self._keeps, self._worst = self.beam, True, Worst()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, self._worst)
            self._worst.join(gathered)

    def report(self) -> dict[str, Any]:
        """How the worst transcripts of the test were read from their frames, which is drawn."""
        drawn = [shown for _, shown in self._worst.ranked()[:DRAWN]]
        return {"alignment": drawn} if drawn else {}

    def examples(self) -> Answer | None:
        """The transcripts of the last test with the most mistakes, beside the right ones."""
        rows = [
            {**{name: shown[name] for name in ("name", "transcript", "reference")}, "wrong units": wrong}
            for wrong, shown in self._worst.ranked()
            if wrong
        ]
        if not rows:
            return None
        table = table_of(rows)
        if not table["name"].any():
            table = table.drop(columns="name")
        return Answer(table, "worst transcripts of the test")

    # ---- predictions

    def answer(self, given: Input) -> Answer:
        """The transcript of each sequence, with ``best`` above 1 several of each, ranked by score."""
        batch: TranscribedBatch = given.batch
        rows: list[dict[str, Any]] = []
        drawn: dict[int, dict[str, Any]] = {}
        for numbers, part in parts(batch):
            recognised = self.recognised(part)
            for row in recognised.rows():
                number = numbers[row.pop("row")]
                own = {name: column[number] for name, column in given.columns.items()}
                rows.append({"sequence": number + 1, **row, **own})
            drawn |= {n: recognised.alignment(i) for i, n in enumerate(numbers) if n < DRAWN}
        table = table_of(sorted(rows, key=lambda row: (row["sequence"], row["rank"])))
        read = table.loc[table["rank"] == 1, "transcript"].tolist()
        several = len(batch.lengths) > 1
        leave_out = [*([] if several else ["sequence"]), *([] if self.best > 1 else ["rank"])]
        return Answer(
            table.drop(columns=leave_out),
            f"transcripts of {given.name}" if several else "transcript",
            {"log_probability": "{:.3f}"},
            ("starts",),
            picture=given.with_answers(read) or ("alignment", [drawn[number] for number in sorted(drawn)]),
        )

    def inspected(self, given: Input) -> Choice:
        """The unit or blank that each step is read as."""
        batch: TranscribedBatch = given.batch
        steps, lengths = stacked(batch.inputs, batch.lengths, self.stack)
        unknown = torch.full((len(steps),), IGNORED)
        return Choice(
            encoder=self.encoder,
            inputs=steps,
            lengths=lengths,
            step="frame",
            names=[list(map(str, range(length))) for length in lengths.tolist()],
            title="unit of the step",
            read=lambda outputs, _, ends: self.head(outputs[torch.arange(len(outputs)), ends - 1]),
            read_all=self.head,
            features=followed.of_frames(steps.numpy(), lengths.numpy(), unknown.numpy(), ()),
            choices=(*self.facts.units, BLANK),
            truth=unknown[:1].expand(steps.shape[1]),
            at_every_step=True,
        )


def _counted(facts: TranscriptFacts) -> NGramModel:
    if not facts.ngrams:
        raise ValueError(
            f"language_model={NGRAM}: no units in a row were counted in the training transcripts: train with "
            f"data.ngram_order=3, or name the run directory of a language model"
        )
    return NGramModel(facts.ngrams, len(facts.units))
