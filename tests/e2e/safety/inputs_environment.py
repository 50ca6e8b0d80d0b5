"""Environments, streams and limits of odd machines."""

from __future__ import annotations

from collections.abc import Iterator

from harness import Input


def of_environments() -> Iterator[Input]:
    """Nothing yet."""
    yield from ()
