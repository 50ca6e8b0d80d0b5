"""The loss over a large vocabulary, without scores of all tokens in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK = 2_000_000
"""Scores that are computed at a time: enough for fast products, few enough to stay near the processor."""
LARGE = 1000
"""Of fewer words than these, the usual functions are as fast."""
ON_GPU = 32
"""So many times more on a GPU, where each operation has a price of its own."""


def token_loss(
    vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of linear scores: (what training minimises, negative log-likelihood), both sums.

    Takes vectors [N, D], weight [V, D], bias [V], targets [N] and the share ``smoothing`` of a target that is
    spread over all tokens (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
    2016), which the likelihood leaves out. The likelihood carries no gradient.
    """
    tensors = (vectors, weight, bias)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    found: tuple[Tensor, Tensor] = _TokenLoss.apply(*tensors, targets, smoothing, wanted)
    return found


class _TokenLoss(torch.autograd.Function):
    """Its forward pass computes the gradients too, some rows at a time; those of gradients are not there."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        wanted: bool,
    ) -> tuple[Tensor, Tensor]:
        words = len(weight)
        # Under autocast the vectors may be of another dtype than the weights.
        own_weight = weight.to(vectors.dtype)
        own_bias = None if bias is None else bias.to(vectors.dtype)
        kept = (torch.empty_like(vectors), torch.zeros_like(weight)) if wanted else None
        of_bias = torch.zeros_like(bias) if wanted and bias is not None else None
        of_logs = torch.promote_types(vectors.dtype, torch.float32)
        minimised, likelihood = vectors.new_zeros(2, dtype=of_logs).unbind()
        rows = max((ON_GPU if vectors.is_cuda else 1) * CHUNK // words, 1)
        for start in range(0, len(vectors), rows):
            chunk, right = vectors[start : start + rows], targets[start : start + rows].unsqueeze(1)
            logs = F.linear(chunk, own_weight, own_bias).log_softmax(-1, of_logs)
            own = -logs.gather(1, right).sum()
            likelihood = likelihood + own
            spread = -logs.mean(1).sum() if smoothing else own
            minimised = minimised + (1 - smoothing) * own + smoothing * spread
            if kept is not None:
                slope = logs.exp_()
                if smoothing:
                    slope.sub_(smoothing / words)
                slope.scatter_add_(1, right, slope.new_full(right.shape, smoothing - 1))
                slope = slope.to(vectors.dtype)
                kept[0][start : start + rows] = slope @ own_weight
                if weight.dtype == vectors.dtype:
                    kept[1].addmm_(slope.t(), chunk)
                else:
                    kept[1].add_(slope.t() @ chunk)
                if of_bias is not None:
                    of_bias += slope.sum(0)
        ctx.gradients = None if kept is None else (*kept, of_bias)
        ctx.mark_non_differentiable(likelihood)
        return minimised, likelihood

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("token_loss: a second backward pass: its gradients are not kept")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (None if one is None else one.mul_(by_loss.to(one.dtype)) for one in gradients)
        return (*scaled, None, None, None)
