"""Where a translation attended to in its source."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gatewise.settings import one_line
from gatewise.views.pictures.figure import write_picture

MOST_TOKENS = 60
"""Tokens of a side that are drawn."""
LONGEST_TOKEN = 16
INCHES = 0.21
"""Side of a square."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the weights of some sentences, a map each, its columns the tokens read, its rows those written."""
    shown = [_Map(sentence) for sentence in data] or [_Map({"read": [], "written": [], "weights": []})]
    widths = [each.width for each in shown]
    words = f"{title}: attention of each token written (rows) to those read (columns)"
    heading = textwrap.wrap(one_line(words), int(sum(widths) / 0.085), break_long_words=True)
    top = 0.15 + 0.17 * len(heading)
    figure = Figure(figsize=(sum(widths), top + max(each.height for each in shown)))
    figure.suptitle("\n".join(heading), fontsize=10, y=1 - 0.08 / figure.get_figheight(), va="top")
    left = 0.0
    for each, width in zip(shown, widths, strict=True):
        each.draw(figure, left / sum(widths), width / sum(widths), top)
        left += width
    write_picture(path, figure)


class _Map:
    def __init__(self, sentence: Mapping[str, Any]) -> None:
        self.columns = [_name(token) for token in sentence["read"][:MOST_TOKENS]]
        self.rows = [_name(token) for token in sentence["written"][:MOST_TOKENS]]
        weights = [row[: len(self.columns)] for row in sentence["weights"][: len(self.rows)]]
        self.weights = np.array(weights, dtype=float).reshape(len(self.rows), len(self.columns))
        self.left = 0.3 + 0.075 * max(map(len, self.rows), default=0)
        self.top = 0.3 + 0.075 * max(map(len, self.columns), default=0)
        self.width = max(self.left + INCHES * len(self.columns) + 0.2, 4.0)
        width = int(self.width / 0.072)
        named = (
            (name, one_line(str(sentence.get(name, "")))) for name in ("source", "translation", "reference")
        )
        self.texts = [line for name, text in named if text for line in _wrapped(f"{name}: {text}", width)]
        self.below = 0.15 + 0.14 * len(self.texts)
        self.height = self.top + INCHES * len(self.rows) + self.below

    def draw(self, figure: Figure, left: float, width: float, top: float) -> None:
        whole = figure.get_figheight()
        height = INCHES * max(len(self.rows), 1)
        place = (
            left + self.left / self.width * width,
            1 - (top + self.top + height) / whole,
            INCHES * max(len(self.columns), 1) / self.width * width,
            height / whole,
        )
        axes = figure.add_axes(place)
        if self.weights.size:
            axes.imshow(self.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(self.columns)), self.columns, rotation=90, fontsize=8)
        axes.set_yticks(range(len(self.rows)), self.rows, fontsize=8)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=2)
        bottom = place[1] - 0.1 / whole
        text = "\n".join(self.texts)
        figure.text(left + 0.1 / self.width * width, bottom, text, fontsize=7, va="top", parse_math=False)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(textwrap.shorten(text, 3 * width, placeholder=" …"), width, subsequent_indent="  ")


def _name(token: Any) -> str:
    """A token in one line, and cut if it is long."""
    name = one_line(str(token)).strip()
    return name if len(name) <= LONGEST_TOKEN else f"{name[: LONGEST_TOKEN - 1]}…"
