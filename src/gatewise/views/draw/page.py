"""The page on which one writes with mouse or finger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.views.offline.document import document

SCRIPTS = ("state.js", "pen.js", "gates.js", "answer.js", "main.js")
"""In the order in which they use each other."""


def page(values: Mapping[str, Any]) -> str:
    """The HTML of a page for one run: its ``title``, ``version``, and whether one writes ``lines``."""
    return document(values, "gatewise.views.draw.assets", SCRIPTS, watched=True, colored=True)
