"""Tokenizers and vocabularies: text to tokens to ids, and back to readable text."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from gatewise.settings import choice

UNKNOWN = "<unk>"
"""Stands for every token outside the vocabulary; always id 0."""
END_OF_LINE = "<eos>"
"""Ends every line that is not blank, if the tokens are words."""


Normalization = Literal["NFC", "NFKC"]


class Tokenizer:
    """Splits text into tokens.

    Args:
        lowercase: whether the text is lower-cased first.
        normalize: the Unicode normal form that the text is brought to before, so that letters that look the
            same are the same; None leaves it as it is.
        marks: whether combining marks belong to the words; runs of earlier versions cut words at them.
    """

    specials: tuple[str, ...] = (UNKNOWN,)
    """Tokens that every vocabulary contains, in the order of their ids."""

    def __init__(self, lowercase: bool = False, normalize: str | None = None, marks: bool = True) -> None:
        self.lowercase, self.normalize, self.marks = lowercase, normalize, marks

    def prepared(self, text: str) -> str:
        """The text in the normal form and the case in which it is split."""
        if self.normalize is not None:
            form = choice("normalize", self.normalize, get_args(Normalization))
            text = unicodedata.normalize(cast("Normalization", form), text)
        return text.lower() if self.lowercase else text

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        raise NotImplementedError

    def detokenize(self, tokens: Iterable[str]) -> str:
        """Readable text; the spaces are a guess, except for characters."""
        raise NotImplementedError


class CharTokenizer(Tokenizer):
    """Every character is a token, including line ends."""

    def tokenize(self, text: str) -> list[str]:
        return list(self.prepared(text))

    def detokenize(self, tokens: Iterable[str]) -> str:
        return "".join("\N{REPLACEMENT CHARACTER}" if token == UNKNOWN else token for token in tokens)


class WhitespaceTokenizer(Tokenizer):
    """For text that is tokenised already (Penn Treebank, WikiText): splits at white space."""

    specials = (UNKNOWN, END_OF_LINE)

    def pattern(self) -> re.Pattern[str]:
        """What a token looks like."""
        return re.compile(r"\S+")

    def tokenize(self, text: str) -> list[str]:
        tokens: list[str] = []
        pattern = self.pattern()
        for line in self.prepared(text).split("\n"):
            words = pattern.findall(line)
            if words:
                tokens += words
                tokens.append(END_OF_LINE)
        return tokens

    def detokenize(self, tokens: Iterable[str]) -> str:
        return _joined_lines(" ".join(tokens))


class WordTokenizer(WhitespaceTokenizer):
    """Splits into words with inner apostrophes and hyphens (``brother’s``), numbers, and other signs.

    A word is letters, digits and the marks that combine with them (vowel signs, points, accents) or join
    them; a script without spaces, such as Thai, gives one word for each run of letters. Another sign is a
    token of its own with its marks, and so is an emoji of several characters.
    """

    def pattern(self) -> re.Pattern[str]:
        if not self.marks:
            return re.compile(rf"{UNKNOWN}|\d+(?:[.,]\d+)+|\w+(?:['’-]\w+)*|[^\w\s]")
        return _word_pattern()

    def detokenize(self, tokens: Iterable[str]) -> str:
        text = " ".join(_paired_quotes(tokens))
        text = re.sub(r" ([.,;:!?%)\]}”’…])", r"\1", text)
        text = re.sub(r"([(\[{“‘$£€]) ", r"\1", text)
        return _joined_lines(text)


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """``\\w`` of Python's has no combining marks, so that they are added from the Unicode database."""
    marks = _ranges(_characters("Mn", "Mc", "Me"))
    # Invisible signs such as SOFT HYPHEN and ZERO WIDTH NON-JOINER, where they are inside a word. ZERO WIDTH
    # JOINER may also end one, and ZERO WIDTH SPACE separates words.
    inside = _ranges(_characters("Cf") - {"\u200b", "\u200d"})
    part = rf"\w[\w{marks}\u200d]*"
    word = rf"{part}(?:[{inside}]+{part})*"
    # With skin tones, and the letters of regions' flags.
    sign = rf"[^\w\s\u200b][{marks}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
    flag = "[\U0001f1e6-\U0001f1ff]{2}"
    return re.compile(
        rf"{UNKNOWN}|\d+(?:[.,]\d+)+(?![\d{marks}])|{word}(?:['’\u05f3\u05f4-]{word})*"
        rf"|{flag}|{sign}(?:\u200d{sign})*"
    )


def _characters(*categories: str) -> set[str]:
    """Every character of some categories of marks and signs; ideographs, which have none, are left out."""
    codes = itertools.chain(range(0x20000), range(0xE0000, 0xE0200))
    return {c for c in map(chr, codes) if unicodedata.category(c) in categories}


def _ranges(characters: Iterable[str]) -> str:
    """The inside of a character class."""
    codes = sorted(map(ord, characters))
    starts = [code for code, before in zip(codes, [-2, *codes], strict=False) if code != before + 1]
    ends = [code for code, after in zip(codes, [*codes[1:], -2], strict=True) if code != after - 1]
    return "".join(f"\\U{start:08x}-\\U{end:08x}" for start, end in zip(starts, ends, strict=True))


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


def make_tokenizer(
    name: str, lowercase: bool = False, normalize: str | None = None, marks: bool = True
) -> Tokenizer:
    """The tokenizer with that name; ValueError with the nearest name if there is none."""
    return TOKENIZERS[choice("tokenizer", name, TOKENIZERS)](lowercase, normalize, marks)


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
        return cls.of_counts(Counter(tokens), specials, min_count, max_size)

    @classmethod
    def of_counts(
        cls,
        counts: Mapping[str, int],
        specials: Sequence[str] = (UNKNOWN,),
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """As :meth:`build`, from how often each token occurs."""
        left = dict(counts)
        seen_specials = [left.pop(special, 0) for special in specials]
        ranked = sorted(left.items(), key=lambda item: (-item[1], item[0]))
        room = len(ranked) if max_size is None else max(max_size - len(specials), 0)
        kept = [item for item in ranked[:room] if item[1] >= min_count]
        kept_counts = [*seen_specials, *(count for _, count in kept)]
        kept_counts[0] += sum(counts.values()) - sum(kept_counts)
        return cls((*specials, *(token for token, _ in kept)), tuple(kept_counts))

    def encode(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Ids [N] int64 of N tokens; 0 for tokens outside the vocabulary."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        return np.fromiter((ids.get(token, 0) for token in tokens), np.int64, len(tokens))

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return [self.tokens[i] for i in ids]
