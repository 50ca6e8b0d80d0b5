"""A linear-chain conditional random field: the best sequence of tags instead of the best tag of each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FORBIDDEN = -1e4
"""The score of what is not allowed: beside anything that is, exp of it is 0."""
_SMALLEST = 1e-30
"""In place of a sum of exp that is 0, where none of the tags before is allowed."""


class _Moved(torch.autograd.Function):
    """Log of the sum of exp(scores + transition) over the tag before, [B, K], from scores [B, K].

    ``allowed`` [K, K] is 1 for the transitions that the sum has, and 0 for others. To give these a score of
    -10,000 would be the same, but exp of numbers that far below 0 takes CPUs thirty times as long.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, transition: Tensor, allowed: Tensor) -> Tensor:
        moves = scores.unsqueeze(2) + transition
        highest = (moves + (1 - allowed) * FORBIDDEN).amax(1)
        moves.sub_(highest.unsqueeze(1)).mul_(allowed).exp_().mul_(allowed)
        total = moves.sum(1).clamp_(min=_SMALLEST)
        ctx.save_for_backward(moves, total)
        return total.log() + highest

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        moves, total = ctx.saved_tensors
        shares = moves * (slope / total).unsqueeze(1)
        return shares.sum(2), shares.sum(0), None


class CRF(nn.Module):
    """Scores of sequences of K tags: those of each step plus those of each tag after another.

    The score of tags y_1 … y_T is start(y_1) + Σ emission_t(y_t) + Σ transition(y_t-1, y_t) + end(y_T), and
    the probability of a sequence its exp over the sum of that of all sequences, which is computed step by
    step (Lafferty, McCallum & Pereira, "Conditional Random Fields", ICML 2001). Padding never counts. The
    loops are over the steps alone, so that a model with it can be exported.

    Args:
        tags: K.
        first, after, last: [K], [K, K] and [K] bool: which tags may begin a sequence, follow which (the
            second the first), and end it; None allows all.
    """

    first: Tensor
    after: Tensor
    last: Tensor

    def __init__(
        self, tags: int, first: Tensor | None = None, after: Tensor | None = None, last: Tensor | None = None
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tags))
        self.transition = nn.Parameter(torch.zeros(tags, tags))
        self.end = nn.Parameter(torch.zeros(tags))
        for name, rule, shape in (
            ("first", first, (tags,)), ("after", after, (tags, tags)), ("last", last, (tags,))
        ):  # fmt: skip
            allowed = torch.ones(shape, dtype=torch.bool) if rule is None else rule
            self.register_buffer(name, allowed, persistent=False)

    def extra_repr(self) -> str:
        return f"{len(self.start)} tags"

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Log-probability [B] of tags [B, T] for the emissions [B, T, K] of sequences of lengths [B]."""
        emissions = emissions.to(self.start.dtype)
        return self.score(emissions, tags, lengths) - self.log_partition(emissions, lengths)

    def score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """The score [B] of tags [B, T]; whatever they are on padding."""
        start, transition, end = self._start(), self._transition(), self._end()
        real = torch.arange(tags.shape[1], device=tags.device) < lengths[:, None]
        tags = tags.masked_fill(~real, 0)
        steps = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
        moves = transition[tags[:, :-1], tags[:, 1:]].masked_fill(~real[:, 1:], 0)
        last = tags.gather(1, lengths[:, None] - 1).squeeze(1)
        return start[tags[:, 0]] + steps.masked_fill(~real, 0).sum(1) + moves.sum(1) + end[last]

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Logarithm [B] of the sum of exp(score) over all sequences of tags."""
        allowed, end = self.after.to(self.end.dtype), self._end()
        scores = self._first(emissions)
        for step in range(1, emissions.shape[1]):
            following = _moved(scores, self.transition, allowed) + emissions[:, step]
            scores = torch.where((step < lengths).unsqueeze(1), following, scores)
        return torch.logsumexp(scores + end, 1)

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The most probable tags [B, T] (Viterbi); 0 on padding."""
        emissions = emissions.to(self.start.dtype)
        transition, end = self._transition(), self._end()
        scores = self._first(emissions)
        came_from = []
        own = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        for step in range(1, emissions.shape[1]):
            best = (scores.unsqueeze(2) + transition).max(1)
            is_real = (step < lengths).unsqueeze(1)
            scores = torch.where(is_real, best.values + emissions[:, step], scores)
            came_from.append(torch.where(is_real, best.indices, own))
        tag = (scores + end).argmax(1, keepdim=True)
        path = [tag]
        for back in reversed(came_from):
            tag = back.gather(1, tag)
            path.append(tag)
        tags = torch.cat(path[::-1], 1)
        return tags.masked_fill(torch.arange(tags.shape[1], device=tags.device) >= lengths[:, None], 0)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Probability [B, T, K] of each tag at each step, over all sequences; 0 on padding."""
        emissions = emissions.to(self.start.dtype)
        allowed, end = self.after.to(self.end.dtype), self._end()
        forward = [self._first(emissions)]
        for step in range(1, emissions.shape[1]):
            forward.append(_moved(forward[-1], self.transition, allowed) + emissions[:, step])
        # What follows a step: the end after the last, and nothing else on padding.
        scores = end.expand_as(forward[0])
        backward = [scores]
        for step in range(emissions.shape[1] - 1, 0, -1):
            earlier = _moved(scores + emissions[:, step], self.transition.T, allowed.T)
            scores = torch.where((step < lengths).unsqueeze(1), earlier, end)
            backward.append(scores)
        both = torch.stack(forward, 1) + torch.stack(backward[::-1], 1)
        real = torch.arange(emissions.shape[1], device=lengths.device) < lengths[:, None]
        return torch.softmax(both, -1).masked_fill(~real.unsqueeze(2), 0)

    def _start(self) -> Tensor:
        return self.start.masked_fill(~self.first, FORBIDDEN)

    def _transition(self) -> Tensor:
        return self.transition.masked_fill(~self.after, FORBIDDEN)

    def _end(self) -> Tensor:
        return self.end.masked_fill(~self.last, FORBIDDEN)

    def _first(self, emissions: Tensor) -> Tensor:
        return self._start() + emissions[:, 0]


def _moved(scores: Tensor, transition: Tensor, allowed: Tensor) -> Tensor:
    moved: Tensor = _Moved.apply(scores, transition, allowed)
    return moved
