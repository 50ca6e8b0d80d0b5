"""The page of the gate microscope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.views.offline.document import document

SCRIPTS = (
    "state.js",
    "data.js",
    "labels.js",
    "heatmap.js",
    "ribbon.js",
    "tables.js",
    "view.js",
    "overview.js",
    "gates.js",
    "memory.js",
    "follow.js",
    "answer.js",
    "plots.js",
    "main.js",
)
"""In the order in which they use each other."""


def page(values: Mapping[str, Any]) -> str:
    """The HTML of one or two inspected models, as the payload of an inspection holds them."""
    return document(values, "gatewise.views.inspect.assets", SCRIPTS, colored=True)
