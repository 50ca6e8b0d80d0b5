"""The page of a comparison: one HTML file with its data, scripts and style inside, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from gatewise.views.compare.payload import to_json

SCRIPTS = (
    "data.js",
    "address.js",
    "elements.js",
    "filter.js",
    "statistics.js",
    "table.js",
    "plot.js",
    "curves.js",
    "groups.js",
    "sweeps.js",
    "pair.js",
    "main.js",
)
"""In the order in which they use each other."""
WATCH = "watch.js"


def page(values: Mapping[str, Any], watched: bool = False) -> str:
    """The HTML of what :func:`gatewise.views.compare.payload.payload` holds.

    ``watched`` is whether it asks the program that serves it for changes.
    """
    vendored = files("gatewise.views.vendor.uplot")
    own = files("gatewise.views.compare.assets")
    scripts = [
        vendored.joinpath("uPlot.iife.min.js").read_text("utf-8"),
        "\n".join(own.joinpath(name).read_text("utf-8") for name in (*SCRIPTS, *([WATCH] * watched))),
    ]
    styles = [
        vendored.joinpath("uPlot.min.css").read_text("utf-8"),
        own.joinpath("style.css").read_text("utf-8"),
    ]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_source, scripts))}",
            f"style-src {' '.join(map(_source, styles))}",
            "img-src data: blob:",
            *(["connect-src 'self'"] * watched),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    title = html.escape(str(values["title"]))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>",
        *(f"<style>{style}</style>" for style in styles),
        "</head>",
        "<body>",
        "<noscript>This page draws its tables and curves by JavaScript; nothing is loaded from elsewhere."
        "</noscript>",
        f'<script type="application/json" id="data">{to_json(values)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts)


def _source(text: str) -> str:
    """How a policy names an inline script or style that may be used: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
