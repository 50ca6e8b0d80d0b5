"""An HTML file with its data, scripts and styles inside, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

SHARED_SCRIPTS = ("elements.js", "address.js", "plot.js")
"""What every page has, in the order in which they use each other."""
COLORS = "colors.js"
"""What pages have besides that draw values as colors."""


def document(
    values: Mapping[str, Any],
    assets: str,
    scripts: Sequence[str],
    watched: bool = False,
    colored: bool = False,
) -> str:
    """The HTML of a page whose script reads ``values``, of which ``title`` is one.

    ``assets`` is the package with the page's own ``scripts``, in the order in which they use each other, and
    its ``style.css``. The first of them sets ``USUAL``, what the page's address leaves out. ``watched`` is
    whether the page asks the program that serves it for anything, and ``colored`` whether it draws values as
    colors.
    """
    vendored = files("gatewise.views.vendor.uplot")
    shared, own = files("gatewise.views.offline.assets"), files(assets)
    first, *others = [own.joinpath(name).read_text("utf-8") for name in scripts]
    common = [shared.joinpath(name).read_text("utf-8") for name in (*SHARED_SCRIPTS, *([COLORS] * colored))]
    codes = [vendored.joinpath("uPlot.iife.min.js").read_text("utf-8"), "\n".join([first, *common, *others])]
    styles = [
        vendored.joinpath("uPlot.min.css").read_text("utf-8"),
        shared.joinpath("style.css").read_text("utf-8"),
        own.joinpath("style.css").read_text("utf-8"),
    ]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_source, codes))}",
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
        *(f"<script>{script}</script>" for script in codes),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts)


def to_json(values: Any) -> str:
    """JSON without a character by which HTML or a script could end; NaN and infinities become null."""
    text = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half of a surrogate pair, which no UTF-8 file can hold.
    return text.encode("utf-8", "replace").decode()


def _source(text: str) -> str:
    """How a policy names an inline script or style that may be used: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values
