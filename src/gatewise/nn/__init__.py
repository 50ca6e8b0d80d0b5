"""Recurrent layers over padded batches."""

from gatewise.nn.interventions import Clamp
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.trace import Trace

__all__ = ["Clamp", "Recurrent", "Trace"]
