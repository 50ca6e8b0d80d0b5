"""Where weights start."""

from __future__ import annotations

import torch
from torch import nn

_OF_LAYERS = ("own", "initial")
"""Parameters of a layer that have starts of their own: the cell's (gains, peepholes), and initial states."""


@torch.no_grad()
def start_uniformly(module: nn.Module, limit: float) -> None:
    """Draw all weights and biases of a module uniformly from -limit to limit, as Zaremba et al. (2014) do.

    Parameters of a cell beside these, and learnt initial states, keep their own start.
    """
    for name, parameter in module.named_parameters():
        if not set(name.split(".")) & set(_OF_LAYERS):
            parameter.uniform_(-limit, limit)
