"""Traces that outlive their process: tracing takes a second of imports."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from gatewise.cells import Cell
from gatewise.engine import cache
from gatewise.engine.traced.fingerprint import fingerprint
from gatewise.engine.traced.record import from_json, to_json
from gatewise.engine.traced.trace import Trace, trace


class Traced(NamedTuple):
    """A cell's trace, and where it is kept."""

    trace: Trace
    file: str | None
    """Its name in the cache; None where it cannot be kept."""
    is_tried: bool
    """Whether it comes from the cache, where only what was tried against the loop is put."""

    def keep(self) -> None:
        """Put a trace into the cache that has the loop's results."""
        if self.file is not None and not self.is_tried:
            cache.store(self.file, to_json(self.trace).encode())


def traced(
    engine: str, cell: Cell, hidden_size: int, dtype: torch.dtype, gate_names: Sequence[str] = ()
) -> Traced:
    """The cell's trace for an engine, from the cache where it is there. Raises Unsupported as ``trace`` does.

    Each engine keeps those that it has tried itself. ``gate_names`` are as in ``trace``.
    """
    digest = fingerprint(cell)
    if digest is None:
        return Traced(trace(cell, hidden_size, dtype, gate_names), None, False)
    words = f"{engine} {digest} {hidden_size} {dtype}" + (" and its gates" if gate_names else "")
    key = hashlib.sha256(words.encode()).hexdigest()[:40]
    content = cache.cached(f"{key}.json")
    if content is not None:
        try:
            return Traced(from_json(content.decode(errors="replace")), f"{key}.json", True)
        except ValueError:  # written by another version
            pass
    return Traced(trace(cell, hidden_size, dtype, gate_names), f"{key}.json", False)
