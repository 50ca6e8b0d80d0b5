"""The last hidden state of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.nn.recurrent import Recurrent
from gatewise.nn.stacked import Stacked


def last_hidden(encoder: Recurrent | Stacked, state: tuple[Tensor, ...]) -> Tensor:
    """The last layer's final hidden states in all D directions, concatenated to [B, D·H]."""
    own = state[-len(encoder.cell.states) :]  # a Stacked has those of every layer
    return torch.cat(list(own[0][-encoder.num_directions :]), dim=-1)
