"""Prepared parallel text that is kept for the next training, by its content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gatewise.data import classes, flat
from gatewise.data.kept import Arrays, key_of, made_once
from gatewise.data.known.finding import checksum
from gatewise.data.text import (
    documents,
    pairs,
    parallel_corpora,
    parallel_prepared,
    parallel_set,
    parts,
    tables,
    tokenized,
    vocabularies,
)
from gatewise.data.text.pairs import Pairs
from gatewise.data.text.parallel_prepared import Making, Prepared
from gatewise.data.text.parallel_set import Numbers, TextPairs
from gatewise.data.text.parts import PARTS
from gatewise.kinds import parallel_text, subwords, tokens
from gatewise.kinds.parallel_text import ParallelTextFacts
from gatewise.kinds.reading import facts_from_dict

CODE = (
    classes, flat, documents, pairs, parallel_corpora, parallel_prepared, parallel_set, parts, tables,
    tokenized, vocabularies, parallel_text, subwords, tokens,
)  # fmt: skip
"""The files that decide the ids."""


def prepared_once(
    folder: Path | None, files: Sequence[Path], making: Making, split: Any, prepare: Callable[[], Prepared]
) -> Prepared:
    """What ``prepare`` makes of ``files``, kept in ``folder`` for the next time.

    ``split`` has the settings that decide which pair is in which part. Where the folder is None, cannot be
    used or holds something damaged, the text is prepared anew.
    """
    if folder is None:
        return prepare()
    key = key_of([[checksum(file) for file in files], asdict(making), split], CODE)
    return made_once(folder / "pairs" / f"{key}.npz", prepare, _stored, _read)


def _stored(prepared: Prepared) -> tuple[Any, Arrays]:
    texts = {
        name: [part.pairs.sources, part.pairs.references]
        for name, part in prepared.parts.items()
        if part.pairs is not None
    }
    about = {"facts": prepared.facts.to_dict(), "told": dict(prepared.told), "texts": texts}
    arrays = {
        f"{name}_{side}_{what}": getattr(numbers, what)
        for name, part in prepared.parts.items()
        for side, numbers in (("source", part.source), ("target", part.target))
        for what in ("ids", "lengths")
    }
    return about, arrays


def _read(about: Any, arrays: Arrays) -> Prepared:
    facts = facts_from_dict(about["facts"])
    if not isinstance(facts, ParallelTextFacts):
        raise ValueError(f"it has facts of {facts.kind}")
    parts = {name: _part(name, arrays, facts, about["texts"]) for name in PARTS}
    return Prepared(facts, parts, {str(name): int(value) for name, value in about["told"].items()})


def _part(name: str, arrays: Arrays, facts: ParallelTextFacts, texts: Mapping[str, Any]) -> TextPairs:
    source, target = (
        Numbers(arrays[f"{name}_{side}_ids"], arrays[f"{name}_{side}_lengths"])
        for side in ("source", "target")
    )
    if name not in texts:
        return TextPairs(source, target, facts)
    sources, references = texts[name]
    return TextPairs(source, target, facts, Pairs(sources, [tuple(right) for right in references]))
