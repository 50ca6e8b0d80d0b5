"""BLEU and chrF of translations, from counts that add up exactly over batches and processes.

BLEU: K. Papineni, S. Roukos, T. Ward and W.-J. Zhu, "BLEU: a Method for Automatic Evaluation of Machine
Translation", ACL 2002, counted by sacreBLEU (M. Post, "A Call for Clarity in Reporting BLEU Scores", 2018).
chrF: M. Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gatewise.tasks.scores import Measure
from gatewise.tasks.summed import SummedCounts

ORDER = 4
"""The longest word n-grams of BLEU."""
CHARACTERS = 6
"""The longest character n-grams of chrF."""
BETA = 2
"""How much more recall counts than precision in chrF."""
_OF_BLEU = 2 + 2 * ORDER
_OF_CHRF = 3 * CHARACTERS
COLUMNS = 2 * _OF_BLEU + _OF_CHRF
"""Counts of a text."""


def statistics(translations: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
    """What the scores of B translations are computed from: counts [B, 38] int64, to be summed over rows.

    ``references`` has one right translation or more for each. The columns are those of BLEU on the texts as
    they are, of BLEU in lower case, and of chrF.
    """
    rows = [
        [*_of_bleu(text, given, False), *_of_bleu(text, given, True), *_of_chrf(text, given)]
        for text, given in zip(translations, references, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), COLUMNS)


def measures() -> Mapping[str, Measure]:
    """BLEU, BLEU in lower case, and chrF; each metric is updated with :func:`statistics`."""
    said = "n-gram precision against the references, times a penalty for short texts, from 0 to 100"
    return {
        "bleu": Measure(
            f"BLEU of the text as it is written: {said}; higher is better ({signature(False)})",
            SummedCounts(0, _OF_BLEU, _bleu),
        ),
        "bleu_lower": Measure(
            f"BLEU of the text in lower case, split into words by sacreBLEU; higher is better "
            f"({signature(True)})",
            SummedCounts(_OF_BLEU, 2 * _OF_BLEU, _bleu),
        ),
        "chrf": Measure(
            "chrF2: F-score of character n-grams up to 6, recall counted twice, from 0 to 100; higher is "
            "better",
            SummedCounts(2 * _OF_BLEU, COLUMNS, _chrf),
        ),
    }


@cache
def signature(lowercase: bool) -> str:
    """What sacreBLEU says of how it counts, for one reference each."""
    metric = _counter(lowercase, False)
    metric.corpus_score(["a"], [["a"]])
    return str(metric.get_signature())


@cache
def _counter(lowercase: bool, effective_order: bool = True) -> Any:
    """Counts the n-grams of one sentence at a time, for which sacreBLEU wants ``effective_order``."""
    from sacrebleu.metrics import BLEU

    return BLEU(lowercase=lowercase, effective_order=effective_order)


def _of_bleu(text: str, references: Sequence[str], lowercase: bool) -> list[int]:
    """Words of the text, words of the nearest reference, right n-grams and all n-grams of 1 to 4 words."""
    found = _counter(lowercase).sentence_score(text, references)
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]


def _bleu(sums: list[int]) -> float:
    from sacrebleu.metrics import BLEU

    own, theirs, counts, totals = sums[0], sums[1], sums[2 : 2 + ORDER], sums[2 + ORDER :]
    found = BLEU.compute_bleu(counts, totals, own, theirs, smooth_method="exp", max_ngram_order=ORDER)
    return float(found.score)


def _grams(text: str) -> list[Counter[str]]:
    """The character n-grams of 1 to 6 characters, white space left out."""
    packed = "".join(text.split())
    return [Counter(packed[i : i + n] for i in range(len(packed) - n + 1)) for n in range(1, CHARACTERS + 1)]


def _of_chrf(text: str, references: Sequence[str]) -> list[int]:
    """n-grams of the text, of the reference, and common ones, by n; of the reference that scores best."""
    own = _grams(text)
    rows = []
    for reference in references:
        theirs = _grams(reference)
        both = [a & b for a, b in zip(own, theirs, strict=True)]
        # As sacreBLEU has it, a text that is too short for an n-gram does not count against the reference.
        row = [
            count
            for a, b, common in zip(own, theirs, both, strict=True)
            for count in (a.total() if b else 0, b.total(), common.total())
        ]
        rows.append(row)
    return max(rows, key=_chrf)


def _chrf(sums: list[int]) -> float:
    shares = [
        (common / own, common / theirs)
        for own, theirs, common in zip(sums[::3], sums[1::3], sums[2::3], strict=True)
        if own and theirs
    ]
    if not any(common for common in sums[2::3]):
        return 0.0
    precision, recall = (sum(values) / len(shares) for values in zip(*shares, strict=True))
    weight = float(BETA**2)
    return float(100 * (1 + weight) * precision * recall / (weight * precision + recall))
