"""Prepared texts with labels that are kept for the next training, by their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data import classes
from gatewise.data.kept import Arrays
from gatewise.data.text import (
    corpora,
    documents,
    log_ratios,
    naive_bayes,
    parquet,
    parts,
    tables,
    texts,
    tokenized,
    vocabularies,
)
from gatewise.data.text.kept_texts import Kept
from gatewise.data.text.parts import PARTS
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds import labelled_text, tokens
from gatewise.kinds.labelled_text import ReadTextFacts
from gatewise.kinds.reading import facts_from_dict


@dataclass(frozen=True)
class Prepared:
    """Texts with labels, split into tokens and parts."""

    facts: Any
    split: Tokenized
    """The texts of all sources, one source after the other."""
    targets: NDArray[np.int64]
    """[N] or [N, questions]: their classes."""
    chosen: Mapping[str, NDArray[np.int64]]
    """The numbers of each part's texts."""
    ratios: Mapping[str, NDArray[np.float32]]
    """The log-count ratios of each part's tokens, where there are any."""
    test_texts: list[str]
    """The texts of the test part as they were read."""
    repeated: int
    """How many of them are in the training part, word for word."""


def _stored(prepared: Prepared) -> tuple[Any, Arrays]:
    split = prepared.split
    about = {
        "facts": prepared.facts.to_dict(),
        "types": split.types,
        "test_texts": prepared.test_texts,
        "repeated": prepared.repeated,
    }
    arrays: dict[str, Any] = {"ids": split.ids, "lengths": split.lengths, "targets": prepared.targets}
    arrays |= {f"chosen_{part}": chosen for part, chosen in prepared.chosen.items()}
    return about, arrays | {f"ratios_{part}": ratios for part, ratios in prepared.ratios.items()}


def _read(about: Any, arrays: Arrays) -> Prepared:
    facts = facts_from_dict(about["facts"])
    if not isinstance(facts, ReadTextFacts):
        raise ValueError(f"it has facts of {facts.kind}")
    return Prepared(
        facts,
        Tokenized(tuple(about["types"]), arrays["ids"], arrays["lengths"]),
        arrays["targets"],
        _by_part("chosen", arrays),
        _by_part("ratios", arrays),
        about["test_texts"],
        about["repeated"],
    )


def _by_part(what: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {part: arrays[f"{what}_{part}"] for part in PARTS if f"{what}_{part}" in arrays}


LABELLED: Kept[Prepared] = Kept(
    "labelled",
    (
        classes, corpora, documents, log_ratios, naive_bayes, parquet, parts, tables, texts, tokenized,
        vocabularies, labelled_text, tokens,
    ),
    _stored,
    _read,
)  # fmt: skip
