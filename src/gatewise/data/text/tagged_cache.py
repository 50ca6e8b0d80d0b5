"""Prepared sentences with tags that are kept for the next training, by their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data import classes
from gatewise.data.kept import Arrays
from gatewise.data.text import columns, parts, sentences, tagged_corpora, tokenized, vocabularies
from gatewise.data.text.kept_texts import Kept
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds import tag_schemes, tagged_text, tokens
from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.tagged_text import TaggedTextFacts


@dataclass(frozen=True)
class Prepared:
    """Sentences with tags as numbers, by part."""

    facts: TaggedTextFacts
    sentences: Mapping[str, Tokenized]
    targets: Mapping[str, NDArray[np.int64]]
    """[N] the tag id of each word."""
    usual: NDArray[np.int64] | None
    """[types] the most frequent tag id in training of each word of the test; None where it is not known."""
    told: list[str]
    """Lines of warning."""
    repeated: int = 0
    """How many test sentences are in the training part, word for word."""


def _stored(prepared: Prepared) -> tuple[Any, Arrays]:
    about = {
        "facts": prepared.facts.to_dict(),
        "types": {part: own.types for part, own in prepared.sentences.items()},
        "told": prepared.told,
        "repeated": prepared.repeated,
    }
    arrays: dict[str, Any] = {} if prepared.usual is None else {"usual": prepared.usual}
    for part, own in prepared.sentences.items():
        arrays |= {f"{part}_ids": own.ids, f"{part}_lengths": own.lengths}
        arrays[f"{part}_targets"] = prepared.targets[part]
    return about, arrays


def _read(about: Any, arrays: Arrays) -> Prepared:
    facts = facts_from_dict(about["facts"])
    if not isinstance(facts, TaggedTextFacts):
        raise ValueError(f"it has facts of {facts.kind}")
    own = {
        part: Tokenized(tuple(types), arrays[f"{part}_ids"], arrays[f"{part}_lengths"])
        for part, types in about["types"].items()
    }
    targets = {part: arrays[f"{part}_targets"] for part in own}
    return Prepared(facts, own, targets, arrays.get("usual"), about["told"], about["repeated"])


TAGGED_TEXT: Kept[Prepared] = Kept(
    "tagged",
    (
        classes, columns, parts, sentences, tagged_corpora, tokenized, vocabularies, tag_schemes, tagged_text,
        tokens,
    ),
    _stored,
    _read,
)  # fmt: skip
