"""Prepared texts with labels that are kept for the next training, by their content."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data import classes
from gatewise.data.kept import Arrays, key_of, made_once
from gatewise.data.known.finding import checksum
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
from gatewise.data.text.parts import PARTS
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds import labelled_text, tokens
from gatewise.kinds.labelled_text import ReadTextFacts
from gatewise.kinds.reading import facts_from_dict

CODE = (
    classes, corpora, documents, log_ratios, naive_bayes, parquet, parts, tables, texts, tokenized,
    vocabularies, labelled_text, tokens,
)  # fmt: skip
"""The files that decide the ids, beside those of the data's own classes."""


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


def prepared_once(
    folder: Path,
    files: Mapping[str, Sequence[Path]],
    settings: Mapping[str, Any],
    kind: type,
    prepare: Callable[[], Prepared],
) -> Prepared:
    """What ``prepare`` makes of the ``files`` of each part, kept in ``folder`` for the next time.

    The ``settings`` decide what is made of them, beside the code of the class ``kind``.
    """
    # The names too: they may be those of classes.
    content = {
        part: [[path.parent.name, path.name, checksum(path)] for path in paths]
        for part, paths in files.items()
    }
    own = [sys.modules[each.__module__] for each in kind.__mro__ if each.__module__.startswith(__package__)]
    key = key_of([content, settings, kind.__name__], [*CODE, *own])
    return made_once(folder / "labelled" / f"{key}.npz", prepare, _stored, _read)


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
        {part: arrays[f"chosen_{part}"] for part in PARTS},
        {part: arrays[f"ratios_{part}"] for part in PARTS if f"ratios_{part}" in arrays},
        about["test_texts"],
        about["repeated"],
    )
