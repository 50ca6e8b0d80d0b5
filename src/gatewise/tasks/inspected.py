"""Sequences as an inspection looks at them: what the encoder reads, and how its outputs answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gatewise.kinds.kind import IGNORED
from gatewise.kinds.tokens import UNKNOWN
from gatewise.nn import Recurrent, Stacked
from gatewise.settings import listed

MOST_NAMED = 5
"""Answers that are named for each step."""
MOST_UNKNOWN = 20
"""Tokens without a place in the vocabulary that are named."""


class Word(NamedTuple):
    """Steps that are one word: the first, the last, and its text."""

    first: int
    last: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Inspected(ABC):
    """B sequences of T steps; what is about a truth or about words is about the first of them."""

    encoder: Recurrent | Stacked
    """What reads the inputs, batch first."""
    inputs: Tensor
    """[B, T, F]: every step as :meth:`encoded` takes it."""
    lengths: Tensor
    """[B] int64: steps that are not padding."""
    step: Literal["token", "frame", "time"]
    names: Sequence[Sequence[str]]
    """What to call each step, by sequence."""
    title: str
    """What is predicted at each step."""
    read: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Scores of the answers [B, V] after each last step, from outputs [B, T, K], inputs and lengths."""
    read_all: Callable[[Tensor], Tensor] | None
    """The same after every step, [B, T, V], from outputs alone; None where each prefix needs its own run."""
    features: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """[B, T] float each: what a unit may follow, by name; NaN on padding."""
    words: Sequence[Word] | None = None
    """Words that have several steps; None where a step is a word, or none."""
    remarks: Sequence[str] = ()
    """What a reader of the names has to know, in sentences."""
    weights: Callable[[Tensor, Tensor], Tensor] | None = None
    """How much a pooling counts each step, [B, T] of outputs and lengths; None where it weighs none."""
    at_every_step: bool = False
    """Whether each step is answered from its own output alone, and the loss counts the answers of all."""
    by_difference: bool = False
    """Whether the encoder reads each value's difference from the last one of its sequence."""
    start: Sequence[Tensor] | None = None
    """The encoder's state before the first step, [L, 1 or B, H] each; None where it is the encoder's own."""

    @property
    def stack(self) -> list[Recurrent]:
        """What the encoder consists of: the Recurrents of a Stacked, else itself with all its layers."""
        encoder = self.encoder
        return [encoder] if isinstance(encoder, Recurrent) else cast(list[Recurrent], list(encoder.layers))

    @property
    def sizes(self) -> list[int]:
        """The units of each layer, those of one direction."""
        return [each.hidden_size for each in self.stack for _ in range(each.num_layers)]

    def encoded(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """What the encoder reads, [R, T, F], for rows in the form of ``inputs`` with lengths [R]."""
        if not self.by_difference:
            return rows
        return rows - rows[torch.arange(len(rows)), lengths - 1].unsqueeze(1)

    def state(self, rows: int) -> tuple[Tensor, ...] | None:
        """The state before the first step of the first sequences, or of so many rows of the only one."""
        if self.start is None:
            return None
        return tuple(
            part[:, :rows] if part.shape[1] > 1 else part.expand(-1, rows, -1) for part in self.start
        )

    def prefixes(self, lengths: Tensor) -> Tensor:
        """The first steps of the first sequence as rows [R, longest, F], of lengths [R]."""
        return self.inputs[:1, : int(lengths.max())].expand(len(lengths), -1, -1)

    def outputs(self, rows: Tensor, lengths: Tensor, intervene: Any = None) -> Tensor:
        """The encoder's outputs [R, T, K] for rows [R, T, F] in the form of ``inputs``, of lengths [R]."""
        outputs: Tensor
        given = {} if intervene is None else {"intervene": intervene}
        state = self.state(len(rows))
        outputs, _ = self.encoder(self.encoded(rows, lengths), state, lengths=lengths, **given)
        return outputs

    def scores(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Scores of the answers [R, V] after the last step of each row."""
        return self.read(self.outputs(rows, lengths), rows, lengths)

    @abstractmethod
    def answer(self, scores: Tensor) -> Any:
        """The answer that scores [V] give, in the form that :meth:`score` and :meth:`loss` take."""

    @abstractmethod
    def in_words(self, answer: Any) -> str:
        """An answer as a reader is told it."""

    @abstractmethod
    def score(self, scores: Tensor, answer: Any) -> Tensor:
        """How much scores [B, V] speak for an answer, [B]: what each step contributes to."""

    @abstractmethod
    def loss(self, scores: Tensor, lengths: Tensor, answer: Any) -> Tensor:
        """The loss [B] of scores [B, V] after ``lengths`` steps; of ``answer`` where no truth is known."""

    @abstractmethod
    def has_truth(self, length: int) -> bool:
        """Whether the right answer after so many steps is known."""

    @abstractmethod
    def probability(self, scores: Tensor, answer: Any) -> Tensor | None:
        """The probability [B] that scores [B, V] give to an answer; None where they are no choice."""

    @abstractmethod
    def most_probable(self, scores: Tensor) -> list[list[tuple[str, float]]]:
        """Up to five named answers of each row of scores [B, V], with probability, or value and what of."""

    @abstractmethod
    def actual(self, step: int) -> str | None:
        """The right answer after a step; None where it is not known."""

    def whole_loss(self, outputs: Tensor, rows: Tensor, lengths: Tensor, answer: Any) -> Tensor:
        """The loss [R] of whole sequences, as training counts it, from outputs [R, T, K]."""
        return self.loss(self.read(outputs, rows, lengths), lengths, answer)


@dataclass(frozen=True, kw_only=True)
class Choice(Inspected):
    """The answer is one of several names, by a softmax over the scores."""

    choices: Sequence[str]
    truth: Tensor
    """[T] int64: the right choice after each step, or IGNORED."""

    def answer(self, scores: Tensor) -> int:
        return int(scores.argmax())

    def in_words(self, answer: int) -> str:
        return self.choices[answer]

    def score(self, scores: Tensor, answer: int) -> Tensor:
        """Logarithm of the answer's probability."""
        return torch.log_softmax(scores, -1)[:, answer]

    def loss(self, scores: Tensor, lengths: Tensor, answer: int) -> Tensor:
        """Negative log-likelihood in nats."""
        truth = self.truth.to(scores.device)[lengths - 1]
        return F.cross_entropy(scores, torch.where(truth == IGNORED, answer, truth), reduction="none")

    def has_truth(self, length: int) -> bool:
        return int(self.truth[length - 1]) != IGNORED

    def probability(self, scores: Tensor, answer: int) -> Tensor:
        return torch.softmax(scores, -1)[:, answer]

    def most_probable(self, scores: Tensor) -> list[list[tuple[str, float]]]:
        best = torch.softmax(scores, -1).topk(min(MOST_NAMED, scores.shape[-1]))
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [[(self.choices[i], p) for i, p in zip(*row, strict=True)] for row in rows]

    def actual(self, step: int) -> str | None:
        truth = int(self.truth[step])
        return None if truth == IGNORED else self.choices[truth]

    def whole_loss(self, outputs: Tensor, rows: Tensor, lengths: Tensor, answer: int) -> Tensor:
        known = self.truth != IGNORED
        if not (self.at_every_step and self.read_all is not None and bool(known.any())):
            return super().whole_loss(outputs, rows, lengths, answer)
        scores = self.read_all(outputs[:, known])
        truth = self.truth[known].to(scores.device).expand(len(scores), -1)
        return F.cross_entropy(scores.transpose(1, 2), truth, reduction="none").mean(1)


@dataclass(frozen=True, kw_only=True)
class Numbers(Inspected):
    """The answer is the scores themselves, scaled numbers such as those of a forecast."""

    labels: Sequence[str]
    """What each of the V scores is."""
    unscaled: Callable[[NDArray[Any]], NDArray[Any]]
    """Scores [..., V] in the units of the file."""
    shown: Callable[[float], str]
    """A value in these units as text."""
    first: int
    """How many of the scores are the nearest values, to which steps contribute: their mean."""
    truth: Tensor
    """[T, V] float: the right scores after each step; NaN where they are not known."""

    def answer(self, scores: Tensor) -> Tensor:
        return scores.detach()

    def in_words(self, answer: Tensor) -> str:
        values = self.unscaled(answer.double().numpy())[: self.first]
        return ", ".join(map(self.shown, values.tolist()))

    def score(self, scores: Tensor, answer: Tensor) -> Tensor:  # noqa: ARG002
        """The mean of the first forecast values, in training standard deviations."""
        return scores[:, : self.first].mean(-1)

    def loss(self, scores: Tensor, lengths: Tensor, answer: Tensor) -> Tensor:
        """Mean squared error of what is known, in units of the training variance."""
        truth = self.truth[lengths - 1]
        known = ~truth.isnan()
        truth = torch.where(known.any(-1, keepdim=True), truth, answer)
        known = ~truth.isnan()
        squares = (scores - truth.nan_to_num()).square() * known
        return squares.sum(-1) / known.sum(-1)

    def has_truth(self, length: int) -> bool:
        return not bool(self.truth[length - 1].isnan().all())

    def probability(self, scores: Tensor, answer: Tensor) -> None:  # noqa: ARG002
        return None

    def most_probable(self, scores: Tensor) -> list[list[tuple[str, float]]]:
        values = self.unscaled(scores.double().numpy())[:, :MOST_NAMED].tolist()
        return [list(zip(self.labels, row, strict=False)) for row in values]

    def actual(self, step: int) -> str | None:
        if bool(self.truth[step][: self.first].isnan().any()):
            return None
        return self.in_words(self.truth[step])


def last_outputs(outputs: Tensor, lengths: Tensor, directions: int) -> Tensor:
    """The outputs [B, D·H] with which each direction has read all: of the last step, and of the first one."""
    forward = outputs[torch.arange(len(outputs)), lengths - 1]
    if directions == 1:
        return forward
    size = outputs.shape[-1] // 2
    return torch.cat([forward[:, :size], outputs[:, 0, size:]], -1)


def remarks_of(unknown: Iterable[str]) -> list[str]:
    """What a reader has to know of tokens that are not in the vocabulary."""
    named = list(dict.fromkeys(unknown))
    said = f"Not in the vocabulary, and so read as {UNKNOWN}: {listed(named, MOST_UNKNOWN)}."
    return [said] if named else []


def joined(names: Sequence[str], begins: Callable[[str, str], bool]) -> list[Word]:
    """The words that steps with these names make; ``begins`` says whether a new one begins between two."""
    words: list[Word] = []
    for place, name in enumerate(names):
        if words and not begins(names[place - 1], name):
            words[-1] = Word(words[-1].first, place, words[-1].text + name)
        else:
            words.append(Word(place, place, name))
    return words


def grouped(names: Sequence[str], numbers: Sequence[int]) -> list[Word]:
    """The words that steps with these names make, for the number of the word that each belongs to."""
    words: list[Word] = []
    for place, (name, number) in enumerate(zip(names, numbers, strict=True)):
        if place and number == numbers[place - 1]:
            words[-1] = Word(words[-1].first, place, words[-1].text + name)
        else:
            words.append(Word(place, place, name.removeprefix(" ") or name))
    return words


def characters_begin(before: str, after: str) -> bool:
    """Whether a new word begins between two characters: letters, digits and marks belong together."""

    def inside(name: str) -> bool:
        return name.isalnum() or name in "'’_" or (not name.isprintable() and not name.isspace())

    return not (inside(before) and inside(after))
