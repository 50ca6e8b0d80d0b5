"""Vectors of tokens, and tokens that training takes for unknown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNKNOWN = 0
"""Id of the token that stands for others, and for those that word dropout takes away."""


def made_embedding(words: int, size: int) -> nn.Embedding:
    """An embedding that starts from small random vectors."""
    embedding = nn.Embedding(words, size)
    nn.init.normal_(embedding.weight, std=0.1)
    return embedding


def some_unknown(tokens: Tensor, share: float) -> tuple[Tensor, Tensor | None]:
    """(Token ids, with this share of them as unknown; which ones, or None where none may be)."""
    if share == 0:
        return tokens, None
    is_dropped = torch.rand(tokens.shape, device=tokens.device) < share
    return tokens.masked_fill(is_dropped, UNKNOWN), is_dropped
