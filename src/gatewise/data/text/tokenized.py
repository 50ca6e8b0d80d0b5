"""Texts as numbers: one array over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewise.data.flat import places_of
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN, Tokenizer


@dataclass(frozen=True)
class Tokenized:
    """Texts as ids of types, one text after the other."""

    types: tuple[str, ...]
    """Every distinct token, by id."""
    ids: NDArray[np.int32]
    """[sum of lengths]"""
    lengths: NDArray[np.int64]
    """[N]: tokens of each text, which may have none."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """[N]: where each text begins in ``ids``."""
        return self.lengths.cumsum() - self.lengths

    def ids_in(self, vocabulary: Sequence[str]) -> NDArray[np.int64]:
        """The vocabulary's id [types, at least 1] of each type; 0 for one that it lacks."""
        numbers = {token: i for i, token in enumerate(vocabulary)}
        return np.array([numbers.get(token, 0) for token in self.types] or [0], dtype=np.int64)

    def texts(self) -> list[list[str]]:
        """The tokens of each text."""
        flat = [self.types[i] for i in self.ids.tolist()]
        ends = self.lengths.cumsum().tolist()
        return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def select(self, indices: NDArray[np.int64], longest: int | None = None) -> Tokenized:
        """Some of the texts, in this order, with at most ``longest`` tokens each."""
        lengths = self.lengths[indices]
        if longest is not None:
            lengths = np.minimum(lengths, longest)
        return Tokenized(self.types, self.ids[places_of(self.starts[indices], lengths)], lengths)


def tokenized(texts: Sequence[str], tokenizer: Tokenizer) -> Tokenized:
    """N texts split into tokens, all in one pass."""
    is_lined = END_OF_LINE in tokenizer.specials
    # A text is one line, so that its end is told from the text of the next.
    lines = [" ".join(text.split("\n")) for text in texts]
    if is_lined:
        # The mark of a line's end cannot be taken for one that a text itself has.
        lines = [line.replace(END_OF_LINE, UNKNOWN) for line in lines]
    numbers: dict[str, int] = {}
    if all(map(str.strip, lines)):
        tokens = tokenizer.tokenize("\n".join(lines))
        end = END_OF_LINE if is_lined else "\n"
        if is_lined is False:
            tokens.append(end)
        numbers[end] = 0
        ids = np.fromiter(
            (numbers.setdefault(token, len(numbers)) for token in tokens), np.int32, len(tokens)
        )
        ends = np.flatnonzero(ids == 0)
        if len(ends) == len(lines):
            lengths = np.diff(ends, prepend=-1) - 1
            return Tokenized(tuple(numbers)[1:], ids[ids != 0] - 1, lengths.astype(np.int64))
    # A text without any token has no mark of its end either: one by one.
    numbers = {}
    split = [
        [token for token in tokenizer.tokenize(line) if token != END_OF_LINE or not is_lined]
        for line in lines
    ]
    flat = [numbers.setdefault(token, len(numbers)) for tokens in split for token in tokens]
    lengths = np.array([len(tokens) for tokens in split], dtype=np.int64)
    return Tokenized(tuple(numbers), np.array(flat, dtype=np.int32), lengths)
