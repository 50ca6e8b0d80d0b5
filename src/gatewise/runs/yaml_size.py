"""Whether a YAML file is small enough to be read, which may have come from anywhere."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST, MOST_NODES = 100, 100_000
"""How deeply a stored YAML file may nest, and how many values it may have once its aliases are followed."""
LONGEST = 2**16
"""Characters that one key or value of it may have."""


def check_size(text: str) -> None:
    """Raise ValueError for YAML that nests too deeply, would grow too large by its aliases, or is none."""
    try:
        _check_events(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        _check_events(text, yaml.SafeLoader)  # which says better what is wrong


def _check_events(text: str, loader: Any) -> None:
    """Raise ValueError for YAML that nests too deeply or, by its aliases, would grow too large.

    Ten lines of aliases of aliases are a billion values. Nothing is built here: the values are counted.
    """
    counts = [0]  # of every collection that is open, outermost first
    anchors: list[str | None] = [None]
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            counts.append(1)
            anchors.append(event.anchor)
            if len(counts) > DEEPEST:
                raise ValueError(f"nested more than {DEEPEST} deep")
            continue
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise ValueError(f"{event.anchor} holds itself")
            size = sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = counts.pop(), anchors.pop()
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > LONGEST:
                raise ValueError(f"a key or value of more than {LONGEST:,} characters")
            size = 1
        else:
            continue
        counts[-1] += size
        if counts[-1] > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} values")
