"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.views.offline.document import document

SCRIPTS = (
    "state.js",
    "data.js",
    "kinds.js",
    "filter.js",
    "statistics.js",
    "table.js",
    "curves.js",
    "groups.js",
    "sweeps.js",
    "reports.js",
    "pair.js",
    "main.js",
)
"""In the order in which they use each other."""
WATCH = "watch.js"


def page(values: Mapping[str, Any], watched: bool = False) -> str:
    """The HTML of what :func:`gatewise.views.compare.payload.payload` holds.

    ``watched`` is whether it asks the program that serves it for changes.
    """
    scripts = (*SCRIPTS, *([WATCH] * watched))
    return document(values, "gatewise.views.compare.assets", scripts, watched)
