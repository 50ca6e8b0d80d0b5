"""Vocabularies, made from the training texts: of one, or of two languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gatewise.data.text.tokenized import tokenized
from gatewise.kinds.parallel_text import SPECIALS, Language, Units
from gatewise.kinds.subwords import Subwords
from gatewise.kinds.tokens import UNKNOWN, Normalization, Vocabulary, make_tokenizer

_Pair = tuple[Sequence[str], Sequence[str]]


def languages(
    texts: _Pair,
    names: tuple[str, str],
    units: tuple[Units, Units],
    joint: bool,
    size: int | None,
    min_count: int,
    lowercase: bool,
    normalize: Normalization | None,
) -> tuple[Language, Language]:
    """Source and target: the vocabulary of each side's texts, or ``joint`` one of both.

    ``size`` is the largest of each vocabulary. Raises ValueError where no word comes ``min_count`` times, or
    that size has no room for the least.
    """
    made: list[Language] = []
    for side in range(2):
        if side == 1 and joint:
            vocabulary, stored = made[0].vocabulary, made[0].stored_subwords
        else:
            own = [*texts[0], *texts[1]] if joint else texts[side]
            language = language_of(own, names[side], units[side], size, min_count, lowercase, normalize)
            vocabulary, stored = language.vocabulary, language.stored_subwords
        made.append(Language(names[side], vocabulary, units[side], lowercase, normalize, stored))
    return made[0], made[1]


def language_of(
    texts: Sequence[str],
    name: str,
    units: Units,
    size: int | None,
    min_count: int,
    lowercase: bool,
    normalize: Normalization | None,
) -> Language:
    """The language of some texts, with their vocabulary; see :func:`languages`."""
    vocabulary, stored = _vocabulary(texts, units, size, min_count, lowercase, normalize)
    return Language(name, vocabulary, units, lowercase, normalize, stored)


def vocabulary_of(
    seen: Mapping[str, int],
    min_count: int,
    most: int | None,
    specials: Sequence[str] = (UNKNOWN,),
    what: str = "tokens",
) -> Vocabulary:
    """The vocabulary of how often each token comes in training; ValueError where none comes often enough."""
    vocabulary = Vocabulary.of_counts(seen, specials, min_count, most)
    if len(vocabulary.tokens) == len(specials):
        raise ValueError(
            f"none of the {sum(seen.values())} training {what} comes {min_count} times or more, so that all "
            f"would be {UNKNOWN}: give more text or make data.min_count smaller"
        )
    return vocabulary


def _vocabulary(
    texts: Sequence[str],
    units: Units,
    size: int | None,
    min_count: int,
    lowercase: bool,
    normalize: Normalization | None,
) -> tuple[tuple[str, ...], str | None]:
    """The tokens by id, and the subwords to store where they are the units."""
    if units == "subword":
        assert size is not None, "check_units"
        try:
            subwords = Subwords.train(texts, size, SPECIALS, lowercase, normalize)
        except ValueError as error:
            raise ValueError(f"data.vocabulary_size={size}: {error}") from error
        return subwords.pieces, subwords.stored()
    split = tokenized(texts, make_tokenizer(units, lowercase, normalize))
    counts = np.bincount(split.ids, minlength=len(split.types)).tolist()
    # What a text writes as one of the marks is an unknown word.
    seen = Counter(dict(zip(split.types, counts, strict=True)))
    for special in SPECIALS[1:]:
        seen[UNKNOWN] += seen.pop(special, 0)
    return vocabulary_of(seen, min_count, size, SPECIALS).tokens, None
