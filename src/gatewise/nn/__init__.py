"""Recurrent layers over padded batches."""

from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked

__all__ = ["Recurrent", "Stacked"]
