"""CIDEr-D: how much a caption says what most people say of a picture, and of few other pictures.

R. Vedantam, C. L. Zitnick and D. Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gatewise.kinds.tokens import END_OF_LINE, WordTokenizer

ORDER = 4
"""The longest n-grams."""
SIGMA = 6.0
"""How much of a difference in length is forgiven, in words."""
SCALE = 10.0
_Grams = Counter[tuple[str, ...]]


class Cider:
    """Scores captions of pictures against their ``references``; how rare an n-gram is, these say as well.

    Words are in lower case and without signs. With N pictures, an n-gram g of the references of df(g)
    pictures weighs ln(N / max(df(g), 1)). The score of a caption is 10 times the mean over n = 1 to 4 and the
    picture's references of the cosine between the weighted counts of n-grams, those of the caption clipped to
    the reference's, times exp(-(difference in length)² / 2·6²): CIDEr-D with the constants of the authors'
    code, and all words as they are written (it stems none either).
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._tokenizer = WordTokenizer(lowercase=True)
        documents: _Grams = Counter()
        for captions in references:
            documents.update({gram for text in captions for gram in self._grams(self._words(text))})
        self._documents, self._logarithm = documents, math.log(max(len(references), 1))

    def scores(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """The score of each caption against its own references, from 0 to 10 and mostly below 2."""
        return [self._score(text, right) for text, right in zip(captions, references, strict=True)]

    def _words(self, text: str) -> list[str]:
        words = self._tokenizer.tokenize(text)
        return [word for word in words if word != END_OF_LINE and any(map(str.isalnum, word))]

    @staticmethod
    def _grams(words: Sequence[str]) -> _Grams:
        return Counter(
            tuple(words[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(words) - n + 1)
        )

    def _weighted(self, words: Sequence[str]) -> list[dict[tuple[str, ...], float]]:
        """The weights of the n-grams of each length."""
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
        for gram, count in self._grams(words).items():
            rarity = self._logarithm - math.log(max(self._documents[gram], 1))
            weights[len(gram) - 1][gram] = count * rarity
        return weights

    def _score(self, text: str, references: Sequence[str]) -> float:
        words = self._words(text)
        own = self._weighted(words)
        total = 0.0
        for reference in references:
            right = self._words(reference)
            alike = sum(map(_alike, own, self._weighted(right)))
            total += alike / ORDER * math.exp(-((len(words) - len(right)) ** 2) / (2 * SIGMA**2))
        return SCALE * total / len(references)


def _alike(own: dict[tuple[str, ...], float], right: dict[tuple[str, ...], float]) -> float:
    """The cosine between two weighted counts, where the first counts no more than the second."""
    norms = math.hypot(*own.values()) * math.hypot(*right.values())
    common = sum(min(weight, right[gram]) * right[gram] for gram, weight in own.items() if gram in right)
    return common / norms if norms else 0.0
