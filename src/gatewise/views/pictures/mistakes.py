"""The mistakes of which a classification of texts was most certain."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import write_picture

LISTED = 15
WIDTH = 110
"""Letters of a line."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Write the first mistakes one below the other: what was said, what is true, and the text."""
    lines: list[str] = []
    for mistake in data[:LISTED]:
        said = f"{mistake['predicted']} ({float(mistake['probability']):.3f}), in truth {mistake['true']}"
        text = textwrap.shorten(one_line(str(mistake["text"])), 2 * WIDTH, placeholder=" …")
        lines += [one_line(said), *("    " + line for line in textwrap.wrap(text, WIDTH)), ""]
    lines = lines or ["none"]
    figure = Figure(figsize=(9, 0.8 + 0.17 * len(lines)))
    figure.suptitle(f"{title}\nmost certain mistakes of the test", fontsize=10)
    # Not as mathematics, which a text with dollar signs would be.
    figure.text(
        0.02, 0.3 / (0.8 + 0.17 * len(lines)), "\n".join(lines), fontsize=8, va="bottom", parse_math=False
    )
    write_picture(path, figure)
