"""How much is computed and shown, so that a page comes within seconds and a browser can draw it."""

from __future__ import annotations

from gatewise.tasks.inspected import Inspected

WORK = 1.2e10
"""Floating-point operations of one question, such as all clamps: about half a second of two cores."""
BACKWARD = 3
"""A pass forward and back takes so many times one forward."""


def rows_within(inspected: Inspected, steps: int, answers: int = 0, factor: float = 1.0) -> int:
    """How many rows of so many steps, each scored over ``answers``, may be run for one question."""
    encoder = inspected.encoder
    weights = sum(parameter.numel() for parameter in encoder.parameters()) + encoder.output_size * answers
    return int(WORK / (2 * factor * max(1, steps) * weights))
