"""Prepared parallel text that is kept for the next training, by its content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
import unicodedata
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data import classes, flat
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

log = logging.getLogger(__name__)

FORGOTTEN = 60 * 24 * 60 * 60
"""Seconds after which a text that no training has used makes room."""


def prepared_once(
    folder: Path | None, files: Sequence[Path], making: Making, split: Any, prepare: Callable[[], Prepared]
) -> Prepared:
    """What ``prepare`` makes of ``files``, kept in ``folder`` for the next time.

    ``split`` has the settings that decide which pair is in which part. Where the folder is None, cannot be
    used or holds something damaged, the text is prepared anew.
    """
    if folder is None:
        return prepare()
    place = folder / "pairs" / f"{_key(files, making, split)}.npz"
    found = _read(place)
    if found is not None:
        return found
    made = prepare()
    try:
        _write(place, made)
    except OSError as error:
        log.warning("%s cannot be used (%s): the text is prepared anew the next time", place.parent, error)
    return made


def _key(files: Sequence[Path], making: Making, split: Any) -> str:
    """What a prepared text is known by: its content, what is done with it, and the code that does it."""
    about = [[checksum(file) for file in files], asdict(making), split, _code()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _code() -> list[str]:
    """The files that decide the ids, and the characters that Python knows."""
    modules = (
        classes, flat, documents, pairs, parallel_corpora, parallel_prepared, parallel_set, parts, tables,
        tokenized, vocabularies, parallel_text, subwords, tokens,
    )  # fmt: skip
    return [*(checksum(Path(str(module.__file__))) for module in modules), unicodedata.unidata_version]


def _write(place: Path, prepared: Prepared) -> None:
    """Put a text in its place whole, and remove what nobody has used for long."""
    texts = {
        name: [part.pairs.sources, part.pairs.references]
        for name, part in prepared.parts.items()
        if part.pairs is not None
    }
    about = {"facts": prepared.facts.to_dict(), "told": dict(prepared.told), "texts": texts}
    arrays: dict[str, NDArray[Any]] = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    for name, part in prepared.parts.items():
        for side, numbers in (("source", part.source), ("target", part.target)):
            arrays |= {f"{name}_{side}_ids": numbers.ids, f"{name}_{side}_lengths": numbers.lengths}
    place.parent.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > FORGOTTEN:
                other.unlink()
    part_place = place.with_name(f".{place.stem}.{os.getpid()}.npz")
    try:
        np.savez(part_place, allow_pickle=False, **arrays)
        part_place.replace(place)
    finally:
        part_place.unlink(missing_ok=True)


def _read(place: Path) -> Prepared | None:
    """The text that was kept; None where there is none, or it is damaged."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays["about"].tobytes())
        facts = facts_from_dict(about["facts"])
        if not isinstance(facts, ParallelTextFacts):
            raise ValueError(f"it has facts of {facts.kind}")
        parts = {name: _part(name, arrays, facts, about["texts"]) for name in PARTS}
        told = {str(name): int(value) for name, value in about["told"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s): the text is prepared anew", place, str(error).split("\n", 1)[0])
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # used last
    return Prepared(facts, parts, told)


def _part(
    name: str, arrays: Mapping[str, Any], facts: ParallelTextFacts, texts: Mapping[str, Any]
) -> TextPairs:
    source, target = (
        Numbers(arrays[f"{name}_{side}_ids"], arrays[f"{name}_{side}_lengths"])
        for side in ("source", "target")
    )
    if name not in texts:
        return TextPairs(source, target, facts)
    sources, references = texts[name]
    return TextPairs(source, target, facts, Pairs(sources, [tuple(right) for right in references]))
