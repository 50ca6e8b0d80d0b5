"""Prepared parallel text that is kept for the next training, by its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.data import classes, flat
from gatewise.data.kept import Arrays
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
from gatewise.data.text.kept_texts import Kept
from gatewise.data.text.pairs import Pairs
from gatewise.data.text.parallel_prepared import Prepared
from gatewise.data.text.parallel_set import Numbers, TextPairs
from gatewise.kinds import parallel_text, subwords, tokens
from gatewise.kinds.parallel_text import ParallelTextFacts
from gatewise.kinds.reading import facts_from_dict


def _stored(prepared: Prepared) -> tuple[Any, Arrays]:
    texts = {
        name: [part.pairs.sources, part.pairs.references]
        for name, part in prepared.parts.items()
        if part.pairs is not None
    }
    about: dict[str, Any] = {"facts": prepared.facts.to_dict(), "told": dict(prepared.told), "texts": texts}
    about["parts"] = list(prepared.parts)
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
    parts = {name: _part(name, arrays, facts, about["texts"]) for name in about["parts"]}
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


PARALLEL_TEXT: Kept[Prepared] = Kept(
    "pairs",
    (
        classes, flat, documents, pairs, parallel_corpora, parallel_prepared, parallel_set, parts, tables,
        tokenized, vocabularies, parallel_text, subwords, tokens,
    ),
    _stored,
    _read,
)  # fmt: skip
