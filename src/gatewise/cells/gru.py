"""The gated recurrent unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, sigmoid, tanh

from gatewise.cells.cell import Cell


class GRU(Cell):
    """Gated recurrent unit, with the reset gate applied after the recurrent product.

        r  = σ(U_r x + b_r + W_r h)                  reset gate: how much of the past the candidate sees
        z  = σ(U_z x + b_z + W_z h)                  update gate: how much of the past is kept
        n  = tanh(U_n x + b_n + r · (W_n h + d))     candidate; d is the cell's own ``bias_n``
        h' = (1 - z) · n + z · h

    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014; the reset gate
    after the product, with its own bias, is that of cuDNN and torch, and so is the order of the blocks.
    """

    gates = ("r", "z", "n")
    states = ("h",)

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        return {"bias_n": torch.zeros(hidden_size)}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        reset = sigmoid(a.r + r.r)
        update = sigmoid(a.z + r.z)
        n = tanh(a.n + reset * (r.n + p.bias_n))
        h = n + update * (s.h - n)
        return (h,), {"r": reset, "z": update, "n": n}
