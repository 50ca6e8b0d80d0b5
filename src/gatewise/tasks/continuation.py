"""Tokens drawn from the probabilities of a language model, and texts continued by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Following = Callable[[Tensor, State | None, Tensor | None], tuple[Tensor, State]]
"""(Probabilities [B, V] of the token after, state) for tokens [B, T], the state before them and lengths."""


@dataclass(frozen=True)
class Drawing:
    """How a token is chosen among the next ones: the most probable one, or a drawn one.

    Above 0, ``temperature`` draws from the softmax of (scores / temperature): among the ``draw_from`` most
    probable tokens alone, and of these among the fewest that ``top_p`` of the probability falls on (Holtzman
    et al., "The Curious Case of Neural Text Degeneration", ICLR 2020).
    """

    temperature: float = 0.0
    draw_from: int | None = None
    top_p: float = 1.0

    def weights(self, probabilities: Tensor) -> Tensor:
        """The share [B, V] of the draws that each token gets, for the model's probabilities [B, V]."""
        shares = probabilities.double()
        if self.draw_from is not None and self.draw_from < shares.shape[1]:
            shares = shares.masked_fill(shares < shares.topk(self.draw_from).values[:, -1:], 0)
        if self.temperature != 1:
            scores = shares.log()
            # Less the largest, or a temperature near 0 would leave none that is finite.
            shares = torch.softmax((scores - scores.max(-1, keepdim=True).values) / self.temperature, -1)
        if self.top_p < 1:
            shares = shares / shares.sum(-1, keepdim=True)
            ordered, places = torch.sort(shares, dim=-1, descending=True, stable=True)
            # The first is always kept, and the last that is needed to reach top_p.
            ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= self.top_p, 0)
            shares = torch.zeros_like(shares).scatter_(-1, places, ordered)
        return shares / shares.sum(-1, keepdim=True)

    def chosen(self, probabilities: Tensor, draws: Tensor) -> Tensor:
        """The token [B, 1] for the probabilities [B, V] of the next one and numbers [B] drawn from [0, 1)."""
        if not bool(torch.isfinite(probabilities).all()):
            raise ValueError("the model's probabilities of the next token are not numbers: train it again")
        if not self.temperature:
            return probabilities.argmax(-1, keepdim=True)
        shares = self.weights(probabilities)
        # The first token up to which the shares add up to more than the number that was drawn.
        reached = torch.searchsorted(shares.cumsum(-1), draws[:, None].to(shares).contiguous(), right=True)
        last = shares.shape[1] - 1 - (shares > 0).flip(-1).int().argmax(-1, keepdim=True)
        return torch.minimum(reached, last)  # rounding may leave a sum of all that is below the number


def continued(
    following: Following,
    probabilities: Tensor,
    state: State,
    drawing: Drawing,
    samples: int,
    length: int,
    seed: int,
) -> Tensor:
    """Ids [B, samples, length] of the tokens that B texts go on with, a step at a time from their states.

    ``probabilities`` [B, V] are those of the first token, ``state`` has the texts in its dimension 1. A text
    gets the same tokens for a seed whichever others are continued with it.
    """
    count = len(probabilities)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(samples, length, dtype=torch.float64, generator=generator).repeat(count, 1)
    draws = draws.to(probabilities.device)
    probabilities = probabilities.repeat_interleave(samples, 0)
    state = tuple(part.repeat_interleave(samples, 1) for part in state)
    tokens = []
    for step in range(length):
        tokens.append(drawing.chosen(probabilities, draws[:, step]))
        if step + 1 < length:
            probabilities, state = following(tokens[-1], state, None)
    return torch.cat(tokens, 1).view(count, samples, length)
