"""Tokenizers and vocabularies: text to tokens to ids, and back to readable text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.settings import choice

UNKNOWN = "<unk>"
"""Stands for every token outside the vocabulary; always id 0."""
END_OF_LINE = "<eos>"
"""Ends every line that is not blank, if the tokens are words."""


class Tokenizer:
    """Splits text into tokens; with ``lowercase``, the text is lower-cased first."""

    specials: tuple[str, ...] = (UNKNOWN,)
    """Tokens that every vocabulary contains, in the order of their ids."""

    def __init__(self, lowercase: bool = False) -> None:
        self.lowercase = lowercase

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        raise NotImplementedError

    def detokenize(self, tokens: Iterable[str]) -> str:
        """Readable text; the spaces are a guess, except for characters."""
        raise NotImplementedError


class CharTokenizer(Tokenizer):
    """Every character is a token, including line ends."""

    def tokenize(self, text: str) -> list[str]:
        return list(text.lower() if self.lowercase else text)

    def detokenize(self, tokens: Iterable[str]) -> str:
        return "".join("\N{REPLACEMENT CHARACTER}" if token == UNKNOWN else token for token in tokens)


class WhitespaceTokenizer(Tokenizer):
    """For text that is tokenised already (Penn Treebank, WikiText): splits at white space."""

    specials = (UNKNOWN, END_OF_LINE)
    pattern = re.compile(r"\S+")

    def tokenize(self, text: str) -> list[str]:
        tokens: list[str] = []
        for line in (text.lower() if self.lowercase else text).split("\n"):
            words = self.pattern.findall(line)
            if words:
                tokens += words
                tokens.append(END_OF_LINE)
        return tokens

    def detokenize(self, tokens: Iterable[str]) -> str:
        return _joined_lines(" ".join(tokens))


class WordTokenizer(WhitespaceTokenizer):
    """Splits into words with inner apostrophes and hyphens (``brother’s``), numbers and punctuation marks."""

    pattern = re.compile(rf"{UNKNOWN}|\d+(?:[.,]\d+)+|\w+(?:['’-]\w+)*|[^\w\s]")

    def detokenize(self, tokens: Iterable[str]) -> str:
        text = " ".join(_paired_quotes(tokens))
        text = re.sub(r" ([.,;:!?%)\]}”’…])", r"\1", text)
        text = re.sub(r"([(\[{“‘$£€]) ", r"\1", text)
        return _joined_lines(text)


def _paired_quotes(tokens: Iterable[str]) -> Iterable[str]:
    """Attach straight double quotes, alternately opening and closing ones, to the text they enclose."""
    glued: list[str] = []
    inside = attach = False
    for token in tokens:
        if token == '"' and inside:
            glued[-1] += token
        else:
            glued += [glued.pop() + token] if attach else [token]
        attach = token == '"' and not inside
        inside ^= token == '"'
    return glued


def _joined_lines(text: str) -> str:
    return re.sub(rf" ?{END_OF_LINE} ?", "\n", text)


TokenizerName = Literal["word", "char", "whitespace"]
TOKENIZERS: dict[str, type[Tokenizer]] = {
    "word": WordTokenizer,
    "char": CharTokenizer,
    "whitespace": WhitespaceTokenizer,
}


def make_tokenizer(name: str, lowercase: bool = False) -> Tokenizer:
    """The tokenizer with that name; ValueError with the nearest name if there is none."""
    return TOKENIZERS[choice("tokenizer", name, TOKENIZERS)](lowercase)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, and how often each occurs in the training text."""

    tokens: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def build(
        cls,
        tokens: Iterable[str],
        specials: Sequence[str] = (UNKNOWN,),
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """``specials`` first, then the tokens that occur at least ``min_count`` times, most frequent first.

        Tokens with the same count are in alphabetical order. ``max_size`` includes the specials. The tokens
        left out add to the count of ``<unk>``, the first special.
        """
        counter = Counter(tokens)
        total = sum(counter.values())
        seen_specials = [counter.pop(special, 0) for special in specials]
        ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
        room = len(ranked) if max_size is None else max(max_size - len(specials), 0)
        kept = [item for item in ranked[:room] if item[1] >= min_count]
        counts = [*seen_specials, *(count for _, count in kept)]
        counts[0] += total - sum(counts)
        return cls((*specials, *(token for token, _ in kept)), tuple(counts))

    def encode(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N tokens; 0 for tokens outside the vocabulary."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        return np.fromiter((ids.get(token, 0) for token in tokens), np.int64, len(tokens))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [self.tokens[i] for i in ids]
