"""Parallel text made ready for training: its ids, the texts that are scored, the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatewise.data.text.pairs import Pairs
from gatewise.data.text.parallel_set import Numbers, TextPairs, numbered
from gatewise.data.text.parts import PARTS
from gatewise.data.text.vocabularies import languages
from gatewise.kinds.parallel_text import Language, ParallelTextFacts, Units
from gatewise.kinds.tokens import Normalization


@dataclass(frozen=True)
class Making:
    """The settings that decide how pairs become ids; of two values the first is the source's."""

    names: tuple[str, str]
    units: tuple[Units, Units]
    columns: tuple[str, str]
    joint: bool
    vocabulary_size: int | None
    min_count: int
    lowercase: bool
    normalize: Normalization | None
    max_length: int | None
    header: bool


@dataclass(frozen=True)
class Prepared:
    """The parts of parallel text."""

    facts: ParallelTextFacts
    parts: Mapping[str, TextPairs]
    """By name, as in ``PARTS``; all but the training part have their texts."""
    told: Mapping[str, int]
    """Numbers to tell: training pairs that are ``unpaired`` or ``too_long``, ``repeated`` test pairs."""


def prepare(
    parts: Mapping[str, Pairs], making: Making, facts: ParallelTextFacts | None, setting: str
) -> Prepared:
    """The parts as ids, with vocabularies of the training part, or those of ``facts``.

    Training loses pairs with an empty side and, by ``max_length``, long ones; no other part loses any. Raises
    ValueError, naming the ``setting`` that has the training part, where nothing is left to train on.
    """
    every = parts["train"].each_reference()
    learnt = every.filled()
    if not len(learnt):
        raise ValueError(f"data.{setting}: no training pair has text on both sides")
    targets = [target for (target,) in learnt.references]
    if facts is None:
        own, theirs = _languages(learnt.sources, targets, making)
    else:
        own, theirs = facts.source, facts.target
    source, target = numbered(learnt.sources, own), numbered(targets, theirs)
    longer = np.maximum(source.lengths, target.lengths) - 1
    most = longer.max() if making.max_length is None else making.max_length
    if longer.min() > most:
        raise ValueError(
            f"data.max_length={most}: every training pair has a side with more tokens: the shortest pair has "
            f"{int(longer.min())}"
        )
    kept = np.flatnonzero(longer <= most)
    source, target = source.select(kept), target.select(kept)
    if facts is None:
        facts = _facts(source, target, own, theirs, making)
    made = {"train": TextPairs(source, target, facts)}
    made |= {part: scored_pairs(parts[part], facts) for part in PARTS[1:]}
    seen = set(zip(learnt.sources, targets, strict=True))
    test = zip(parts["test"].sources, parts["test"].references, strict=True)
    told = {
        "unpaired": len(every) - len(learnt),
        "too_long": len(learnt) - len(kept),
        "repeated": sum(any((text, each) in seen for each in right) for text, right in test),
    }
    return Prepared(facts, made, told)


def scored_pairs(pairs: Pairs, facts: ParallelTextFacts) -> TextPairs:
    """A part that is scored: every pair of it, with its texts."""
    source = numbered(pairs.sources, facts.source)
    target = numbered([right[0] for right in pairs.references], facts.target)
    return TextPairs(source, target, facts, pairs)


def _languages(sources: Sequence[str], targets: Sequence[str], making: Making) -> tuple[Language, Language]:
    return languages(
        (sources, targets), making.names, making.units, making.joint, making.vocabulary_size,
        making.min_count, making.lowercase, making.normalize,
    )  # fmt: skip


def _facts(
    source: Numbers, target: Numbers, own: Language, theirs: Language, making: Making
) -> ParallelTextFacts:
    return ParallelTextFacts(
        source_language=own.name,
        target_language=theirs.name,
        source_vocabulary=own.vocabulary,
        target_vocabulary=theirs.vocabulary,
        source_counts=source.counts(len(own.vocabulary)),
        target_counts=target.counts(len(theirs.vocabulary)),
        source_units=own.units,
        target_units=theirs.units,
        joint=making.joint,
        lowercase=making.lowercase,
        normalize=making.normalize,
        longest_target=int(target.lengths.max()),
        source_subwords=own.stored_subwords,
        target_subwords=theirs.stored_subwords,
        source_column=making.columns[0],
        target_column=making.columns[1],
        header=making.header,
    )
