"""One sequence of an input that may have many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from gatewise.kinds.kind import Input
from gatewise.kinds.tagged_text import TaggedTextBatch


def one_of(given: Input, number: int, key: str = "sequence") -> tuple[Input, str]:
    """The sequence with this number, from 1 on, and which of several it is in words.

    Raises ValueError, naming the setting ``key``, where there is none.
    """
    rows = len(given.batch[0])
    if number > rows:
        count = "1 sequence: leave it out" if rows == 1 else f"{rows:,} sequences: give 1 to {rows:,}"
        raise ValueError(f"{key}={number}: {given.name[:60]!r} has {count}")
    row = slice(number - 1, number)
    if isinstance(given.batch, TaggedTextBatch):  # some of its tensors have a row for each spelling
        batch: Any = given.batch.selected([number - 1])
    else:
        parts = [part[row] if isinstance(part, (Tensor, list, tuple)) else part for part in given.batch]
        batch = type(given.batch)(*parts)
    columns = {name: values[row] for name, values in given.columns.items()} if rows > 1 else given.columns
    return replace(given, batch=batch, columns=columns), (
        f", sequence {number} of {rows:,}" if rows > 1 else ""
    )
