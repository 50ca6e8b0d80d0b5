"""Three shapes that a pen writes, by a few writers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SHAPES = {
    "V": [[[0, 9], [4, 0], [8, 9]]],
    "L": [[[0, 9], [0, 0], [6, 0]]],
    "O": [[[0, 0], [8, 0], [8, 8], [0, 8], [0, 1]], [[4, 4]]],
}
"""Strokes of each label; y grows upwards."""


def write_shapes(path: Path, count: int = 60, writers: int = 5) -> Path:
    """A JSONL file of shapes, each a little different."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(count):
        label = list(SHAPES)[number % len(SHAPES)]
        strokes = [(np.array(s) + draw.normal(0, 0.3, (len(s), 2))).round(3).tolist() for s in SHAPES[label]]
        rows.append(json.dumps({"strokes": strokes, "label": label, "writer": number % writers}))
    path.write_text("\n".join(rows) + "\n")
    return path
