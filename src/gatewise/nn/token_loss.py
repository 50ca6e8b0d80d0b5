"""The cross-entropy of a large output layer, without keeping the scores of every token at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEWEST = 1000
"""Of fewer classes the scores are small, and the usual functions as fast."""
ROWS = 256
"""Rows whose scores are computed together: enough for fast products, few enough to stay in a cache."""


def token_loss(outputs: Tensor, layer: nn.Linear, targets: Tensor, ignored: int) -> Tensor:
    """Mean cross-entropy of ``layer(outputs)`` by the targets, over those that are not ``ignored``.

    ``outputs`` [..., F], ``targets`` [...]. Equal to ``torch.nn.functional.cross_entropy`` within rounding,
    and 0 where all targets are ignored. On a CPU in float32, the gradients of a large layer are computed with
    the loss, some rows at a time: the scores [N, V] are never all kept, nor read again from memory.
    """
    flat = targets.flatten()
    count = int((flat != ignored).sum())
    if count and _worthwhile(outputs, layer):
        rows = outputs.flatten(0, -2)
        mean: Tensor = _TokenLoss.apply(rows, layer.weight, layer.bias, flat, ignored, count)
        return mean
    loss = F.cross_entropy(layer(outputs).flatten(0, -2), flat, ignore_index=ignored, reduction="sum")
    return loss / max(count, 1)


def _worthwhile(outputs: Tensor, layer: nn.Linear) -> bool:
    return (
        torch.is_grad_enabled()
        and layer.weight.requires_grad
        and layer.bias is not None
        and layer.out_features >= FEWEST
        and outputs.is_cpu
        and outputs.dtype == layer.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class _TokenLoss(torch.autograd.Function):
    """The mean loss; its gradients are ready with it, and the backward pass scales them."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, ignored: int, count: int
    ) -> Tensor:
        by_outputs = torch.empty_like(outputs)
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = outputs.new_zeros(())
        for first in range(0, len(outputs), ROWS):
            rows = slice(first, first + ROWS)
            counted = (targets[rows] != ignored).unsqueeze(1)
            target = targets[rows].unsqueeze(1).where(counted, 0)
            scores = torch.log_softmax(torch.addmm(bias, outputs[rows], weight.t()), 1)
            loss -= scores.gather(1, target).where(counted, 0).sum()
            # The loss by the scores: the probabilities, less one at the target.
            by_scores = scores.exp_().scatter_add_(1, target, scores.new_full(target.shape, -1.0))
            if not counted.all():
                by_scores.mul_(counted)
            torch.mm(by_scores, weight, out=by_outputs[rows])
            by_weight.addmm_(by_scores.t(), outputs[rows], alpha=1 / count)
            by_bias += by_scores.sum(0)
        ctx.gradients = (by_outputs.div_(count), by_weight, by_bias.div_(count))
        return loss / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("token_loss: a second backward pass: its gradients are not kept")
        gradients, ctx.gradients = ctx.gradients, None
        scale = float(by_loss)
        return (
            *(gradient if scale == 1 else gradient.mul_(scale) for gradient in gradients),
            None,
            None,
            None,
        )
