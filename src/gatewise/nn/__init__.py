"""Recurrent layers over padded batches."""

from gatewise.nn.recurrent import Recurrent

__all__ = ["Recurrent"]
