"""The long short-term memory with normalised gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, sigmoid, tanh
from torch.nn.functional import layer_norm

from gatewise.cells.lstm import LSTM


class LayerNormLSTM(LSTM):
    """Long short-term memory with layer normalisation of every gate's recurrent part and of the cell state.

        i  = σ(U_i x + b_i + γ_i · N(W_i h))
        f  = σ(U_f x + b_f + γ_f · N(W_f h))
        n  = tanh(U_n x + b_n + γ_n · N(W_n h))
        o  = σ(U_o x + b_o + γ_o · N(W_o h))
        c' = f · c + i · n
        h' = o · tanh(γ_c · N(c') + β_c)

    N subtracts the mean over the features and divides by their standard deviation. Ba, Kiros & Hinton, "Layer
    Normalization", arXiv:1607.06450, 2016. There one N spans all gates, and the input's part has another;
    here each gate has its own, and the input's part, which the biases shift, is not normalised.
    """

    def own_parameters(self, hidden_size: int) -> dict[str, Tensor]:
        gains = {f"gain_{name}": torch.ones(hidden_size) for name in (*self.gates, "c")}
        return {**gains, "bias_c": torch.zeros(hidden_size)}

    def step(self, a: Any, r: Any, s: Any, p: Any) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        size = r.i.shape[-1:]
        i = sigmoid(a.i + p.gain_i * layer_norm(r.i, size))
        f = sigmoid(a.f + p.gain_f * layer_norm(r.f, size))
        n = tanh(a.n + p.gain_n * layer_norm(r.n, size))
        o = sigmoid(a.o + p.gain_o * layer_norm(r.o, size))
        c = f * s.c + i * n
        h = o * tanh(p.gain_c * layer_norm(c, size) + p.bias_c)
        return (h, c), {"i": i, "f": f, "n": n, "o": o}
