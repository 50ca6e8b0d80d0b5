"""The base of tasks that predict the next token of a text, and so can answer with what may follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.text import TextBatch
from gatewise.settings import AtLeast, Count, NotNegative, Positive, rule
from gatewise.tasks.answer import Answer, Line
from gatewise.tasks.continuation import Drawing
from gatewise.tasks.language_answers import Asked, Next, Surprise, surprises_of
from gatewise.tasks.task import Task

LONGEST_ANSWER = 100_000
"""Most tokens of a continuation; they are computed one after the other."""
MOST_SAMPLES = 1000
"""Most continuations of a text."""
CHUNK = 1000
"""Tokens of a text whose scores are computed at once."""


@rule
def check_temperature(temperature: float) -> None:
    """Raise ValueError for an infinite temperature."""
    if temperature == float("inf"):
        raise ValueError("temperature=inf: give a finite number; 1 draws as often as the model says")


@rule
def check_top_p(top_p: float) -> None:
    """Raise ValueError for a share of the probability that is none."""
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: give a share above 0 and up to 1; 1 draws among all tokens")


@rule
def check_samples(samples: int, temperature: float) -> None:
    """Raise ValueError where all continuations would be the same."""
    if samples > 1 and temperature == 0:
        raise ValueError(
            f"samples={samples} with temperature=0 would be the same text {samples} times: set "
            f"temperature=1, or less to draw more carefully"
        )


class ContinuesText(Task):
    """Answers a text with what may follow it.

    The answer to a user's input is the ``top_k`` most probable next tokens and ``samples`` continuations by
    ``length`` tokens, drawn with ``seed`` as ``temperature``, ``draw_from`` and ``top_p`` say (see
    :class:`gatewise.tasks.continuation.Drawing`); with ``surprise``, instead, how improbable each token was.

    A subclass implements :meth:`next_probabilities`, and ``forward``, which gives the scores of every next
    token [B, T, V] and the final state for token ids [B, T] and an initial state. ``of_the_task`` are the
    arguments of :class:`gatewise.tasks.task.Task`.
    """

    answer_settings = (
        "top_k",
        "length",
        "samples",
        "temperature",
        "draw_from",
        "top_p",
        "seed",
        "surprise",
    )

    def __init__(
        self,
        *of_the_task: Any,
        top_k: Positive = 10,
        length: Annotated[int, AtLeast(0, LONGEST_ANSWER)] = 10,
        temperature: NotNegative = 0.0,
        draw_from: Positive | None = None,
        seed: Count = 0,
        samples: Annotated[int, AtLeast(1, MOST_SAMPLES)] = 1,
        top_p: float = 1.0,
        surprise: bool = False,
    ) -> None:
        super().__init__(*of_the_task)
        self.asked = Asked(top_k, length, samples, Drawing(temperature, draw_from, top_p), seed)
        self.surprise = surprise

    def next_probabilities(
        self, tokens: Tensor, state: tuple[Tensor, ...] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(Probabilities of the token after ``tokens`` [B, V], final state) for tokens [B, T].

        With ``lengths`` [B] a row has so many tokens, and padding after them.
        """
        raise NotImplementedError

    def predict_step(self, batch: TextBatch, batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        """Probabilities [B, V] of the token after the last one: the softmax over H_t."""
        return self.next_probabilities(batch.tokens)[0]

    def answer(self, given: Input) -> Answer:
        """The most probable next tokens and continuations, or the surprise of each token."""
        (found,) = self._answers(given)
        return found.as_answer()

    def answer_lines(self, given: Input) -> Sequence[Line]:
        """The same for each text, in a line."""
        return [found.as_line() for found in self._answers(given)]

    def _answers(self, given: Input) -> Sequence[Next] | Sequence[Surprise]:
        if self.surprise:
            return surprises_of(given, self.facts, self.surprises(given.batch))
        return self.asked.answers(given, self.facts, self.next_probabilities)

    def surprises(self, batch: TextBatch) -> list[list[float]]:
        """Minus the log-probability (nats) of every token but the first, for each row of a batch [B, T].

        A row ends before its first IGNORED target.
        """
        state: tuple[Tensor, ...] | None = None
        found = []
        for tokens, targets in zip(batch.tokens.split(CHUNK, 1), batch.targets.split(CHUNK, 1), strict=True):
            scores, state = self(tokens, state)
            losses = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
            found.append(losses.double())
        of_all = torch.cat(found, 1)
        counts = (batch.targets != IGNORED).sum(1).tolist()
        return [row[:count].tolist() for row, count in zip(of_all, counts, strict=True)]
