"""The loss over a large vocabulary, without scores of all tokens in memory at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gatewise.engine.native import memory

CHUNK = 7_500_000
"""Scores that are computed at a time: enough for fast products, few enough for memory that is used again."""
NEAR = 250_000
"""Of these so many at a time that they stay near the processor from one operation to the next."""
LARGE = 1000
"""Of fewer words than these, the usual functions are as fast."""
ON_GPU = 9
"""So many times more on a GPU, where each operation has a price of its own."""


def token_loss(
    vectors: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float = 0.0,
    share: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of linear scores: (what training minimises, negative log-likelihood), ``share`` of sums.

    Takes vectors [N, D], weight [V, D], bias [V], targets [N] and the share ``smoothing`` of a target that is
    spread over all tokens (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
    2016), which the likelihood leaves out. The likelihood carries no gradient.
    """
    tensors = (vectors, weight, bias)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    found: tuple[Tensor, Tensor] = _TokenLoss.apply(*tensors, targets, smoothing, share, wanted)
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
        share: float,
        wanted: bool,
    ) -> tuple[Tensor, Tensor]:
        # Under autocast the vectors may be of another dtype than the weights.
        own_weight = weight.to(vectors.dtype)
        of_vectors, of_weight = torch.empty_like(vectors), None
        of_bias = torch.zeros_like(bias) if wanted and bias is not None else None
        minimised, likelihood = vectors.new_zeros(2, dtype=_precise(vectors)).unbind()
        on_gpu = vectors.is_cuda
        most, near = (ON_GPU * CHUNK, ON_GPU * CHUNK) if on_gpu else (CHUNK, NEAR)
        softmax = _softmax_at_once if on_gpu else _softmax_in_place
        # The slopes are multiplied by the share where that costs nothing, and small ones do not become 0.
        ctx.factor = share if on_gpu or vectors.dtype == torch.float16 else 1.0
        early = share / ctx.factor
        # All of about the same size: a product of few rows is slow.
        pieces = max(math.ceil(len(vectors) * len(weight) / most), 1)
        chunks = (tensor.chunk(pieces) for tensor in (vectors, targets.unsqueeze(1), of_vectors))
        for chunk, right, of_chunk in zip(*chunks, strict=True):
            if on_gpu:
                scores = F.linear(chunk, own_weight, None if bias is None else bias.to(chunk.dtype))
            else:
                scores = torch.mm(chunk, own_weight.t(), out=_empty(chunk, len(chunk), len(weight)))
            rows = max(near // len(weight), 1)
            for part, of_part in zip(scores.split(rows), right.split(rows), strict=True):
                slope, own, mean = softmax(part, None if on_gpu else bias, of_part, smoothing > 0, early)
                if smoothing:
                    slope.sub_(early * smoothing / len(weight))
                slope.scatter_add_(1, of_part, slope.new_full(of_part.shape, early * (smoothing - 1)))
                likelihood = likelihood - own.sum()
                minimised = minimised - (1 - smoothing) * own.sum() - smoothing * mean.sum()
                if of_bias is not None:
                    of_bias += slope.sum(0)
                if slope is not part:
                    part.copy_(slope)
            if wanted:
                torch.mm(scores, own_weight, out=of_chunk)
                of_weight = _with_product(of_weight, scores.t(), chunk, weight.dtype)
        ctx.gradients = (of_vectors, of_weight, of_bias) if wanted else None
        minimised, likelihood = share * minimised, share * likelihood
        ctx.mark_non_differentiable(likelihood)
        return minimised, likelihood

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("token_loss: a second backward pass: its gradients are not kept")
        gradients, ctx.gradients = ctx.gradients, None
        factor = by_loss * ctx.factor
        if factor.is_cuda or factor != 1:
            gradients = [None if one is None else one.mul_(factor.to(one.dtype)) for one in gradients]
        return (*gradients, None, None, None, None)


def _empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor of the kind of ``like``, in memory that is used again; on a GPU torch sees to that itself."""
    return memory.empty(like, *shape) if like.device.type == "cpu" else like.new_empty(shape)


def _precise(tensor: Tensor) -> torch.dtype:
    """Single precision, or double where a tensor has that."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _softmax_in_place(
    scores: Tensor, bias: Tensor | None, right: Tensor, with_mean: bool, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(``share`` of the probabilities, logs of the right ones, mean logs [N, 1]) for scores [N, V] and bias.

    The probabilities take the place of scores that are precise enough. The mean is only there ``with_mean``.
    """
    values = scores.to(_precise(scores))
    if bias is not None:
        values.add_(bias)
    values.sub_(values.amax(1, keepdim=True))
    own = values.gather(1, right)
    mean = values.mean(1, keepdim=True) if with_mean else own
    sums = values.exp_().sum(1, keepdim=True)
    total = sums.log()
    return values.mul_(share / sums), own - total, mean - total


def _softmax_at_once(
    scores: Tensor, bias: Tensor | None, right: Tensor, with_mean: bool, share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in few operations, as a GPU likes it."""
    logs = (scores if bias is None else scores + bias).log_softmax(1, _precise(scores))
    own = logs.gather(1, right)
    mean = logs.mean(1, keepdim=True) if with_mean else own
    values = logs.exp_()
    return values if share == 1 else values.mul_(share), own, mean


def _with_product(total: Tensor | None, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """``left`` · ``right``, added to ``total`` where there is one."""
    if total is None:
        return torch.mm(left, right, out=_empty(left, len(left), right.shape[1])).to(dtype)
    return total.addmm_(left, right) if dtype == left.dtype else total.add_(left @ right)
