"""Recurrent layers over padded batches."""

from gatewise.engine import engines_used
from gatewise.nn.interventions import Clamp
from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked, StackedTrace
from gatewise.nn.trace import Trace

__all__ = ["Clamp", "Recurrent", "Stacked", "StackedTrace", "Trace", "engines_used"]
