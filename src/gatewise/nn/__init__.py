"""Recurrent layers over padded batches."""

from gatewise.engine import engines_used
from gatewise.nn.recurrent import Recurrent

__all__ = ["Recurrent", "engines_used"]
