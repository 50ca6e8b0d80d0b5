"""Clipping of gradients by their norm."""

from __future__ import annotations

import torch
from torch.optim import Optimizer


def clip(optimizer: Optimizer, most: float) -> None:
    """Bring the norm of all gradients down to ``most``, as ``torch.nn.utils.clip_grad_norm_`` does.

    That multiplies every gradient, by 1 where their norm is small; here they are left alone then.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if not gradients:
        return
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each) for each in gradients]))
    share = most / (total + 1e-6)
    if not share >= 1:  # or not a number
        for gradient in gradients:
            gradient.mul_(share)
