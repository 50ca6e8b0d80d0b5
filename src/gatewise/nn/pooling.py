"""One vector for a whole sequence, from the outputs of all its steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PoolingName = Literal["last", "mean", "max", "mean_max", "attention"]


class Pooling(nn.Module):
    """Turns outputs [B, T, K] of sequences with lengths [B] into one vector each, ``output_size`` long.

    ``last`` takes the final hidden state of each direction, ``mean`` and ``max`` pool over the steps,
    ``mean_max`` has both, one after the other. ``attention`` is a mean with weights that add up to 1: the
    softmax over v·tanh(W h + b) of every step's output h (Yang et al., "Hierarchical Attention Networks for
    Document Classification", NAACL 2016). Padding never counts.
    """

    def __init__(self, how: PoolingName, size: int) -> None:
        super().__init__()
        self.how = how
        self.output_size = 2 * size if how == "mean_max" else size
        if how == "attention":
            self.hidden = nn.Linear(size, size)
            self.scorer = nn.Linear(size, 1, bias=False)

    def extra_repr(self) -> str:
        return self.how

    def forward(self, outputs: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
        """[B, output_size] from outputs [B, T, K], 0 on padding, and the final hidden states [B, K]."""
        if self.how == "last":
            return last
        if self.how == "attention":
            return (self.weights(outputs, lengths).unsqueeze(1) @ outputs).squeeze(1)
        pooled = []
        if self.how != "max":
            pooled.append(outputs.sum(1) / lengths.clamp(min=1).unsqueeze(-1))
        if self.how != "mean":
            real = is_real(outputs, lengths).unsqueeze(-1)
            pooled.append(outputs.masked_fill(~real, -torch.inf).amax(1))
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, -1)

    def so_far(self, outputs: Tensor) -> Tensor:
        """The same [B, T, output_size] if the sequences ended with each step, for outputs that read forward.

        Not for ``attention``, whose weights depend on all steps.
        """
        assert self.how != "attention", "its weights depend on all steps"
        if self.how == "last":
            return outputs
        pooled = []
        if self.how != "max":
            steps = torch.arange(1, outputs.shape[1] + 1, device=outputs.device)
            pooled.append(outputs.cumsum(1) / steps[:, None])
        if self.how != "mean":
            pooled.append(outputs.cummax(1).values)
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, -1)

    def weights(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """The weight [B, T] of each step in ``attention``; 0 on padding."""
        scores = self.scorer(torch.tanh(self.hidden(outputs))).squeeze(-1)
        return torch.softmax(scores.masked_fill(~is_real(outputs, lengths), -torch.inf), -1)


def is_real(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Which steps [B, T] are no padding."""
    return torch.arange(outputs.shape[1], device=lengths.device) < lengths[:, None]
