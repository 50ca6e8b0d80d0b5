"""What a language model answers, as tables and lines: next tokens, continuations, and surprise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.text import TextFacts
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN
from gatewise.tasks.answer import Answer, Line, table_of
from gatewise.tasks.continuation import Drawing, Following, continued

LONGEST_REMARK = 2000
"""Most characters of a continuation to show on the screen."""


@dataclass(frozen=True)
class Next:
    """The most probable next tokens of a text, and what it goes on with."""

    tokens: Sequence[str]
    probabilities: Sequence[float]
    continuations: Sequence[str]
    """Each with the text before it; none where none was asked for."""
    how: str
    """How they were chosen, in words."""
    unknown: Sequence[str]
    """Tokens of the text that are not in the vocabulary."""

    def as_answer(self) -> Answer:
        """The next tokens as a table, and the continuations, which a file has beside each of them."""
        table = table_of({"token": self.tokens, "probability": self.probabilities})
        count = len(self.continuations)
        names = ["continuation"] if count == 1 else [f"continuation {i + 1}" for i in range(count)]
        for name, text in zip(names, self.continuations, strict=True):
            table[name] = text
        shown = [text[-LONGEST_REMARK:] for text in self.continuations]
        if count > 1:
            shown = [f"\n{number}. {text}" for number, text in enumerate(shown, start=1)]
        return Answer(
            table,
            "next token, by the softmax over H_t",
            {"probability": "{:.4f}"},
            file_only=tuple(names),
            remark=f"{self.how}: {''.join(shown)}" if count else "",
        )

    def as_line(self) -> Line:
        """The continuations, parted by tabs; without any, the next tokens with their probabilities."""
        parts = self.continuations or [
            f"{token} {share:.4f}" for token, share in zip(self.tokens, self.probabilities, strict=True)
        ]
        values: dict[str, Any] = {
            "next": list(self.tokens),
            "probability": list(self.probabilities),
            "continuations": list(self.continuations),
            "unknown": list(self.unknown),
        }
        shown = [text[-LONGEST_REMARK:] for text in parts]
        if len(shown) > 1:
            shown = [f"{number}. {text}" for number, text in enumerate(shown, start=1)]
        if self.unknown:
            shown.append(f"(not in the vocabulary, read as {UNKNOWN}: {', '.join(self.unknown)})")
        return Line("\t".join(part.replace("\t", " ") for part in parts), values, "\n".join(shown))


@dataclass(frozen=True)
class Surprise:
    """How improbable each token of a text was, after those before it; of the first it is not known."""

    tokens: Sequence[str]
    """As they were typed."""
    read: Sequence[str]
    """As they were read: ``<unk>`` for what is not in the vocabulary."""
    nats: Sequence[float]
    """Of every token but the first: minus the logarithm of its probability."""
    of: int
    """Size of the vocabulary."""
    gap: str
    """What stands between two tokens of a text."""

    @property
    def bits(self) -> list[float | None]:
        """Of every token; None for the first."""
        return [None, *(value / math.log(2) for value in self.nats)]

    @property
    def probabilities(self) -> list[float | None]:
        """Of every token; None for the first."""
        return [None, *(math.exp(-value) for value in self.nats)]

    @property
    def total(self) -> float:
        """The sum in bits."""
        return math.fsum(self.nats) / math.log(2)

    def told(self) -> str:
        """The sum in words."""
        count = len(self.nats)
        if not count:
            return "a single token: nothing stands before it that it could surprise after"
        each = math.fsum(self.nats) / count
        return (
            f"{self.total:.3f} bits for {count} token(s) after the first: {each / math.log(2):.3f} bits "
            f"({each:.4f} nats) each, perplexity {math.exp(each):.2f}"
        )

    def as_answer(self) -> Answer:
        """Every token with its surprise as a table, and the text with what surprises marked in it."""
        import pandas as pd  # as for table_of

        table = table_of(
            {
                "token": pd.Series(list(self.tokens), dtype=object),
                "read as": pd.Series(list(self.read), dtype=object),
                "probability": pd.Series(self.probabilities, dtype=object),
                "bits": pd.Series(self.bits, dtype=object),
            }
        )
        strengths = [min((bits or 0) / math.log2(max(self.of, 2)), 1) for bits in self.bits]
        pieces = ["\n" if token == END_OF_LINE else f"{token}{self.gap}" for token in self.tokens]
        return Answer(
            table,
            "surprise of each token",
            {"probability": "{:.4f}", "bits": "{:.2f}"},
            remark=self.told(),
            shaded=tuple(zip(pieces, strengths, strict=True)),
        )

    def as_line(self) -> Line:
        """The sum in bits, and every token with its own."""
        bits = ["", *(f"/{value:.2f}" for value in self.bits[1:])]
        tokens = " ".join(f"{token}{value}" for token, value in zip(self.tokens, bits, strict=True))
        values: dict[str, Any] = {
            "total bits": self.total,
            "token": list(self.tokens),
            "read as": list(self.read),
            "probability": self.probabilities,
            "bits": self.bits,
        }
        return Line(f"{self.total:.3f}\t{tokens}", values, f"{tokens}\n{self.told()}")


@dataclass(frozen=True)
class Asked:
    """What is asked about the texts that follow one."""

    top_k: int
    """Next tokens to name."""
    length: int
    """Tokens of a continuation; 0: none."""
    samples: int
    drawing: Drawing
    seed: int

    def answers(self, given: Input, facts: TextFacts, following: Following) -> list[Next]:
        """The next tokens and continuations of every text."""
        rows, lengths = _rows(given)
        vocabulary = facts.vocabulary
        several = len(rows) > 1
        probabilities, state = following(given.batch.tokens, None, torch.tensor(lengths) if several else None)
        best = probabilities.topk(min(self.top_k, len(vocabulary)))
        added: list[list[list[int]]] = [[]] * len(rows)
        if self.length:
            added = continued(
                following, probabilities, state, self.drawing, self.samples, self.length, self.seed
            ).tolist()
        how = "always the most probable"
        if self.drawing.temperature:
            how = f"drawn with temperature {self.drawing.temperature:g} and seed {self.seed}"
        known = set(vocabulary)
        return [
            Next(
                tokens=[vocabulary[i] for i in indices],
                probabilities=values,
                continuations=[facts.decoded([*row, *sample]) for sample in samples],
                how=how,
                unknown=[token for token in dict.fromkeys(typed) if token not in known],
            )
            for row, typed, indices, values, samples in zip(
                rows, _typed(given), best.indices.tolist(), best.values.tolist(), added, strict=True
            )
        ]


def surprises_of(given: Input, facts: TextFacts, nats: Sequence[Sequence[float]]) -> list[Surprise]:
    """The surprise of every text, of whose tokens but the first minus the log-probability is given."""
    rows, _ = _rows(given)
    vocabulary = facts.vocabulary
    gap = " " if facts.tokenizer in ("word", "whitespace") else ""
    return [
        Surprise(typed, [vocabulary[i] for i in row], own, len(vocabulary), gap)
        for row, typed, own in zip(rows, _typed(given), nats, strict=True)
    ]


def _rows(given: Input) -> tuple[list[list[int]], list[int]]:
    """The ids of every text, and their numbers."""
    lengths: list[int] = ((given.batch.targets != IGNORED).sum(1) + 1).tolist()
    rows = zip(given.batch.tokens.tolist(), lengths, strict=True)
    return [row[:length] for row, length in rows], lengths


def _typed(given: Input) -> Sequence[Sequence[str]]:
    return given.columns.get("token", [given.steps])
