"""What a search has written about a batch's pictures: captions, rows of a table, maps of attention."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise.kinds.captions import CaptionBatch
from gatewise.tasks.written import Written

PART = 64
"""Pictures that are searched together."""


@dataclass(frozen=True)
class Captioned(Written):
    """The captions of a batch's pictures, with the weights of attention."""

    grid: tuple[int, int]
    """Rows and columns of the places that are attended to."""

    def name(self, row: int) -> str:
        """What a picture is called."""
        names = self.batch.names
        return "" if names is None else str(names[row])

    def example(self, row: int) -> dict[str, Any]:
        rows, columns = self.grid
        return {
            "picture": self.name(row),
            "caption": self.best[row],
            "reference": self.reference(row),
            "image": self._image(row),
            "grid": [rows, columns],
            "written": self.written(row),
            "weights": self.weights(row, 0, rows * columns),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for every caption of every picture."""
        for row, rank, text, scores in self.ranked():
            yield {"picture": self.name(row), "rank": rank + 1, "caption": text, **scores}

    def _image(self, row: int) -> str | None:
        """A picture as a PNG file in base64; None for maps, which show nothing."""
        if self.facts.form != "pixels":
            return None
        from PIL import Image

        pixels = np.moveaxis(self.batch.pictures[row].cpu().numpy(), 0, -1)
        content = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
        return base64.b64encode(content.getvalue()).decode("ascii")


def parts(batch: CaptionBatch) -> Iterator[CaptionBatch]:
    """What is predicted from, in parts of up to ``PART`` pictures, in their order."""
    for first in range(0, len(batch.indices), PART):
        rows = slice(first, first + PART)
        yield CaptionBatch(
            batch.pictures[rows],
            batch.target[rows],
            batch.target_lengths[rows],
            batch.indices[rows],
            None if batch.names is None else batch.names[rows],
        )
