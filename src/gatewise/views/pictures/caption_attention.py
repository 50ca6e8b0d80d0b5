"""Where each word of a caption attended to in its picture."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray

from gatewise.settings import one_line
from gatewise.views.pictures.figure import heading, write_picture

IN_A_ROW = 9
"""Panels side by side: the picture, and the words."""
MOST_WORDS = 53
LONGEST_WORD = 14
INCHES = 1.15
"""Side of a panel."""
_LEFT, _GAP, _WORD = 0.1, 0.08, 0.2
"""Inches left of the panels, between them, and above each for its word."""


def draw(data: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw some pictures, each followed by itself under the attention of every word of its caption.

    What a word did not attend to is dark, and what it attended to most is as bright as it is.
    """
    shown = [_Example(example) for example in data]
    width = 2 * _LEFT + IN_A_ROW * (INCHES + _GAP)
    top = 0.55
    height = top + sum(example.height for example in shown) + 0.1
    figure = Figure(figsize=(width, height))
    what = "where each word of the caption attended to"
    figure.suptitle(one_line(heading(title, what, 3)), fontsize=10, y=1 - 0.1 / height, va="top")
    above = top
    for example in shown:
        example.draw(figure, above)
        above += example.height
    write_picture(path, figure)


class _Example:
    def __init__(self, example: Mapping[str, Any]) -> None:
        rows, columns = example["grid"]
        self.words = [_name(word) for word in example["written"][:MOST_WORDS]]
        weights = np.array(example["weights"][: len(self.words)], dtype=float)
        self.maps = weights.reshape(len(self.words), rows, columns)
        self.image = _pixels(example.get("image"))
        self.lines = -(-(len(self.words) + 1) // IN_A_ROW)
        texts = [
            f"{name}: {one_line(str(example[name]))}"
            for name in ("picture", "caption", "reference")
            if example.get(name)
        ]
        self.text = [line for text in texts for line in _wrapped(text)]
        self.height = self.lines * (INCHES + _WORD + _GAP) + 0.13 * len(self.text) + 0.15

    def draw(self, figure: Figure, above: float) -> None:
        """Draw the panels and the texts so many inches below the top of the figure."""
        for number in range(len(self.words) + 1):
            line, place = divmod(number, IN_A_ROW)
            axes = self._panel(figure, place, above + line * (INCHES + _WORD + _GAP) + _WORD)
            if number == 0:
                if self.image is not None:
                    axes.imshow(self.image, aspect="auto")
                else:
                    axes.text(0.5, 0.5, "maps of\nfeatures", ha="center", va="center", fontsize=7)
                continue
            axes.set_title(self.words[number - 1], fontsize=8, pad=2)
            if self.image is not None:
                axes.imshow(self._lit(self.image, self.maps[number - 1]), aspect="auto")
            else:
                axes.imshow(self.maps[number - 1], cmap="gray", vmin=0, aspect="auto")
        below = above + self.lines * (INCHES + _WORD + _GAP)
        width, height = figure.get_size_inches()
        figure.text(
            _LEFT / width,
            1 - below / height,
            "\n".join(self.text),
            fontsize=7,
            va="top",
            parse_math=False,
        )

    @staticmethod
    def _panel(figure: Figure, place: int, above: float) -> Axes:
        width, height = figure.get_size_inches()
        left = _LEFT + place * (INCHES + _GAP)
        axes = figure.add_axes((left / width, 1 - (above + INCHES) / height, INCHES / width, INCHES / height))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    @staticmethod
    def _lit(image: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
        """The picture, each pixel as bright as the place around it was attended to."""
        light = weights / max(float(weights.max()), 1e-9)
        lit = _spread(light, image.shape[0], image.shape[1])[:, :, None]
        shown: NDArray[Any] = image * (0.12 + 0.88 * lit)
        return shown


def _spread(weights: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """A map [R, C] as one of height and width, linear between the middles of its places."""
    for axis, size in enumerate((height, width)):
        count = weights.shape[axis]
        at = (np.arange(size) + 0.5) * count / size - 0.5
        below = np.clip(np.floor(at).astype(int), 0, count - 1)
        after = np.minimum(below + 1, count - 1)
        share = np.clip(at - below, 0, 1)
        share = share[:, None] if axis == 0 else share
        weights = (1 - share) * weights.take(below, axis) + share * weights.take(after, axis)
    return weights


def _pixels(image: str | None) -> NDArray[Any] | None:
    """Pixels [H, W, 3] from 0 to 1 of a PNG file in base64."""
    if image is None:
        return None
    pixels = np.asarray(imread(io.BytesIO(base64.b64decode(image)), format="png"), dtype=float)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, 2)
    return pixels[:, :, :3]


def _wrapped(text: str) -> list[str]:
    width = int(IN_A_ROW * INCHES / 0.055)
    short = textwrap.shorten(text, 2 * width, placeholder=" …")
    return textwrap.wrap(short, width, subsequent_indent="  ")


def _name(word: Any) -> str:
    """A word in one line, and cut if it is long."""
    name = one_line(str(word)).strip()
    return name if len(name) <= LONGEST_WORD else f"{name[: LONGEST_WORD - 1]}…"
