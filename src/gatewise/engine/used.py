"""Which engines ran the calls of a training: what ``auto`` took, and what stood in for another engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Used:
    """Names of the engines whose calls carried gradients."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.tried: set[str] = set()
        """Those that took a turn while ``auto`` measured which one is fastest."""

    @property
    def names(self) -> list[str]:
        """In alphabetical order; those that were only tried count where nothing was decided."""
        return sorted(self.taken or self.tried)


_watching: list[Used] = []


@contextmanager
def engines_used() -> Iterator[Used]:
    """Note the engines that run until the end of the block, in this process."""
    used = Used()
    _watching.append(used)
    try:
        yield used
    finally:
        _watching.remove(used)


def note(engine: str, only_tried: bool = False) -> None:
    """An engine has run a call, or was prepared for the next ones; without gradients it is no training."""
    if _watching and torch.is_grad_enabled():
        for used in _watching:
            (used.tried if only_tried else used.taken).add(engine)
